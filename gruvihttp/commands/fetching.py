"""What ``gruvihttp get`` does: asks each server for all that is wanted of it, and writes what comes.

Requests are pipelined. Where a server closes the connection after some of its responses, the rest is asked for again
on a new one, which is safe with GET (RFC 9112 §9.3.2); a connection that brought no response at all is an error.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import groupby
from typing import BinaryIO, NamedTuple

import click

from gruvihttp.client import HttpClient
from gruvihttp.commands.mistakes import Mistake, NetworkMistake, UsageMistake
from gruvihttp.commands.targets import Origin, Target
from gruvihttp.errors import Error, IncompleteMessage, RemoteProtocolError, Timeout, TransportError
from gruvihttp.messages import HttpResponse
from gruvihttp.net.tls import TlsOption

__all__ = ["Asking", "Writing", "fetch"]

FAILED = 22  # as curl has it
_PIECE_BYTES = 65536


class Asking(NamedTuple):
    """How to ask."""

    headers: list[tuple[str, str]]
    timeout: float | None
    insecure: bool


class Writing:
    """Where responses go: a file, which is opened for the first of them, or stdout."""

    def __init__(self, path: str | None, include: bool, fail: bool) -> None:
        self._path = path
        self._include = include
        self._fail = fail
        self._file: BinaryIO | None = None
        self.exit_code = 0

    def write_response(self, url: str, response: HttpResponse) -> None:
        """Write a response, its content as it comes. Raises what reading raises, and UsageMistake."""
        if self._include:
            for head in (*response.informational, response):
                self._write(_head(head))
        while piece := response.read1(_PIECE_BYTES):
            self._write(piece)
        if self._fail and response.status >= 400:
            self.exit_code = FAILED
            click.echo(f"gruvihttp: {url} was answered with {response.status} {response.reason}", err=True)

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None and self._path is not None:
            self._file.close()

    def _write(self, content: bytes) -> None:
        if self._path is None:
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()  # a pipe's reader wants to see what has come
            return
        try:
            if self._file is None:
                self._file = open(self._path, "wb")
            self._file.write(content)
        except OSError as exc:
            raise UsageMistake(f"cannot write {self._path}: {exc.strerror}", "name another file with -o") from exc


def fetch(targets: Iterable[Target], asking: Asking, writing: Writing) -> int:
    """Fetch all, in order; the exit code is returned. Raises UsageMistake and NetworkMistake."""
    try:
        for origin, run in groupby(targets, key=lambda target: target.origin):
            waiting = list(run)
            while waiting:
                del waiting[: _converse(origin, waiting, asking, writing)]
    finally:
        writing.close()
    return writing.exit_code


def _converse(origin: Origin, targets: Sequence[Target], asking: Asking, writing: Writing) -> int:
    """Ask for `targets` over one connection; how many were answered, which is one at least."""
    answered = 0
    with HttpClient(asking.timeout) as client:
        try:
            client.connect((origin.host, origin.port), ssl=_tls(origin, asking))
            asked = _ask(client, targets, asking)
        except Error as exc:
            raise _explain(exc, origin, targets[0].url, asking) from exc
        for target in targets[:asked]:
            try:
                response = client.getresponse()
            except Error as exc:
                if answered and _has_ended(exc):
                    break
                raise _explain(exc, origin, target.url, asking) from exc
            try:
                writing.write_response(target.url, response)
            except Error as exc:
                raise _explain(exc, origin, target.url, asking) from exc
            answered += 1
    return answered


def _ask(client: HttpClient, targets: Sequence[Target], asking: Asking) -> int:
    """Send the requests; how many went. A server that closes early may have answered the first of them."""
    for count, target in enumerate(targets):
        try:
            client.request("GET", target.target, asking.headers)
        except (TypeError, ValueError) as exc:
            raise UsageMistake(f"cannot ask for {target.url}: {exc}", "check the fields given with -H") from exc
        except Error:
            if count == 0:
                raise
            return count
    return len(targets)


def _has_ended(exc: Error) -> bool:
    """Did the connection end, and nothing worse?"""
    return isinstance(exc, IncompleteMessage) or not isinstance(exc, (Timeout, RemoteProtocolError))


def _tls(origin: Origin, asking: Asking) -> TlsOption:
    if origin.scheme == "http" or not asking.insecure:
        return origin.scheme == "https"
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _head(response: HttpResponse) -> bytes:
    """A head as it would stand on the wire (RFC 9112 §2.1)."""
    lines = [f"HTTP/{response.version} {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _explain(exc: Error, origin: Origin, url: str, asking: Asking) -> Mistake:
    """What went wrong on the network, and what to do about it."""
    cause = exc.__cause__
    if isinstance(exc, Timeout):
        longer = f"{asking.timeout * 4:g}" if asking.timeout else "none"
        return NetworkMistake(f"{url}: nothing came for {asking.timeout:g} seconds", f"wait longer: --timeout {longer}")
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
            "name whom to trust, SSL_CERT_FILE=ca.pem gruvihttp get ..., or give up on that: --insecure",
        )
    if isinstance(cause, ssl.SSLError):
        return NetworkMistake(f"{origin} and we cannot agree on TLS: {exc}", f"does it speak plain HTTP? http://{origin}")
    if isinstance(cause, ConnectionRefusedError):
        return NetworkMistake(f"nobody listens at {origin}", "start the server, or correct the port")
    return NetworkMistake(f"{url}: {_reason(exc)}", "try again")


def _reason(exc: Error) -> str:
    with suppress(AttributeError):
        if isinstance(exc, TransportError) and exc.strerror:
            return exc.strerror
    return str(exc)
