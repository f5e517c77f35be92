"""What to fetch: URLs and fields, as people write them on a command line."""

from __future__ import annotations

from difflib import get_close_matches
from typing import NamedTuple
from urllib.parse import quote

from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.urls import parse_url

__all__ = ["Origin", "Target", "parse_field", "parse_target"]

_SCHEMES = ("http", "https")
# all that may stand in a path or a query, percent signs included (RFC 3986 §3.3, §3.4)
_SAFE = "/?%:@!$&'()*+,;=-._~[]|"


class Origin(NamedTuple):
    """Whom to ask (RFC 9110 §4.3.1)."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Target(NamedTuple):
    """One URL: as it was written, and as whom to ask for what."""

    url: str
    origin: Origin
    target: str


def parse_target(url: str) -> Target:
    """Understand an absolute URL of http or https; what is not ASCII in its path is percent-encoded.

    Raises UsageMistake.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise UsageMistake(f"{url!r} has no scheme", f"write http://{url.lstrip('/') or 'localhost:8000/'}")
    if scheme.lower() not in _SCHEMES:
        close = get_close_matches(scheme.lower(), _SCHEMES, 1)
        advice = f"did you mean {close[0]}://{rest}?" if close else "write http:// or https://"
        raise UsageMistake(f"{scheme!r} in {url!r} is no scheme for HTTP", advice)
    try:
        parsed = parse_url(url)
    except ValueError:
        raise UsageMistake(f"{url!r} is no URL", _advise(url)) from None
    if parsed.userinfo:  # RFC 9110 §4.2.4; not to be repeated in a message either
        where = f"{parsed.scheme}://{url.rpartition('@')[2]}"
        raise UsageMistake(
            "user names and passwords do not belong in a URL", f"write -H 'Authorization: ...' {where}"
        )
    host, port = parsed.addr
    return Target(url, Origin(parsed.scheme, host, port), quote(parsed.target, safe=_SAFE))


def _advise(url: str) -> str:
    if " " in url:
        return f"a blank in a URL is written %20: {url.replace(' ', '%20')}"
    return "a URL looks like http://localhost:8000/path?query"


def parse_field(text: str) -> tuple[str, str]:
    """Understand ``Name: value``. Raises UsageMistake."""
    name, colon, value = text.partition(":")
    if not colon or not name or name != name.strip():
        raise UsageMistake(f"{text!r} is no header field", "write -H 'Name: value'")
    return name, value.strip(" \t")
