"""What all connections of one server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from gruvihttp.exchanges.tally import Tally
from gruvihttp.exchanges.workers import Workers
from gruvihttp.limits import H2Limits, Limits, Timeouts
from gruvihttp.sansio.h2settings import Settings

__all__ = ["ServerConfig"]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Limits, timeouts and the greenlets that run the exchanges of a server, and what they report.

    `on_refusal(connection, status)` is called for each request that cannot be handed to the handler; `status` is None
    if it was not answered either. It must not raise.
    """

    limits: Limits = field(default_factory=Limits)
    h2_limits: H2Limits | None = field(default_factory=H2Limits)  # None: HTTP/2 is not spoken
    timeouts: Timeouts = field(default_factory=Timeouts)
    workers: Workers | None = None  # None: those of the hub
    tally: Tally = field(default_factory=Tally)
    on_refusal: Callable[[Any, int | None], object] | None = None  # Any: the connection of any HTTP version

    @cached_property
    def h2_settings(self) -> Settings:
        """What clients are told of `h2_limits`."""
        return Settings.within(self.h2_limits or H2Limits())
