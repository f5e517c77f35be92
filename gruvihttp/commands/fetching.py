"""What ``gruvihttp get`` and ``upload`` do: ask each server for all that is wanted of it, and write what comes.

Requests are pipelined. Where a server closes the connection after some of its responses, the rest is asked for again
on a new one, which is safe with GET (RFC 9112 §9.3.2); a connection that brought no response at all is an error. What
is not safe to repeat is asked one by one, and so is everything with HTTP/1.0. With HTTP/2 a few requests are under way
at a time, since a response that is not read yet keeps its stream.
"""

from __future__ import annotations

import os
import ssl
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from itertools import groupby
from time import monotonic
from typing import Any, BinaryIO

import click

from gruvihttp.client import HttpClient
from gruvihttp.commands.asking import Asking
from gruvihttp.commands.explaining import explain
from gruvihttp.commands.mistakes import NetworkMistake, UsageMistake
from gruvihttp.commands.progress import WatchedFile, is_file, progress
from gruvihttp.commands.targets import Origin, Target
from gruvihttp.errors import Error, IncompleteMessage, RemoteProtocolError, Timeout
from gruvihttp.httpresponse import HttpResponse
from gruvihttp.net.tls import TlsOption

__all__ = ["Writing", "fetch", "upload"]

FAILED = 22  # as curl has it
_PIECE_BYTES = 65536
_MOST_AT_ONCE = 20  # requests of HTTP/2: fewer than any server allows
_REPEATABLE = frozenset(("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"))  # RFC 9110 §9.2.2


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
        with self._progress(response) as advance:
            while piece := response.read1(_PIECE_BYTES):
                self._write(piece)
                advance(len(piece))
        if self._fail and response.status >= 400:
            self.exit_code = FAILED
            click.echo(f"gruvihttp: {url} was answered with {response.status} {response.reason}", err=True)

    def _progress(self, response: HttpResponse) -> AbstractContextManager[Callable[[int], object]]:
        """A progress display, unless the content itself goes to a terminal or to another program."""
        if self._path is None and not is_file(sys.stdout):
            return progress(None, "")
        length = response.get_header("Content-Length", "") or ""
        return progress(int(length) if length.isdigit() else None, self._path or "received")

    def close(self) -> None:
        """Close the file, if there is one."""
        if self._file is not None and self._path is not None:
            self._file.close()

    def _write(self, content: bytes) -> None:
        if self._path is None:
            _write_out(content)
            return
        try:
            if self._file is None:
                self._file = open(self._path, "wb")
            self._file.write(content)
        except OSError as exc:
            raise UsageMistake(f"cannot write {self._path}: {exc.strerror}", "name another file with -o") from exc


def _write_out(content: bytes) -> None:
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()  # a pipe's reader wants each piece at once
    except BrokenPipeError:  # it has seen enough; click ends the process without a word
        raise
    except OSError as exc:
        with suppress(OSError):  # it would be tried again at the end
            sys.stdout.close()
        raise UsageMistake(f"cannot write to stdout: {exc.strerror}", "name a file with -o") from exc


def fetch(targets: Iterable[Target], asking: Asking, writing: Writing) -> int:
    """Fetch all, in order; the exit code is returned. Raises UsageMistake and NetworkMistake."""
    try:
        for origin, run in groupby(targets, key=lambda target: target.origin):
            waiting = list(run)
            while waiting:
                together = asking.method in _REPEATABLE and asking.version != "1.0"
                del waiting[: _converse(origin, waiting if together else waiting[:1], asking, writing)]
    finally:
        writing.close()
    return writing.exit_code


def upload(target: Target, path: str, asking: Asking, writing: Writing) -> int:
    """Send a file, or stdin for ``-``; the exit code is returned. Raises UsageMistake and NetworkMistake."""
    try:
        with HttpClient(asking.timeout, version=asking.version) as client:
            began = _connect(client, target.origin, target.url, asking)
            try:
                with _source(path) as source:
                    client.upload(asking.method, target.target, source, _fields(target.origin, asking))
                response = client.getresponse()
                _write(target.url, response, writing, asking, began)
            except Error as exc:
                raise explain(exc, target.origin, target.url, asking) from exc
            except RuntimeError as exc:
                raise NetworkMistake(f"{path} was not sent: {exc}", "send it when nobody writes to it") from exc
            except OSError as exc:
                raise UsageMistake(f"cannot read {path}: {exc.strerror}", "name a file that is there") from exc
            except (TypeError, ValueError) as exc:
                raise UsageMistake(f"cannot ask for {target.url}: {exc}", "check the options") from exc
    finally:
        writing.close()
    return writing.exit_code


@contextmanager
def _source(path: str) -> Iterator[Any]:
    """The file to send. Raises OSError."""
    if path == "-":
        yield sys.stdin.buffer
        return
    with open(path, "rb") as file, progress(os.fstat(file.fileno()).st_size, path) as advance:
        yield WatchedFile(file, advance)


def _connect(client: HttpClient, origin: Origin, url: str, asking: Asking) -> float:
    """Connect. Returns the moment when the first request may begin."""
    began = monotonic()
    tls = _tls(origin, asking)
    try:
        if asking.unix_socket is None:
            client.connect((origin.host, origin.port), ssl=tls)
        else:
            path = asking.unix_socket if "/" in asking.unix_socket else f"./{asking.unix_socket}"
            client.connect(path, ssl=tls, server_hostname=origin.host)
    except Error as exc:
        raise explain(exc, origin, url, asking) from exc
    _tell(asking, f"* connected to {asking.unix_socket or origin} in {_milliseconds(began)}")
    return monotonic()


def _converse(origin: Origin, targets: Sequence[Target], asking: Asking, writing: Writing) -> int:
    """Ask for `targets` over one connection. Returns how many were answered, at least one."""
    answered = 0
    ahead = _MOST_AT_ONCE if asking.version == "2" else len(targets)
    with HttpClient(asking.timeout, version=asking.version) as client:
        began = _connect(client, origin, targets[0].url, asking)
        try:
            asked = _ask(client, targets[:ahead], asking)
        except Error as exc:
            raise explain(exc, origin, targets[0].url, asking) from exc
        while answered < asked:
            target = targets[answered]
            try:
                response = client.getresponse()
            except Error as exc:
                if answered and _has_ended(exc):
                    break
                raise explain(exc, origin, target.url, asking) from exc
            try:
                _write(target.url, response, writing, asking, began)
            except Error as exc:
                raise explain(exc, origin, target.url, asking) from exc
            answered += 1
            if asked == answered + ahead - 1:
                with suppress(Error):  # a server that takes no more: the rest is for another connection
                    asked += _ask(client, targets[asked : asked + 1], asking)
    return answered


def _ask(client: HttpClient, targets: Sequence[Target], asking: Asking) -> int:
    """Send the requests. Returns how many were sent: a server that closes early may have answered the first of them."""
    for count, target in enumerate(targets):
        try:
            client.request(asking.method, target.target, _fields(target.origin, asking), asking.content or "")
        except (TypeError, ValueError) as exc:
            option = "method given with -X" if "is not a method" in str(exc) else "fields given with -H"
            raise UsageMistake(f"cannot ask for {target.url}: {exc}", f"check the {option}") from exc
        except Error:
            if count == 0:
                raise
            return count
    return len(targets)


def _has_ended(exc: Error) -> bool:
    """Whether the connection has just ended, without an error in what was received."""
    return isinstance(exc, IncompleteMessage) or not isinstance(exc, (Timeout, RemoteProtocolError))


def _fields(origin: Origin, asking: Asking) -> list[tuple[str, str]]:
    """The fields to send: a socket's path has no name to stand in Host, the URL has."""
    if asking.unix_socket is None or any(name.lower() == "host" for name, _ in asking.headers):
        return asking.headers
    default = 443 if origin.scheme == "https" else 80
    host = str(origin)
    return [("Host", host.rpartition(":")[0] if origin.port == default else host), *asking.headers]


def _write(url: str, response: HttpResponse, writing: Writing, asking: Asking, began: float) -> None:
    """Write a response, and tell about it if asked to."""
    if asking.verbose:
        request = response.request
        _tell(asking, f"> {request.method} {request.url} HTTP/{asking.version}")
        for name, value in request.headers:
            _tell(asking, f"> {name}: {'...' if 'authorization' in name.lower() else value}")
        for line in _head(response).decode("latin-1").splitlines()[:-1]:
            _tell(asking, f"< {line}")
        _tell(asking, f"* answered after {_milliseconds(began)}")
    writing.write_response(url, response)
    _tell(asking, f"* complete after {_milliseconds(began)}")


def _tell(asking: Asking, line: str) -> None:
    if asking.verbose:
        click.echo(line, err=True)


def _milliseconds(began: float) -> str:
    return f"{(monotonic() - began) * 1000:.1f} ms"


def _tls(origin: Origin, asking: Asking) -> TlsOption:
    if origin.scheme == "http" or not (asking.insecure or asking.cacert):
        return origin.scheme == "https"  # the client's own context offers what it speaks
    try:
        context = ssl.create_default_context(cafile=asking.cacert)
    except OSError as exc:  # ssl's errors are, too
        why = exc.strerror or "it holds no certificates"
        raise UsageMistake(f"cannot use {asking.cacert}: {why}", "name a file of certificates in PEM") from exc
    if asking.version == "2":
        context.set_alpn_protocols(["h2"])
    if asking.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _head(response: HttpResponse) -> bytes:
    """A head as it would stand on the wire (RFC 9112 §2.1)."""
    if response.version.major == 2:
        lines = [f"HTTP/2 {response.status}"]  # as curl has it; there is no such line
    else:
        lines = [f"HTTP/{response.version} {response.status} {response.reason}"]
    lines += [f"{name}: {value}" for name, value in response.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
