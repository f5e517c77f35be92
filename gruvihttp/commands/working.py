"""The workers of ``gruvihttp serve --workers``: the parent's side and the worker's. `gruvihttp.prefork` keeps them."""

from __future__ import annotations

import os
import random
import socket as stdlib_socket
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import click
import gevent
from gevent import socket

from gruvihttp.commands.addresses import Bind
from gruvihttp.commands.crew import Crew
from gruvihttp.commands.listening import refusal
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.settings import Settings
from gruvihttp.errors import TransportError
from gruvihttp.net.listening import bind_sockets
from gruvihttp.net.sockets import RawSocket
from gruvihttp.net.tls import TlsOption
from gruvihttp.prefork import READY, RELIEF, VARIABLE, Prefork
from gruvihttp.server import HttpServer

__all__ = ["Membership", "supervise"]


def supervise(settings: Settings, crew: Crew, name: str, *, tls: bool) -> int:
    """Be the parent of so many workers until a signal comes; the exit code is returned."""
    if settings.operating.metrics_bind is not None:
        raise UsageMistake("--metrics-bind and --workers do not go together yet", "leave one of them out")
    places: list[list[RawSocket]] = [[] for _ in range(crew.workers)]
    shown = [_bind(bind, places, reuse_port=crew.reuse_port, tls=tls) for bind in settings.binds]

    def serving() -> None:
        where = ", ".join(shown)
        click.echo(f"gruvihttp serving {name} at {where} with {crew.workers} workers (Ctrl-C stops)", err=True)

    command = [sys.executable, *sys.orig_argv[1:]]
    try:
        return Prefork(command, places, graceful=settings.timeouts.graceful, report=_report).run(serving)
    finally:
        for bind in settings.binds:
            if isinstance(bind.address, str) and not bind.address.startswith("\0"):
                with suppress(OSError):
                    os.unlink(bind.address)


def _bind(bind: Bind, places: list[list[RawSocket]], *, reuse_port: bool, tls: bool) -> str:
    """Add sockets for an address to each place, and return where that is found."""
    try:
        first = bind_sockets(bind.address, backlog=1024)  # by itself, or it would join whoever listens there already
        addresses = [sock.getsockname() for sock in first]
        if reuse_port and not bind.is_unix:
            for sock in first:
                sock.close()
            for place in places:
                for address in addresses:
                    place += bind_sockets(address, backlog=1024, reuse_port=True)
        else:
            for place in places:
                place += first
    except TransportError as exc:
        raise refusal(bind, exc) from exc
    return bind.place(0 if bind.is_unix else addresses[0][1], tls=tls and not bind.is_unix)


def _report(text: str) -> None:
    click.echo(f"gruvihttp: {text}", err=True)


class Membership:
    """What a worker knows of its parent: the sockets that it is to serve, and the way to tell it something."""

    def __init__(self, text: str) -> None:
        pair, _, descriptors = text.partition(":")
        self._pair = socket.socket(fileno=int(pair))
        self._descriptors = [int(descriptor) for descriptor in descriptors.split(",")]

    @classmethod
    def of_environment(cls) -> Membership | None:
        """That of this process; None if it is not a worker."""
        text = os.environ.pop(VARIABLE, None)
        return None if text is None else cls(text)

    def listen(self, server: HttpServer, context: TlsOption, senders: bool | Iterable[str]) -> None:
        """Serve the sockets that the parent has bound."""
        for descriptor in self._descriptors:
            sock = stdlib_socket.socket(fileno=descriptor)
            tls = False if sock.family == stdlib_socket.AF_UNIX else context
            server.listen(sock, tls, proxy_protocol=senders)

    def tell_ready(self, stop: Callable[[], object]) -> None:
        """Tell the parent that we serve; call `stop` when the parent has gone."""
        self._pair.sendall(READY)
        gevent.spawn(self._watch, stop)

    def _watch(self, stop: Callable[[], object]) -> None:
        with suppress(OSError):
            self._pair.recv(1)
        stop()

    def counting(self, application: Callable[..., Any], most: int, jitter: int) -> Callable[..., Any]:
        """The application, which asks the parent for relief after so many requests."""
        left = most + random.randint(0, jitter)

        def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            nonlocal left
            left -= 1
            if left == 0:
                self._pair.sendall(RELIEF)
            result: Iterable[bytes] = application(environ, start_response)
            return result

        return counted
