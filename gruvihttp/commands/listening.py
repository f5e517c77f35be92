"""Listening at the addresses that a user gave, and what to do where that is refused."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable

from gruvihttp.commands.addresses import Bind
from gruvihttp.commands.holder import holder_of
from gruvihttp.commands.mistakes import BindMistake
from gruvihttp.errors import TransportError
from gruvihttp.net.serving import Server
from gruvihttp.net.tls import TlsOption
from gruvihttp.server import HttpServer

__all__ = ["listen", "listen_for_metrics", "metrics_place", "refusal"]


def listen(
    server: Server,
    bind: Bind,
    context: TlsOption | None,
    proxy_protocol: bool | Iterable[str] = False,
    mode: int | None = None,
) -> str:
    """Let `server` listen there, with TLS if there is a context, and return where it is found.

    Unix sockets go without TLS, as who connects there is on this machine; their files get `mode`. Raises BindMistake.
    """
    known = len(server.addresses)
    tls = False if context is None or bind.is_unix else context
    try:
        server.listen(bind.address, ssl=tls, proxy_protocol=proxy_protocol, mode=mode)
    except TransportError as exc:
        raise refusal(bind, exc) from exc
    bound = server.addresses[known]
    return bind.place(0 if bind.is_unix else bound[1], tls=tls is not False)


def listen_for_metrics(server: HttpServer, bind: Bind) -> str:
    """Let `server` tell its metrics there, and return where they are found. Raises BindMistake."""
    known = len(server.metrics_addresses)
    try:
        server.listen_metrics(bind.address)
    except TransportError as exc:
        raise refusal(bind, exc, "--metrics-bind") from exc
    bound = server.metrics_addresses[known]
    return metrics_place(bind, bind.place(0 if bind.is_unix else bound[1], tls=False))


def metrics_place(bind: Bind, place: str) -> str:
    """Where metrics are found, when the server that tells them is found at `place`."""
    address, comma, remark = place.partition(", ")
    return f"{address}/metrics{comma}{remark}" if not bind.is_unix else place


def refusal(bind: Bind, exc: TransportError, option: str = "--bind") -> BindMistake:
    """What is wrong with an address that the system has refused, which was given with that option."""
    cause = exc.__cause__
    reason = (isinstance(cause, OSError) and cause.strerror) or str(cause or exc)
    explain = _explain_path if bind.is_unix else _explain_port
    what, advice = explain(bind, exc.errno, reason)
    return BindMistake(f"cannot listen on {bind.text}: {what}", advice.replace("--bind", option))


def _explain_port(bind: Bind, code: int | None, reason: str) -> tuple[str, str]:
    if code == errno.EADDRINUSE:
        return f"{_holder(bind)} does", f"stop it, or choose another port: --bind {bind.next()}"
    if code in (errno.EACCES, errno.EPERM):
        return reason, "choose a port from 1024 on, such as --bind :8080"
    if code == errno.EADDRNOTAVAIL:
        return "this machine has no such address", f"use 127.0.0.1, or all that it has: --bind :{bind.port}"
    return reason, "give an address of this machine, such as 127.0.0.1:8000, or :8000 for all that it has"


def _explain_path(bind: Bind, code: int | None, reason: str) -> tuple[str, str]:
    path = str(bind.where)
    if code == errno.EADDRINUSE:
        if os.path.exists(path) and not stat.S_ISSOCK(os.stat(path).st_mode):
            return "there is a file, and it is not a socket", "choose a path where nothing is"
        return f"{_holder(bind)} does", "stop it, or choose another path"
    if code in (errno.EACCES, errno.EPERM):
        return reason, "choose a directory that this user may write to"
    if code == errno.ENOENT:
        return "there is no such directory", f"make it first: mkdir -p {os.path.dirname(path)}"
    return reason, "choose another path, which may have 107 bytes at most"  # sun_path in unix(7)


def _holder(bind: Bind) -> str:
    holder = None if bind.where is None else holder_of(bind.where)
    return f"{holder.name} (process {holder.pid})" if holder else "another process"
