"""What all connections of one server share."""

from __future__ import annotations

from dataclasses import dataclass, field

from gruvihttp.exchanges.workers import Workers
from gruvihttp.limits import Limits, Timeouts

__all__ = ["ServerConfig"]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Limits, timeouts and the greenlets that run the exchanges of a server."""

    limits: Limits = field(default_factory=Limits)
    timeouts: Timeouts = field(default_factory=Timeouts)
    workers: Workers | None = None  # None: those of the hub
