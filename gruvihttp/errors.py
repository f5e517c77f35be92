"""Every error that gruvihttp raises: who is to blame, and which status answers it.

An error class knows its own status and whether an answer is still possible; nobody else keeps a table of
them. This module imports nothing of ours, so every layer may raise from it.

The caller's own ``gevent.Timeout`` and ``GreenletExit`` are not here: they pass through us untouched.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

__all__ = [
    "ContentTooLarge",
    "DecodingError",
    "Error",
    "ExpectationFailed",
    "FieldsTooLarge",
    "HttpError",
    "IncompleteMessage",
    "LocalProtocolError",
    "ProtocolError",
    "RedirectError",
    "RemoteProtocolError",
    "StatusError",
    "StreamError",
    "TargetTooLong",
    "Timeout",
    "TransportError",
    "UnsupportedCoding",
    "UnsupportedVersion",
    "fresh",
]

E = TypeVar("E", bound=BaseException)


class Error(Exception):
    """Base of all errors of gruvihttp.

    `retryable` says that the requests concerned surely had no effect at the peer, so sending them again is safe.
    `unanswered` names the requests that will never get a response because of this error, oldest first.
    """

    retryable: bool = False
    unanswered: Sequence[Any] = ()  # of requests: HttpRequest at the public border, which this layer cannot name


class Timeout(Error, TimeoutError):
    """A deadline of ours has passed. `phase` names what the connection was doing: ``"connect"``, ``"head"``, ..."""

    def __init__(self, message: str = "timed out", *, phase: str | None = None) -> None:
        super().__init__(message)
        self.phase = phase


class TransportError(Error, OSError):
    """The connection failed below HTTP. An `OSError` too, with `errno` where the system gave one."""


class ProtocolError(Error):
    """Abstract base of violations of a protocol; raise one of its subclasses.

    `status` is what a server answers (class attribute). `answerable` tells whether an answer is still possible.
    `error_status_hint` is h11's name for the status; h11 gives 400 where it has no opinion, and so do we.
    """

    status: ClassVar[int] = 400
    answerable: ClassVar[bool] = True

    def __init__(self, message: str, error_status_hint: int | None = None, *, offset: int | None = None) -> None:
        if type(self) is ProtocolError:
            raise TypeError("ProtocolError is abstract: raise LocalProtocolError or RemoteProtocolError")
        super().__init__(message)
        self.error_status_hint = self._default_hint() if error_status_hint is None else error_status_hint
        self.offset = offset

    @classmethod
    def _default_hint(cls) -> int:
        return cls.status


class HttpError(ProtocolError):
    """An exchange failed because HTTP was not followed, or because the connection is not usable any more."""


class StreamError(HttpError):
    """A stream of HTTP/2 was reset, or the peer has given the connection up. `error_code` says why (RFC 9113 §7).

    It is `retryable` where the peer says that it has not looked at the request: after REFUSED_STREAM, and for what
    came too late for GOAWAY.
    """

    def __init__(self, message: str, error_status_hint: int | None = None, *, error_code: int = 0) -> None:
        super().__init__(message, error_status_hint)
        self.error_code = error_code


class LocalProtocolError(HttpError):
    """We, or the application above us, tried something that HTTP forbids."""

    status = 500

    @classmethod
    def _default_hint(cls) -> int:
        return 400  # h11's value, pinned by its tests; the answer to our own fault is `status`


class RemoteProtocolError(HttpError):
    """The peer sent something that HTTP forbids, or that we refuse. `offset` counts bytes from the head's start."""


class TargetTooLong(RemoteProtocolError):
    """The request line exceeds its limit (RFC 9110 §15.5.15)."""

    status = 414


class FieldsTooLarge(RemoteProtocolError):
    """The header or trailer section exceeds a limit in bytes or in fields (RFC 6585 §5)."""

    status = 431


class ContentTooLarge(RemoteProtocolError):
    """The content exceeds its limit (RFC 9110 §15.5.14)."""

    status = 413


class UnsupportedCoding(RemoteProtocolError):
    """A transfer coding other than a single final ``chunked`` (RFC 9112 §6.1)."""

    status = 501


class UnsupportedVersion(RemoteProtocolError):
    """A major version of HTTP that this connection does not speak (RFC 9110 §15.6.6)."""

    status = 505


class ExpectationFailed(RemoteProtocolError):
    """An expectation other than ``100-continue`` (RFC 9110 §10.1.1)."""

    status = 417


class IncompleteMessage(RemoteProtocolError):
    """The stream ended inside a message (RFC 9112 §8). The peer no longer listens, so there is no answer."""

    answerable = False


class DecodingError(RemoteProtocolError):
    """The content cannot be decoded: it is corrupted, incomplete, or a bomb (RFC 9110 §8.4)."""


class RedirectError(HttpError):
    """A redirect leads nowhere: to what is no HTTP URL, or on and on. `response` is the last one, if there is one."""

    response: Any = None  # a response of the layer that follows redirects, which this layer cannot name


class StatusError(HttpError):
    """The status of `response` is 4xx or 5xx, and `raise_for_status` was called."""

    response: Any = None  # see RedirectError


def fresh(error: E) -> E:
    """A copy of `error` to raise, with `error` as its cause: one object raised again and again collects tracebacks."""
    again = copy.copy(error)
    again.__cause__ = error
    return again
