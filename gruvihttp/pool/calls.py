"""`get`, `post` and the others: one call for one request, over a pool that all of a thread share.

The pool keeps connections, and nothing else from one call to the next: no cookies, no credentials.
"""

from __future__ import annotations

import os
from typing import Any

from gruvihttp.marks import switchpoint
from gruvihttp.pool.httppool import HttpPool
from gruvihttp.pool.perthread import ThreadPools
from gruvihttp.pool.response import PoolResponse, Progress

__all__ = ["default_pool", "delete", "download", "get", "head", "patch", "post", "put", "request"]

_pools = ThreadPools()


def _make_pool() -> HttpPool:
    return HttpPool(cookies=False)


def default_pool() -> HttpPool:
    """The pool behind these functions: that of the calling thread."""
    return _pools.get(None, _make_pool)


@switchpoint
def request(method: str, url: str, **options: Any) -> PoolResponse:
    """Make a request: see `HttpPool.request`, which has the options."""
    return default_pool().request(method, url, **options)


@switchpoint
def get(url: str, **options: Any) -> PoolResponse:
    """GET: see `HttpPool.request`, which has the options."""
    return default_pool().request("GET", url, **options)


@switchpoint
def head(url: str, **options: Any) -> PoolResponse:
    """HEAD: see `HttpPool.request`, which has the options."""
    return default_pool().request("HEAD", url, **options)


@switchpoint
def post(url: str, **options: Any) -> PoolResponse:
    """POST: see `HttpPool.request`, which has the options."""
    return default_pool().request("POST", url, **options)


@switchpoint
def put(url: str, **options: Any) -> PoolResponse:
    """PUT: see `HttpPool.request`, which has the options."""
    return default_pool().request("PUT", url, **options)


@switchpoint
def patch(url: str, **options: Any) -> PoolResponse:
    """PATCH: see `HttpPool.request`, which has the options."""
    return default_pool().request("PATCH", url, **options)


@switchpoint
def delete(url: str, **options: Any) -> PoolResponse:
    """DELETE: see `HttpPool.request`, which has the options."""
    return default_pool().request("DELETE", url, **options)


@switchpoint
def download(
    url: str, path: str | os.PathLike[str], *, progress: Progress | None = None, **options: Any
) -> PoolResponse:
    """GET a URL into a file: see `HttpPool.download`."""
    return default_pool().download(url, path, progress=progress, **options)
