"""The server that was asked for: what the options say becomes what `HttpServer` takes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from gruvihttp.accesslog import AccessLog, Log
from gruvihttp.commands.listening import listen_for_metrics
from gruvihttp.commands.logfile import LogFile
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.operating import Operating
from gruvihttp.commands.settings import Settings
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.forwarded import DEFAULT_FIELDS, TrustedProxies
from gruvihttp.net.networks import Networks
from gruvihttp.probes import check_path
from gruvihttp.server import HttpServer
from gruvihttp.wsgi import Application

__all__ = ["assemble", "open_log", "senders_of_headers", "show_metrics"]

T = TypeVar("T")


def assemble(
    application: Application, settings: Settings, log_file: LogFile | None = None, *, multiprocess: bool = False
) -> HttpServer:
    """A server that does not listen yet. Raises UsageMistake that names the option which cannot be."""
    operating = settings.operating
    proxies = _try("--trusted-proxy", lambda: _proxies(operating))
    for option, path in (("--health-path", operating.health_path), ("--ready-path", operating.ready_path)):
        if path is not None:
            _try(option, lambda: check_path(path))  # noqa: B023  # called at once
    identifier = operating.identifier or None
    _try("--identifier", lambda: ServerConfig(identifier=identifier))
    return _try(
        "--ready-path",
        lambda: HttpServer(
            application,
            limits=settings.limits,
            h2_limits=settings.h2_limits,
            http2=settings.h2_limits is not None,
            timeouts=settings.timeouts,
            debug=settings.debug,
            trusted_proxies=proxies,
            proxy_fields=operating.proxy_field or DEFAULT_FIELDS,
            access_log=_access_log(operating, log_file),
            health_path=operating.health_path,
            ready_path=operating.ready_path,
            reject_upload=operating.reject_upload,
            cancel_on_disconnect=operating.cancel_on_disconnect,
            identifier=identifier,
            multiprocess=multiprocess,
        ),
    )


def senders_of_headers(operating: Operating) -> bool | Iterable[str]:
    """Whose connections begin with a PROXY header, as `Server.listen` has it. Raises UsageMistake."""
    names = operating.proxy_protocol
    if not names or "all" in names:
        return bool(names)
    try:
        Networks(names)
    except ValueError as exc:
        what, _, advice = str(exc).partition(": ")
        raise UsageMistake(f"--proxy-protocol: {what}", f"{advice}; or all") from exc
    return names


def show_metrics(server: HttpServer, operating: Operating) -> str | None:
    """Let `server` tell its metrics where that was asked for, and return where. Raises BindMistake."""
    return None if operating.metrics_bind is None else listen_for_metrics(server, operating.metrics_bind)


def _proxies(operating: Operating) -> tuple[str, ...] | None:
    if not operating.trusted_proxy:
        if operating.proxy_field:
            raise UsageMistake("--proxy-field needs a proxy", "name who sets it: --trusted-proxy 127.0.0.1")
        return None
    TrustedProxies(operating.trusted_proxy)
    return operating.trusted_proxy


def open_log(operating: Operating) -> LogFile | None:
    """The file that the log goes to, if it goes to one. Raises UsageMistake."""
    file = operating.access_log_file
    if file in (None, "-") or operating.access_log == "off":
        return None
    try:
        return LogFile(file)
    except OSError as exc:
        raise UsageMistake(f"--access-log-file: cannot write to {file}: {exc.strerror}", "give another file") from exc


def _access_log(operating: Operating, log_file: LogFile | None) -> Log | None:
    form, file = operating.access_log, operating.access_log_file
    if form is None:
        on_terminal = sys.stderr is not None and sys.stderr.isatty()
        form = "combined" if file is not None else "common" if on_terminal else "off"
    if form == "off":
        return None
    access_log = _try("--access-log", lambda: AccessLog(form))
    return access_log if file is None else AccessLog(form, to=log_file or sys.stdout)


def _try(option: str, make: Callable[[], T]) -> T:
    """What `make` makes. A ValueError that it raises, ``what is wrong: what to do``, is the option's."""
    try:
        return make()
    except ValueError as exc:
        what, _, advice = str(exc).partition(": ")
        raise UsageMistake(f"{option}: {what}", advice or "gruvihttp serve --help says what it takes") from exc
