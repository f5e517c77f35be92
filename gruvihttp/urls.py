"""`ParsedUrl` and `parse_url`: a URL taken apart into what a client needs for connecting and for asking."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["ParsedUrl", "parse_url"]

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_TLS_SCHEMES = frozenset(("https", "wss"))

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+)://")  # RFC 3986 §3.1
_REST = re.compile(r"([^/?#]*+)([^?#]*+)(?:\?([^#]*+))?+(?:#(.*+))?+", re.DOTALL)  # RFC 3986 appendix B
# RFC 3986 §3.2; RFC 6874 for the zone of an address
_AUTHORITY = re.compile(r"(?:([^/?#]*)@)?(\[[0-9A-Fa-f:.]++(?:%[^\]]++)?\]|[^\[\]@:]++)(?::([0-9]{0,5}))?")
# blanks and control characters; what is not ASCII is for the resolver to judge
_ILLEGAL = re.compile(r"[\x00-\x20\x7f]")


class ParsedUrl(NamedTuple):
    """The parts of a URL, as they stand there; nothing is percent-decoded. What is missing is ``''``.

    `scheme` is in lower case, `host` has no brackets, `port` is digits.
    """

    scheme: str
    host: str
    path: str
    query: str
    fragment: str
    port: str
    userinfo: str

    @property
    def addr(self) -> tuple[str, int]:
        """(host, port) to connect to; the port is the scheme's own unless the URL names another."""
        return self.host, int(self.port or _DEFAULT_PORTS.get(self.scheme, 80))

    @property
    def ssl(self) -> bool:
        """Whether the scheme wants TLS."""
        return self.scheme in _TLS_SCHEMES

    @property
    def target(self) -> str:
        """What to ask the server for: the path, ``/`` if there is none, and the query (RFC 9112 §3.2.1)."""
        return f"{self.path or '/'}?{self.query}" if self.query else self.path or "/"


def parse_url(url: str, default_scheme: str = "http", is_connect: bool = False) -> ParsedUrl:
    """Take a URL apart. `is_connect` says that it is the ``host:port`` of a CONNECT request.

    A URL that begins with ``/``, or is ``*``, has no authority: two slashes do not make one (RFC 9112 §3.2.1). Any
    other one without a scheme is an absolute one of `default_scheme`.

    Raises TypeError for what is not str, ValueError for what is no URL.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL must be str, not {type(url).__name__}")
    if not url or _ILLEGAL.search(url):
        raise _invalid(url)
    if is_connect:
        return _parse_connect(url)
    if url == "*":
        return ParsedUrl("", "", "*", "", "", "", "")
    if url[0] == "/":
        _, path, query, fragment = _split("/" + url)  # the slash in front ends an authority that is empty
        return ParsedUrl("", "", path[1:], query, fragment, "", "")
    match = _SCHEME.match(url)
    scheme, rest = (match[1].lower(), url[match.end() :]) if match else (default_scheme, url)
    return _parse_absolute(scheme, rest, url)


def _parse_absolute(scheme: str, rest: str, url: str) -> ParsedUrl:
    authority, path, query, fragment = _split(rest)
    if authority.endswith(":") and path.startswith("//"):  # a scheme that is none
        raise _invalid(url)
    userinfo, host, port = _parse_authority(authority, url)
    return ParsedUrl(scheme, host, path, query, fragment, port, userinfo)


def _parse_connect(url: str) -> ParsedUrl:
    userinfo, host, port = _parse_authority(url, url)
    if userinfo or not port:
        raise _invalid(url)
    return ParsedUrl("", host, "", "", "", port, "")


def _parse_authority(authority: str, url: str) -> tuple[str, str, str]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or int(match[3] or 0) > 65535:
        raise _invalid(url)
    userinfo, host, port = match.groups("")
    return userinfo, host.strip("[]"), port


def _split(rest: str) -> tuple[str, ...]:
    """Authority, path, query and fragment."""
    parts = _REST.fullmatch(rest)
    assert parts is not None  # every text matches
    return parts.groups("")


def _invalid(url: str) -> ValueError:
    return ValueError(f"invalid URL: {url!r}")
