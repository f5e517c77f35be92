"""What ``gruvihttp serve`` does: loads the application, then listens, says where, and serves until a signal comes."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable

import click
import gevent

from gruvihttp.certificates import Certificates
from gruvihttp.commands.assembling import assemble, open_log, senders_of_headers, show_metrics
from gruvihttp.commands.blocking import BlockingWatch
from gruvihttp.commands.certificate import load_certificates
from gruvihttp.commands.listening import listen
from gruvihttp.commands.loading import load_application
from gruvihttp.commands.membership import Membership
from gruvihttp.commands.passed import resolve_passed
from gruvihttp.commands.reloading import failure_told, tell_files
from gruvihttp.commands.renewing import Renewal
from gruvihttp.commands.settings import Loaded, Settings
from gruvihttp.commands.stopping import StopSignals
from gruvihttp.commands.working import supervise
from gruvihttp.echo import application as echo
from gruvihttp.processes.prefork import announcement
from gruvihttp.processes.signals import signals_handled
from gruvihttp.server import HttpServer
from gruvihttp.systemd import Notifier

__all__ = ["check", "serve"]

# Enough for connections that only have to be closed. If it takes longer, the user is told why.
_SILENCE_SECONDS = 0.3

ECHO = "its echo application"


def check(settings: Settings) -> int:
    """Load all that `serve` would load; 0 is returned."""
    certificates = _certificates(settings)
    loaded = _load(settings)
    assemble(loaded.application, settings, open_log(settings.operating))
    senders_of_headers(settings.operating)
    places = [bind.place(bind.port, tls=certificates is not None) for bind in settings.binds]
    click.echo(f"gruvihttp can serve {loaded.name} at {_join(places)}", err=True)
    return 0


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit code is returned."""
    certificates = _certificates(settings)
    member = Membership.of_environment()
    if member is None and settings.crew is not None:
        given = settings.application or ECHO
        name = given.name if isinstance(given, Loaded) else given
        return supervise(settings, settings.crew, name, tls=certificates is not None)
    if member is not None:
        return _work(member, settings, certificates)
    loaded = _load(settings)
    settings = resolve_passed(settings)
    notifier = Notifier.of_environment()
    log_file = open_log(settings.operating)
    server = assemble(loaded.application, settings, log_file)
    senders = senders_of_headers(settings.operating)
    places = [listen(server, bind, certificates, senders, settings.socket_mode) for bind in settings.binds]
    metrics = show_metrics(server, settings.operating)
    renewal = Renewal(log_file, certificates, notifier)
    with _stop_signals(server, settings.drain_delay, notifier) as signals, signals_handled(renewal.signals()):
        click.echo(f"gruvihttp serving {loaded.name} at {_join(places)} (Ctrl-C stops)", err=True)
        if metrics is not None:
            click.echo(f"gruvihttp tells its metrics at {metrics}", err=True)
        notifier.ready()
        notifier.keep_alive()
        _watch_blocking(settings)
        _set_aside()
        try:
            server.serve_forever(stop_timeout=0)  # running exchanges have had their time in _stop
        except KeyboardInterrupt:
            return 128 + signals.number  # as shells report it
    return 0


def _work(member: Membership, settings: Settings, certificates: Certificates | None) -> int:
    """Be a worker: serve what the parent has bound, and print nothing, since the parent does that."""
    crew = settings.crew
    with failure_told(member.tell_files):
        application = _load(settings).application
    if crew is not None and crew.reload:
        tell_files(member.tell_files)
    if crew is not None and crew.max_requests is not None:
        application = member.counting(application, crew.max_requests, crew.max_requests_jitter)
    log_file = open_log(settings.operating)
    server = assemble(application, settings, log_file, multiprocess=True)
    member.listen(server, certificates or False, senders_of_headers(settings.operating))
    renewal = Renewal(log_file, certificates)
    renewing: dict[int, Callable[[], object]] = {signal.SIGUSR1: renewal.reopen, signal.SIGHUP: renewal.renew}
    with StopSignals(server.close) as signals, signals_handled(renewing):
        member.attend(server, renewal.reopen)
        _watch_blocking(settings)
        if crew is not None and crew.max_memory is not None:
            member.watch_memory(crew.max_memory)
        _set_aside()
        try:
            server.serve_forever(stop_timeout=0)
        except KeyboardInterrupt:
            return 128 + signals.number
        finally:
            member.tell_stats(server)
    return 0


def _set_aside() -> None:
    """Exempt what has been loaded from garbage collection: it stays anyway, and each pass over it takes long."""
    gc.collect()
    gc.freeze()


def _watch_blocking(settings: Settings) -> None:
    """Say from now on what blocks the loop, if that is wanted."""
    if settings.warn_blocking is not None:
        # straight to the descriptor: a stream may belong to gevent, or its lock to the greenlet that blocks
        BlockingWatch(settings.warn_blocking, lambda text: os.write(2, f"gruvihttp: {text}\n".encode())).start()


def _certificates(settings: Settings) -> Certificates | None:
    return load_certificates(settings.tls, http2=settings.h2_limits is not None)


def _load(settings: Settings) -> Loaded:
    if settings.application is None:
        return Loaded(ECHO, echo)
    if isinstance(settings.application, Loaded):
        return settings.application
    return load_application(settings.application, full_traceback=settings.full_traceback)


def _stop_signals(server: HttpServer, delay: float, notifier: Notifier) -> StopSignals:
    def leave() -> None:
        notifier.stopping()
        click.echo(f"gruvihttp {announcement(delay)}", err=True)
        server.leave(delay)
        signals.proceed()

    def stop() -> None:
        notifier.stopping()
        _stop(server)

    signals = StopSignals(stop, leave if delay else None)
    return signals


def _stop(server: HttpServer) -> None:
    closing = gevent.spawn(server.close)
    closing.join(_SILENCE_SECONDS)
    if not closing.ready():
        stats = server.stats()
        open_count = stats["connections"] + stats["handshakes"]
        connections = "1 connection" if open_count == 1 else f"{open_count} connections"
        click.echo(f"gruvihttp waits for {connections} to finish (Ctrl-C again stops at once)", err=True)


def _join(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"
