"""The parent of the workers of ``gruvihttp serve --workers``: what it binds, and what it says. `prefork` keeps them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

import click

from gruvihttp.commands.addresses import Bind
from gruvihttp.commands.crew import Crew
from gruvihttp.commands.listening import refusal
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.passed import resolve_passed
from gruvihttp.commands.settings import Settings
from gruvihttp.errors import TransportError
from gruvihttp.net.listening import bind_sockets
from gruvihttp.net.sockets import RawSocket, take_over
from gruvihttp.prefork import Prefork
from gruvihttp.systemd import Notifier

__all__ = ["supervise"]


def supervise(settings: Settings, crew: Crew, name: str, *, tls: bool) -> int:
    """Be the parent of so many workers until a signal comes; the exit code is returned."""
    if settings.operating.metrics_bind is not None:
        raise UsageMistake("--metrics-bind and --workers do not go together yet", "leave one of them out")
    settings = resolve_passed(settings)
    places: list[list[RawSocket]] = [[] for _ in range(crew.workers)]
    shown = [_bind(bind, places, reuse_port=crew.reuse_port, tls=tls) for bind in settings.binds]

    def serving() -> None:
        where = ", ".join(shown)
        click.echo(f"gruvihttp serving {name} at {where} with {crew.workers} workers (Ctrl-C stops)", err=True)

    notifier = Notifier.of_environment()
    command = [sys.executable, *sys.orig_argv[1:]]
    prefork = Prefork(
        command,
        places,
        graceful=settings.timeouts.graceful,
        delay=settings.drain_delay,
        report=_report,
        notifier=notifier,
    )
    try:
        return prefork.run(serving)
    finally:
        for bind in settings.binds:
            if isinstance(bind.address, str) and not bind.address.startswith("\0"):
                with suppress(OSError):
                    os.unlink(bind.address)


def _bind(bind: Bind, places: list[list[RawSocket]], *, reuse_port: bool, tls: bool) -> str:
    """Add sockets for an address to each place, and return where that is found."""
    if bind.descriptor is not None:
        passed = take_over(bind.descriptor)
        for place in places:
            place.append(passed)
        return bind.place(bind.port, tls=tls and not bind.is_unix)
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
