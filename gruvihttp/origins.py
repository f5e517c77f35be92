"""`Origin` and `Destination`: from a URL as people write it to whom to connect to, and what to ask for there.

This is the border where a URL is cleaned: names of other alphabets are encoded, blanks and the like are quoted, and
credentials are taken out, so that no later message, log or `repr` can show them. Connections are not known here.
"""

from __future__ import annotations

import re
from base64 import b64encode
from difflib import get_close_matches
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote, unquote

from gruvihttp.urls import ParsedUrl, parse_url

__all__ = ["Destination", "Origin", "basic_credentials", "destination_of", "shown_url"]

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*+)://")  # RFC 3986 §3.1
_UNIX = "+unix"  # http+unix://%2Frun%2Fapp.sock/path: the host is the path of a socket
_SCHEMES = ("http", "https", "http+unix", "https+unix")
_DEFAULT_PORTS = {"http": 80, "https": 443}
# What RFC 3986 lets stand in a path or a query, and "%" since what is encoded already stays as it is
_SAFE = "!$%&'()*+,/:;=?@[]~"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")


class Origin(NamedTuple):
    """(scheme, host, port), as RFC 9110 §4.3.1 has it. `path` is that of a Unix socket, where it leads to one."""

    scheme: str
    host: str
    port: int
    path: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.path or self.authority}"

    @property
    def authority(self) -> str:
        """What stands in Host: the port is left out where it is the scheme's own."""
        host = f"[{self.host.partition('%')[0]}]" if ":" in self.host else self.host  # RFC 6874 §4: zones stay here
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


class Destination(NamedTuple):
    """Where a request goes. `target` is what is asked for; `url` is all of it, without credentials.

    `credentials` is the value of an Authorization field for the credentials that stood in the URL; None without.
    """

    origin: Origin
    target: str
    url: str
    credentials: str | None


@lru_cache(maxsize=1024)
def destination_of(url: str) -> Destination:
    """Take a URL apart. Raises TypeError for what is not str; ValueError, which says what to do, for what is no URL.

    No message of either contains credentials.
    """
    if not isinstance(url, str):
        raise TypeError(f"a URL must be str, not {type(url).__name__}")
    scheme, after = _split_scheme(url)
    if _CONTROLS.search(url):
        raise ValueError(f"the URL {shown_url(url)!r} contains control characters")
    authority_end = next((at for at, char in enumerate(after) if char in "/?#"), len(after))
    rest, mark, fragment = after[authority_end:].partition("#")
    try:
        parsed = parse_url(f"http://{after[:authority_end]}{quote(rest, _SAFE)}")
    except ValueError:
        raise ValueError(f"the URL {shown_url(url)!r} is not valid: its host or port cannot be understood") from None
    origin = _origin_of(scheme, parsed, url)
    clean = f"{scheme}://{parsed.host if origin.path else origin.authority}{parsed.target}{mark}{fragment}"
    return Destination(origin, parsed.target, clean, _credentials_of(parsed.userinfo))


def shown_url(url: str) -> str:
    """The URL as it may be shown: without what looks like credentials, even if it is no URL."""
    before, mark, rest = url.rpartition("@")
    if not mark:
        return url
    scheme, mark, _ = before.partition("://")
    return f"{scheme}{mark}***@{rest}" if mark else f"***@{rest}"


def basic_credentials(user: str, password: str) -> str:
    """The value of an Authorization field (RFC 7617). Raises ValueError for a user with a colon."""
    if ":" in user:
        raise ValueError("the user of basic authentication may not contain a colon (RFC 7617 §2)")
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode("ascii")


def _split_scheme(url: str) -> tuple[str, str]:
    match = _SCHEME.match(url)
    if match is None:
        shown = shown_url(url).lstrip("/")
        raise ValueError(f"the URL {shown_url(url)!r} has no scheme: write 'http://{shown}' or 'https://{shown}'")
    scheme = match[1].lower()
    if scheme not in _SCHEMES:
        close = get_close_matches(scheme, _SCHEMES, 1)
        advice = f"did you mean {close[0]!r}?" if close else "use 'http' or 'https'"
        raise ValueError(f"the scheme {scheme!r} is not known: {advice}")
    return scheme, url[match.end() :]


def _origin_of(scheme: str, parsed: ParsedUrl, url: str) -> Origin:
    plain = scheme.removesuffix(_UNIX)
    if scheme != plain:
        return Origin(plain, "localhost", _DEFAULT_PORTS[plain], unquote(parsed.host))
    port = int(parsed.port) if parsed.port else _DEFAULT_PORTS[scheme]
    return Origin(scheme, _ascii_host(parsed.host, url).lower(), port)


def _ascii_host(host: str, url: str) -> str:
    """The host as the domain name system knows it (RFC 5891)."""
    if host.isascii():
        return host
    try:
        return _encode_host(host)
    except UnicodeError as exc:  # idna's errors are, too
        raise ValueError(f"the host in {shown_url(url)!r} is no domain name: {exc}") from None


def _encode_host(host: str) -> str:
    try:
        import idna
    except ImportError:  # the standard library knows the rules of 2003, which differ for few names
        return host.encode("idna").decode("ascii")
    encoded: str = idna.encode(host, uts46=True).decode("ascii")
    return encoded


def _credentials_of(userinfo: str) -> str | None:
    if not userinfo:
        return None
    user, _, password = userinfo.partition(":")
    return basic_credentials(unquote(user), unquote(password))
