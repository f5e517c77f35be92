"""What ``gruvihttp serve`` does: loads the application, then listens, says where, and serves until a signal comes."""

from __future__ import annotations

import click
import gevent

from gruvihttp.commands.assembling import assemble, senders_of_headers, show_metrics
from gruvihttp.commands.certificate import load_certificate
from gruvihttp.commands.listening import listen
from gruvihttp.commands.loading import Loaded, load_application
from gruvihttp.commands.settings import Settings
from gruvihttp.commands.stopping import StopSignals
from gruvihttp.echo import application as echo
from gruvihttp.server import HttpServer

__all__ = ["check", "serve"]

# Enough for connections that only have to be closed. Whoever waits longer wants to know what for.
_SILENCE_SECONDS = 0.3


def check(settings: Settings) -> int:
    """Load all that `serve` would load; 0 is returned."""
    context = load_certificate(settings.tls_cert, settings.tls_key)
    loaded = _load(settings)
    assemble(loaded.application, settings)
    senders_of_headers(settings.operating)
    places = [bind.place(bind.port, tls=context is not None) for bind in settings.binds]
    click.echo(f"gruvihttp can serve {loaded.name} at {_join(places)}", err=True)
    return 0


def serve(settings: Settings) -> int:
    """Serve until SIGINT or SIGTERM; the exit code is returned."""
    context = load_certificate(settings.tls_cert, settings.tls_key)
    loaded = _load(settings)
    server = assemble(loaded.application, settings)
    senders = senders_of_headers(settings.operating)
    places = [listen(server, bind, context, senders) for bind in settings.binds]
    metrics = show_metrics(server, settings.operating)
    with StopSignals(lambda: _stop(server)) as signals:
        click.echo(f"gruvihttp serving {loaded.name} at {_join(places)} (Ctrl-C stops)", err=True)
        if metrics is not None:
            click.echo(f"gruvihttp tells its metrics at {metrics}", err=True)
        try:
            server.serve_forever(stop_timeout=0)  # running exchanges have had their time in _stop
        except KeyboardInterrupt:
            return 128 + signals.number  # as shells report it
    return 0


def _load(settings: Settings) -> Loaded:
    if settings.application is None:
        return Loaded("its echo application", echo)
    return load_application(settings.application, full_traceback=settings.full_traceback)


def _stop(server: HttpServer) -> None:
    closing = gevent.spawn(server.close)
    closing.join(_SILENCE_SECONDS)
    if not closing.ready():
        open_count = len(server.connections)
        connections = "1 connection" if open_count == 1 else f"{open_count} connections"
        click.echo(f"gruvihttp waits for {connections} to finish (Ctrl-C again stops at once)", err=True)


def _join(places: list[str]) -> str:
    return places[0] if len(places) == 1 else f"{', '.join(places[:-1])} and {places[-1]}"
