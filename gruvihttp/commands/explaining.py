"""What went wrong on the network, said to the user of ``gruvihttp get`` and ``upload``, with what to do about it."""

from __future__ import annotations

import errno
import socket
import ssl

from gruvihttp.commands.asking import Asking
from gruvihttp.commands.mistakes import Mistake, NetworkMistake
from gruvihttp.commands.targets import Origin
from gruvihttp.errors import Error, IncompleteMessage, RemoteProtocolError, Timeout, TransportError

__all__ = ["explain"]

_NO_HTTP2 = "does it speak HTTP/2? else leave out --http2"
_NOBODY_THERE = "start the server, or correct --unix-socket"
_SOCKET_ADVICE = {
    **dict.fromkeys((errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR, errno.ENOTSOCK), _NOBODY_THERE),
    errno.EACCES: "ask as a user who may write to it",
}


def explain(exc: Error, origin: Origin, url: str, asking: Asking) -> Mistake:
    """What went wrong on the network, and what to do about it."""
    cause = exc.__cause__
    if isinstance(exc, Timeout):
        return _explain_timeout(exc, url, asking)
    if isinstance(exc, IncompleteMessage):
        return NetworkMistake(f"{url}: the response ended before it was complete", "try again")
    if isinstance(exc, RemoteProtocolError):
        hint = "is it a server for HTTP?" if origin.scheme == "https" else "is it a server for HTTP, without TLS?"
        return NetworkMistake(f"{origin} does not answer with HTTP: {exc}", hint)
    if isinstance(cause, socket.gaierror):
        return NetworkMistake(f"there is no host {origin.host!r}: {cause.strerror}", "check its spelling")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return NetworkMistake(
            f"the certificate of {origin} is not accepted: {cause.verify_message}",
            "name whom to trust: --cacert ca.pem, or give up on that: --insecure",
        )
    if isinstance(cause, ssl.SSLError):
        return NetworkMistake(f"{origin} and we cannot agree on TLS: {exc}", f"does it speak plain HTTP? http://{origin}")
    if asking.unix_socket is not None and isinstance(cause, OSError) and cause.errno in _SOCKET_ADVICE:
        what = f"cannot connect to {asking.unix_socket}: {cause.strerror}"
        return NetworkMistake(what, _SOCKET_ADVICE[cause.errno])
    if isinstance(cause, ConnectionRefusedError):
        return NetworkMistake(f"nobody listens at {origin}", "start the server, or correct the port")
    is_reset = isinstance(exc, TransportError) and exc.errno == errno.ECONNRESET
    if is_reset and origin.scheme == "http" and asking.unix_socket is None:
        return NetworkMistake(f"{url}: {_reason(exc)}", f"does it speak TLS? https://{origin}; else try again")
    if asking.version == "2" and not isinstance(exc, TransportError):
        return NetworkMistake(f"{url}: {_reason(exc)}", _NO_HTTP2)
    return NetworkMistake(f"{url}: {_reason(exc)}", "try again")


def _explain_timeout(exc: Timeout, url: str, asking: Asking) -> Mistake:
    if asking.timeout is None or "HTTP/2" in str(exc):  # the wait for SETTINGS, which has a bound of its own
        return NetworkMistake(f"{url}: {exc}", _NO_HTTP2)
    longer = f"{asking.timeout * 4:g}" if asking.timeout else "none"
    return NetworkMistake(f"{url}: nothing came for {asking.timeout:g} seconds", f"wait longer: --timeout {longer}")


def _reason(exc: Error) -> str:
    told: str | None = exc.strerror if isinstance(exc, TransportError) else None
    return told or str(exc)
