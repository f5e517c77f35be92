"""``gruvihttp serve``: what it takes. What it does is in `serving`, which is imported when the patches are in place."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from gruvihttp.commands.addresses import parse_bind, parse_mode
from gruvihttp.commands.configuring import config_option
from gruvihttp.commands.crew import crew_options, take_crew
from gruvihttp.commands.declared import (
    SectionedCommand,
    declared_options,
    help_all_option,
    http2_option,
    positive_seconds,
    seconds,
    take_h2_limits,
    take_limits,
    take_timeouts,
)
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.operating import operating_options, take_operating
from gruvihttp.commands.settings import Settings
from gruvihttp.commands.tlsoptions import take_tls, tls_options
from gruvihttp.limits import H2Limits

__all__ = ["command", "settings_of"]


def _serve(patch: bool, check: bool, **others: Any) -> int:
    """Serve a WSGI application until Ctrl-C.

    APP is module:name, 'module:factory()', or a module alone, in which app, application and create_app() are looked
    for. The standard library is monkey-patched by gevent before it is imported. Without APP, a built-in application
    answers with what it was asked.
    """
    if patch:
        import_module("gevent.monkey").patch_all()
    settings = settings_of(others)
    serving = import_module("gruvihttp.commands.serving")
    code: int = serving.check(settings) if check else serving.serve(settings)
    return code


def settings_of(values: dict[str, Any]) -> Settings:
    """What the values of all options say. Raises UsageMistake for those that do not go together."""
    return Settings(
        application=values["app"],
        binds=(parse_bind("systemd"),) if values["systemd"] else values["bind"],
        tls=take_tls(values),
        h2_limits=_h2_limits(values),
        limits=take_limits(values),
        timeouts=take_timeouts(values),
        debug=values["debug"],
        full_traceback=values["full_traceback"],
        operating=take_operating(values),
        crew=take_crew(values),
        socket_mode=values["socket_mode"],
        drain_delay=values["drain_delay"],
        warn_blocking=values["warn_blocking"],
    )


def _h2_limits(values: dict[str, Any]) -> H2Limits | None:
    wanted = values.pop("http2")
    try:
        limits = take_h2_limits(values)
    except ValueError as exc:
        raise UsageMistake(f"HTTP/2: {exc}", "gruvihttp serve --help-all says what it takes") from exc
    return limits if wanted else None


command = SectionedCommand(
    "serve",
    callback=_serve,
    help=_serve.__doc__,
    short_help="Serve a WSGI application.",
    epilog="Every option can be an environment variable, --bind is GRUVIHTTP_SERVE_BIND, or a line of the file that "
    "--config names: bind = ':8000'.",
    params=[
        click.Argument(["app"], required=False, envvar="GRUVIHTTP_SERVE_APP"),
        click.Option(
            ["-b", "--bind"],
            type=parse_bind,
            multiple=True,
            default=["127.0.0.1:8000"],
            metavar="ADDRESS",
            help="host:port, port, :port (all interfaces), [::1]:port, unix:path, fd://3, systemd or systemd:name; "
            "may be repeated  [default: 127.0.0.1:8000]",
        ),
        click.Option(["--systemd"], is_flag=True, help="listen on what systemd has passed, as --bind systemd does"),
        click.Option(
            ["--socket-mode"], type=parse_mode, metavar="MODE", help="mode of the files of Unix sockets, such as 660"
        ),
        config_option(),
        click.Option(["--check"], is_flag=True, help="load everything, serve nothing, exit with 0 if all is well"),
        click.Option(["--debug"], is_flag=True, help="show tracebacks of the application to clients"),
        click.Option(
            ["--traceback", "full_traceback"],
            is_flag=True,
            envvar="GRUVIHTTP_SERVE_TRACEBACK",
            help="show whole tracebacks of failed imports",
        ),
        click.Option(["--patch/--no-patch"], default=True, help="monkey-patch the standard library, or not"),
        http2_option(),
        click.Option(
            ["--drain-delay"],
            type=seconds,
            default=0.0,
            metavar="SECONDS",
            help="on SIGTERM, serve on for so long while --ready-path answers 503",
        ),
        click.Option(
            ["--warn-blocking"],
            type=positive_seconds,
            metavar="SECONDS",
            help="say which function keeps the loop from running for so long",
        ),
        *crew_options(),
        *tls_options(),
        *operating_options(),
        *declared_options(),
        help_all_option(),
    ],
)
