"""Cookies: `http.cookiejar` decides about them; here are the two objects through which it sees us.

A jar wants a request and a response of `urllib.request`, of which it uses a dozen names.
"""

from __future__ import annotations

from collections.abc import Sequence
from email.message import Message
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from typing import cast
from urllib.request import Request

from gruvihttp.origins import Destination

__all__ = ["cookies_for", "keep_cookies"]


def cookies_for(jar: CookieJar, destination: Destination) -> str | None:
    """The value of the Cookie field for a request, None if the jar has nothing for it."""
    # the jar's own way of finding out that it is empty takes fifty times as long; a jar of another kind is asked
    if not getattr(jar, "_cookies", True):
        return None
    asking = _Asking(destination)
    jar.add_cookie_header(cast(Request, asking))
    return asking.cookie


def keep_cookies(jar: CookieJar, destination: Destination, values: Sequence[str]) -> None:
    """Put what the values of Set-Cookie fields say into the jar, as far as its policy lets them."""
    if values:
        jar.extract_cookies(cast(HTTPResponse, _Answer(values)), cast(Request, _Asking(destination)))


class _Asking:
    """A request, as far as a jar looks at it."""

    unverifiable = False  # without pages and frames, no request goes to a third party against the user's will

    def __init__(self, destination: Destination) -> None:
        origin = destination.origin
        self.type = origin.scheme
        self.host = origin.authority
        self.origin_req_host = origin.host
        self.cookie: str | None = None
        self._url = destination.url

    def get_full_url(self) -> str:
        return self._url

    def has_header(self, name: str) -> bool:
        return False  # a user's own Cookie field is for the caller of this module to respect

    def get_header(self, name: str, default: str | None = None) -> str | None:
        return default

    def header_items(self) -> list[tuple[str, str]]:
        return []

    def add_unredirected_header(self, name: str, value: str) -> None:
        if name == "Cookie":
            self.cookie = value


class _Answer:
    """A response, as far as a jar looks at it."""

    def __init__(self, values: Sequence[str]) -> None:
        self._message = Message()
        for value in values:
            self._message["Set-Cookie"] = value

    def info(self) -> Message:
        return self._message
