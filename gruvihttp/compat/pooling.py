"""What the doors of requests and httpx share: the fields of other people's requests.

Whose exceptions are raised is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["Fields", "UNBOUNDED", "sendable_fields"]

Fields = list[tuple[str, str]]

UNBOUNDED = 1 << 30  # connections: more than any system has

# They concern one connection, and it is ours (RFC 9110 §7.6.1). Upgrade is refused with an error.
_OURS = frozenset((
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailers",
    "transfer-encoding",
))  # fmt: skip


def sendable_fields(pairs: Iterable[tuple[str, str]]) -> tuple[Fields, bool]:
    """Those of a request's fields that may be sent, and whether the connection shall close afterwards."""
    fields: Fields = []
    closes = False
    for field in pairs:
        name = field[0].lower()
        if name not in _OURS:
            fields.append(field)
        elif name == "connection" and "close" in field[1].lower():
            closes = True
    return fields, closes
