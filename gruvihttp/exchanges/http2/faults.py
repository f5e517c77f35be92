"""The ends of HTTP/2 streams and connections, as the errors that a client's user gets (RFC 9113 §5.4, §7)."""

from __future__ import annotations

from gruvihttp.errors import StreamError
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2events import GoAwayReceived, StreamReset

__all__ = ["goaway_error", "reset_error"]


def reset_error(event: StreamReset, goaway: GoAwayReceived | None) -> StreamError:
    """The error for a stream that was reset, by either side, or that `goaway` says the server has not looked at."""
    code = event.error_code
    if event.reason == "GOAWAY" and goaway is not None:
        text = f"{_why(goaway)}; it has not looked at this request"
    elif event.local:
        text = f"the server broke the rules of HTTP/2 on this stream: {event.reason}"
    else:
        text = f"the server has reset the stream: {_name_of(code)}"
    error = StreamError(text, error_code=code)
    error.retryable = event.retryable
    return error


def goaway_error(event: GoAwayReceived) -> StreamError:
    """The error for a connection on which the server takes no more requests."""
    return StreamError(_why(event), error_code=event.error_code)


def _why(goaway: GoAwayReceived) -> str:
    text = "the server is leaving"
    if goaway.error_code != ErrorCode.NO_ERROR:
        text = f"the server has given the connection up: {_name_of(goaway.error_code)}"
    if goaway.debug:
        text += f" ({goaway.debug[:64].decode('ascii', 'backslashreplace')!r})"
    return text


def _name_of(code: int) -> str:
    return code.name if isinstance(code, ErrorCode) else f"error {code}"
