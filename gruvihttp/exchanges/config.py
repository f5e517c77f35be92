"""What all connections of one server share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

from gruvihttp._version import PRODUCT_ID
from gruvihttp.exchanges.response import CommonLines
from gruvihttp.exchanges.tally import Tally
from gruvihttp.exchanges.workers import Workers
from gruvihttp.limits import H2Limits, Limits, Timeouts
from gruvihttp.net.room import Room
from gruvihttp.sansio.h2settings import Settings

__all__ = ["RejectUpload", "ServerConfig"]

RejectUpload = Literal["linger", "drain", "abort"]


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Limits, timeouts and the greenlets that run the exchanges of a server, and what they report.

    `on_refusal(connection, status)` is called for each request that cannot be handed to the handler; `status` is None
    if it was not answered either. It must not raise.

    `is_leaving()` says whether the server is about to stop: connections that begin then end with their first answer.

    `reject_upload` is what becomes of content that a client still sends when it has been answered: ``linger`` drops
    some of it while the connection closes, so that the answer arrives; ``drain`` drops as much to keep the connection;
    ``abort`` closes at once. `cancel_on_disconnect` ends a handler whose client has gone.
    """

    limits: Limits = field(default_factory=Limits)
    h2_limits: H2Limits | None = field(default_factory=H2Limits)  # None: HTTP/2 is not spoken
    timeouts: Timeouts = field(default_factory=Timeouts)
    workers: Workers | None = None  # None: those of the hub
    tally: Tally = field(default_factory=Tally)
    on_refusal: Callable[[Any, int | None], object] | None = None  # Any: the connection of any HTTP version
    room: Room = field(default_factory=Room)
    is_leaving: Callable[[], bool] = lambda: False
    reject_upload: RejectUpload = "linger"
    cancel_on_disconnect: bool = False
    identifier: str | None = PRODUCT_ID  # what stands in Server; None: that field is left out

    @cached_property
    def common_lines(self) -> CommonLines:
        """What stands in every response."""
        return CommonLines(self.identifier)

    def __post_init__(self) -> None:
        _check_kind("limits", self.limits, Limits)
        _check_kind("h2_limits", self.h2_limits or H2Limits(), H2Limits)
        _check_kind("timeouts", self.timeouts, Timeouts)
        known = get_args(RejectUpload)
        if self.reject_upload not in known:
            raise ValueError(f"reject_upload must be one of {', '.join(known)}, not {self.reject_upload!r}")
        CommonLines(self.identifier)  # if it cannot be, say so now

    @cached_property
    def drain_bytes(self) -> int:
        """The most unread content that is dropped to keep a connection."""
        limits = self.limits
        return max(limits.drain_bytes, limits.linger_bytes) if self.reject_upload == "drain" else limits.drain_bytes

    @cached_property
    def h2_settings(self) -> Settings:
        """What clients are told of `h2_limits`."""
        return Settings.within(self.h2_limits or H2Limits(), connect_protocol=True)


def _check_kind(name: str, value: object, kind: type) -> None:
    if not isinstance(value, kind):  # a connection would find out
        raise TypeError(f"{name} must be {kind.__name__}(...), not {value!r}")
