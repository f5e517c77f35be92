"""`Call`: one request as a pool is to make it, and what becomes of it when it fails or is redirected.

Connections are not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from http.cookiejar import CookieJar
from time import monotonic
from typing import Any, TypeAlias

from gruvihttp.errors import RedirectError, Timeout
from gruvihttp.exchanges.request import ComposedRequest
from gruvihttp.limits import Timeouts
from gruvihttp.origins import Destination, Origin
from gruvihttp.pool.cookies import cookies_for, keep_cookies
from gruvihttp.pool.redirects import Step, fields_kept
from gruvihttp.pool.replay import IDEMPOTENT
from gruvihttp.pool.response import PoolResponse

__all__ = ["Call", "Fields", "TimeoutOption", "has_field", "timeouts_of"]

TimeoutOption: TypeAlias = float | Timeouts | None
Fields: TypeAlias = list[tuple[str, str]]
Route: TypeAlias = Callable[[Origin, str], tuple[Origin, str]]


@dataclass(slots=True, kw_only=True, eq=False)
class Call:
    """One request as it is to be made, the same for each attempt.

    It is sent to `origin`, asking for `target`; that is the destination's own unless a proxy stands between. `deadline`
    is that of the whole, redirects included.
    """

    method: str
    destination: Destination
    origin: Origin
    target: str
    headers: Fields
    body: Any = ""
    rewind: Callable[[], object] | None = None  # None: the body can be sent once
    timeouts: Timeouts
    deadline: float | None = None
    jar: CookieJar | None
    expect: float = False
    decode: bool = True
    composed: ComposedRequest | None = None  # what was sent before, if it may be sent like that again
    is_usual: bool = False  # it says nothing but where to, and is remembered

    # cookies

    def cookie(self) -> str | None:
        """The value of the Cookie field that the jar has for it; None if it has none, or the user has given one."""
        cookie = None if self.jar is None else cookies_for(self.jar, self.destination)
        return None if cookie is not None and has_field(self.headers, "cookie") else cookie

    def keep_cookies(self, response: PoolResponse) -> None:
        """Put those that a response to it sets into the jar."""
        if self.jar is not None and response.set_cookies:
            keep_cookies(self.jar, self.destination, response.set_cookies)

    def with_jar(self) -> Call:
        """A call that keeps cookies: what a server sets on the way of redirects it wants to see at the end."""
        return self if self.jar is not None else replace(self, jar=CookieJar())

    # a second time

    def repeat(self) -> bool:
        """Make the body ready to be sent once more. False if it cannot be, or if doing it twice is not the same."""
        return self.method in IDEMPOTENT and self.rewound()

    def rewound(self) -> bool:
        """Make the body begin again. False if it cannot."""
        if self.body != "":
            if self.rewind is None:
                return False
            self.rewind()
        return True

    def redirected(self, step: Step, route: Route) -> Call:
        """The call that follows a redirect. Raises RedirectError if the body cannot go along, and has to."""
        same_origin = step.destination.origin == self.destination.origin
        origin, target = route(step.destination.origin, step.destination.target)
        call = replace(
            self,
            method=step.method,
            destination=step.destination,
            origin=origin,
            target=target,
            headers=fields_kept(self.headers, same_origin=same_origin, keeps_content=step.keeps_content),
            composed=None,
            is_usual=False,
        )
        if not step.keeps_content:
            return replace(call, body="", rewind=None, expect=False)
        if call.body != "":
            if call.rewind is None:
                raise RedirectError("the server wants the body at another place, and it cannot be sent twice")
            call.rewind()
        return call

    # time

    def timeouts_now(self) -> Timeouts:
        """Its timeouts, of which none lasts beyond its deadline. Raises Timeout if that has passed."""
        if self.deadline is None:
            return self.timeouts
        left = self.deadline - monotonic()
        if left <= 0:
            raise Timeout("timed out: the request as a whole has taken too long", phase="total")
        pool = left if self.timeouts.pool is None else min(self.timeouts.pool, left)
        connect = left if self.timeouts.connect is None else min(self.timeouts.connect, left)
        handshake = left if self.timeouts.handshake is None else min(self.timeouts.handshake, left)
        return replace(self.timeouts, pool=pool, connect=connect, handshake=handshake, total=left)

    def is_overdue(self) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and monotonic() >= self.deadline


def has_field(headers: Fields, name: str) -> bool:
    """Whether a field of that name is among the given ones, which may be anything: they are checked later."""
    lower = name.lower()
    return any(isinstance(field[0], str) and field[0].lower() == lower for field in headers)


@lru_cache(maxsize=64)
def timeouts_of(option: TimeoutOption) -> Timeouts:
    """What `timeout` means: a number is for each wait."""
    if isinstance(option, Timeouts):
        return option
    if option is not None and (isinstance(option, bool) or not isinstance(option, (int, float)) or not option >= 0):
        raise ValueError(f"timeout must be a number of seconds, 0 or more, Timeouts, or None, not {option!r}")
    return Timeouts(pool=option, connect=option, handshake=option, write=option, read=option)
