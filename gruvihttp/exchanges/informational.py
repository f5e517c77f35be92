"""How many informational responses to one request a client accepts (RFC 9110 §15.2)."""

from __future__ import annotations

from collections.abc import Sequence

from gruvihttp.errors import RemoteProtocolError
from gruvihttp.sansio.events import InformationalResponse

__all__ = ["one_too_many"]

# Each takes memory and answers nothing. A server that sends a 102 per second is given up after a minute.
_MOST = 64


def one_too_many(known: Sequence[InformationalResponse]) -> RemoteProtocolError | None:
    """The error for one more than these, if they are as many as are accepted.

    It is returned and not raised, so that keeping it as a failure keeps no frames.
    """
    if len(known) < _MOST:
        return None
    return RemoteProtocolError(f"more than {_MOST} informational responses to one request")
