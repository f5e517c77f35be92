"""Errors that the client drivers of all versions raise alike. When they are raised is not known here."""

from __future__ import annotations

from collections.abc import Sequence

from gruvihttp.errors import Error, HttpError, RemoteProtocolError, Timeout
from gruvihttp.sansio.events import InformationalResponse

__all__ = ["one_too_many", "out_of_time", "refused"]

# Each takes memory and answers nothing. A server that sends a 102 per second is given up after a minute.
_MOST_INFORMATIONAL = 64


def one_too_many(known: Sequence[InformationalResponse]) -> RemoteProtocolError | None:
    """The error for one more informational response than these, if they are as many as are accepted (RFC 9110 §15.2).

    It is returned and not raised, so that keeping it as a failure keeps no frames.
    """
    if len(known) < _MOST_INFORMATIONAL:
        return None
    return RemoteProtocolError(f"more than {_MOST_INFORMATIONAL} informational responses to one request")


def out_of_time() -> Timeout:
    """The error for an exchange that has used up its `Timeouts.total`."""
    return Timeout("timed out: the exchange as a whole has taken too long", phase="total")


def refused(refusal: Error) -> HttpError:
    """The error for a request on a connection that takes no more requests, for the reason `refusal`."""
    error = HttpError(f"the connection cannot be used any more: {refusal}; close it and connect again")
    error.__cause__ = refusal
    error.retryable = True  # nothing of the request was sent
    return error
