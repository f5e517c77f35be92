"""The parent of the workers of ``gruvihttp serve --workers``: what it binds, and what it says. `prefork` keeps them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import Any

import click
import gevent

from gruvihttp.commands.addresses import Bind
from gruvihttp.commands.crew import Crew
from gruvihttp.commands.listening import listen, metrics_place, refusal
from gruvihttp.commands.operating import Operating
from gruvihttp.commands.passed import resolve_passed
from gruvihttp.commands.reloading import FILES, Watcher
from gruvihttp.commands.settings import Settings
from gruvihttp.commands.totals import Totals
from gruvihttp.errors import TransportError
from gruvihttp.metrics import metrics_application
from gruvihttp.net.listening import bind_sockets
from gruvihttp.net.sockets import RawSocket, take_over
from gruvihttp.processes.prefork import STATS, Prefork
from gruvihttp.processes.worker import ENDED, Worker
from gruvihttp.server import HttpServer
from gruvihttp.systemd import Notifier

__all__ = ["supervise"]


def supervise(settings: Settings, crew: Crew, name: str, *, tls: bool) -> int:
    """Be the parent of workers until a signal comes. Returns the exit code."""
    settings = resolve_passed(settings)
    places: list[list[RawSocket]] = [[] for _ in range(crew.workers)]
    shown = [_bind(bind, places, crew, settings.socket_mode, tls=tls) for bind in settings.binds]
    supervision = _Supervision(settings, crew, places)
    metrics = supervision.show_metrics(settings.operating)

    def serving() -> None:
        workers = "1 worker" if crew.workers == 1 else f"{crew.workers} workers"
        click.echo(f"gruvihttp serving {name} at {', '.join(shown)} with {workers} (Ctrl-C stops)", err=True)
        if metrics is not None:
            click.echo(f"gruvihttp tells its metrics at {metrics}", err=True)

    try:
        return supervision.prefork.run(serving)
    finally:
        supervision.end()
        for bind in settings.binds:
            if isinstance(bind.address, str) and not bind.address.startswith("\0"):
                with suppress(OSError):
                    os.unlink(bind.address)


class _Supervision:
    """What the parent does with the messages of its workers."""

    def __init__(self, settings: Settings, crew: Crew, places: list[list[RawSocket]]) -> None:
        self.prefork = Prefork(
            [sys.executable, *sys.orig_argv[1:]],
            places,
            graceful=settings.timeouts.graceful,
            delay=settings.drain_delay,
            report=_report,
            heard=self._heard,
            notifier=Notifier.of_environment(),
            persistent=crew.reload,
        )
        self._totals = Totals(lambda: self.prefork.workers, self._is_ready)
        self._watcher = Watcher(self._changed) if crew.reload else None
        self._metrics: HttpServer | None = None

    def show_metrics(self, operating: Operating) -> str | None:
        """Tell the metrics of all workers where that was asked for, and return where. Raises BindMistake."""
        if operating.metrics_bind is None:
            return None
        application = metrics_application(
            self._totals.stats, health_path=operating.health_path, ready_path=operating.ready_path
        )
        self._metrics = HttpServer(application)
        return metrics_place(operating.metrics_bind, listen(self._metrics, operating.metrics_bind, None))

    def end(self) -> None:
        """Stop serving metrics."""
        if self._metrics is not None:
            self._metrics.close(0)

    def _is_ready(self) -> bool:
        workers = self.prefork.workers
        return not self.prefork.leaving and bool(workers) and all(worker.serves for worker in workers)

    def _heard(self, worker: Worker, word: str, content: Any) -> None:
        if word == STATS:
            self._totals.heard(worker, content)
        elif word == ENDED:
            self._totals.gone(worker)
        elif word == FILES and self._watcher is not None:
            self._watcher.add(content)

    def _changed(self, file: str) -> None:
        _report(f"{os.path.relpath(file)} has changed")
        gevent.spawn(self.prefork.reload)


def _bind(bind: Bind, places: list[list[RawSocket]], crew: Crew, mode: int | None, *, tls: bool) -> str:
    """Add sockets for an address to each place, and return where that is found."""
    if bind.descriptor is not None:
        passed = take_over(bind.descriptor)
        for place in places:
            place.append(passed)
        return bind.place(bind.port, tls=tls and not bind.is_unix)
    try:
        # without SO_REUSEPORT, which would join another server that listens there already
        first = bind_sockets(bind.address, backlog=1024, mode=mode)
        addresses = [sock.getsockname() for sock in first]
        if crew.reuse_port and not bind.is_unix:
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
    with suppress(OSError):  # a terminal that is gone must not end what is under way
        click.echo(f"gruvihttp: {text}", err=True)
