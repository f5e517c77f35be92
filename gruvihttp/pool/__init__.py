"""Requests to any URL over connections that are kept: `HttpPool` and what it answers with."""

from __future__ import annotations

from gruvihttp.pool.httppool import HttpPool
from gruvihttp.pool.response import PoolResponse

__all__ = ["HttpPool", "PoolResponse"]
