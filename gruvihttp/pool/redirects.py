"""Redirects: from a response that leads elsewhere to the request that follows it (RFC 9110 §15.4).

What is sent where is decided here; that it is sent is not. Connections and cookies are not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urljoin, urlsplit

from gruvihttp.errors import RedirectError
from gruvihttp.origins import Destination, destination_of, shown_url

__all__ = ["REDIRECTS", "Step", "fields_kept", "is_downgrade", "step_of"]

REDIRECTS = frozenset((301, 302, 303, 307, 308))

# Meant for the origin that they were given for; another one must not see them
_FOR_ONE_ORIGIN = frozenset(("authorization", "cookie", "host"))
# About content, which does not go along when the method changes (RFC 9110 §15.4)
_ABOUT_CONTENT = frozenset((
    "content-encoding", "content-language", "content-length", "content-location", "content-type", "digest", "expect",
    "last-modified",
))  # fmt: skip


class Step(NamedTuple):
    """The request that follows a redirect. `keeps_content` says that the content is to be sent again."""

    method: str
    destination: Destination
    keeps_content: bool


def step_of(status: int, method: str, url: str, location: str) -> Step:
    """What a response with this status and this Location to a request for `url` leads to.

    Raises RedirectError when that is no HTTP URL.
    """
    try:
        new_url = urljoin(url, _repaired(location))
        if "#" not in new_url and "#" in url:
            new_url += "#" + url.partition("#")[2]  # RFC 9110 §10.2.2: it inherits the fragment
        # A server may not send us to a Unix socket of this machine, nor to whatever else there will be
        if urlsplit(new_url).scheme not in ("http", "https"):
            raise ValueError("its scheme is neither http nor https")
        destination = destination_of(new_url)
    except ValueError as exc:
        raise RedirectError(f"the server redirects to what is no HTTP URL, {shown_url(location)!r}: {exc}") from None
    new_method = _method_after(status, method)
    # credentials in a Location are the server's idea, not the user's
    return Step(new_method, destination._replace(credentials=None), new_method == method and status != 303)


def fields_kept(
    headers: Sequence[tuple[str, str]], *, same_origin: bool, keeps_content: bool
) -> list[tuple[str, str]]:
    """Those of the user's fields that the next request may carry."""
    dropped = frozenset() if same_origin else _FOR_ONE_ORIGIN
    if not keeps_content:
        dropped = dropped | _ABOUT_CONTENT
    return [field for field in headers if field[0].lower() not in dropped]


def is_downgrade(before: str, after: str) -> bool:
    """Whether the way from one URL to the next leads out of TLS."""
    return before.startswith("https:") and after.startswith("http:")


def _method_after(status: int, method: str) -> str:
    if status == 303 and method != "HEAD":
        return "GET"
    # RFC 9110 §15.4.2: for historical reasons, POST and no other
    return "GET" if status in (301, 302) and method == "POST" else method


def _repaired(location: str) -> str:
    """Servers write UTF-8 into a field that was read as ISO-8859-1."""
    try:
        return location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return location

