"""Paste Deploy: ``use = egg:gruvihttp`` in the server section of an ini file, as ``pserve`` and others read it.

The options are those of ``gruvihttp serve``, by their names; ``host``, ``port`` and ``listen`` are understood as other
servers have them. The application is loaded already when this is called, which is too late to patch the standard
library; if that has not been done, a warning says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
from gevent.monkey import is_module_patched

from gruvihttp.commands.configuring import defaults_for
from gruvihttp.commands.mistakes import Mistake
from gruvihttp.commands.serve import command, settings_of
from gruvihttp.commands.serving import serve
from gruvihttp.commands.settings import Loaded
from gruvihttp.wsgi import Application

__all__ = ["server_factory", "server_runner"]

Config = dict[str, str]


def server_runner(app: Application, global_conf: Config | None = None, **options: str) -> None:
    """Serve `app` until a signal comes (``paste.server_runner``). Raises SystemExit if that cannot be."""
    try:
        defaults = defaults_for(command, _values(options), "the server section")
        with command.make_context("gruvihttp", [], default_map=defaults) as ctx:
            settings = settings_of(ctx.params)
            _mention_patches()
            code = serve(settings._replace(application=Loaded("the application", app)))
    except Mistake as exc:
        exc.show()
        code = exc.exit_code
    except click.ClickException as exc:
        click.echo(f"gruvihttp: {exc.format_message()}", err=True)
        code = exc.exit_code
    if code:
        raise SystemExit(code)


def server_factory(global_conf: Config | None = None, **options: str) -> Callable[[Application], None]:
    """A function that serves an application (``paste.server_factory``)."""

    def serve_application(app: Application) -> None:
        server_runner(app, global_conf, **options)

    return serve_application


def _mention_patches() -> None:
    if not is_module_patched("socket"):
        advice = "begin the application's first module with: from gevent import monkey; monkey.patch_all()"
        click.echo(f"gruvihttp: gevent has not patched the standard library: {advice}", err=True)


def _values(options: Config) -> dict[str, Any]:
    """Options as a file for ``--config`` would have them: what may be repeated is separated by blanks here."""
    values: dict[str, Any] = dict(options)
    if "host" in values or "port" in values:
        host, port = values.pop("host", "127.0.0.1"), values.pop("port", "8000")
        values["bind"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if "listen" in values:
        values["bind"] = values.pop("listen")
    several = {parameter.name for parameter in command.params if parameter.multiple and parameter.nargs == 1}
    return {name: value.split() if name.replace("-", "_") in several else value for name, value in values.items()}
