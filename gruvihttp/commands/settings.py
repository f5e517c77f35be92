"""What `gruvihttp serve` was told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gruvihttp.commands.addresses import Bind
from gruvihttp.commands.crew import Crew
from gruvihttp.commands.operating import Operating
from gruvihttp.commands.tlsoptions import Tls
from gruvihttp.limits import H2Limits, Limits, Timeouts

__all__ = ["Loaded", "Settings"]


class Loaded(NamedTuple):
    """An application, and the full name that it was found under."""

    name: str
    application: Callable[..., Any]


class Settings(NamedTuple):
    """The arguments and options of one call. `application` is None for the built-in one.

    Without `h2_limits`, HTTP/2 is not spoken.
    """

    application: str | Loaded | None
    binds: tuple[Bind, ...]
    tls: Tls
    limits: Limits
    h2_limits: H2Limits | None
    timeouts: Timeouts
    debug: bool
    full_traceback: bool
    operating: Operating
    crew: Crew | None = None
    socket_mode: int | None = None  # of the files of Unix sockets
    drain_delay: float = 0.0  # seconds
    warn_blocking: float | None = None  # seconds
