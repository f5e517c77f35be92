"""How each server is started, as its users would start it for one process on one core, without an access log.

`python -m benchmarks.servers NAME WORKLOAD PORT` serves for ever on 127.0.0.1.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from benchmarks import application, floor
from benchmarks.workloads import WORKLOADS

__all__ = ["SERVERS", "Server", "become"]

_HOST = "127.0.0.1"


@dataclass(frozen=True)
class Server:
    """`needs` is `module` or `module:attribute`, to be importable; `serve(workload name, port)` never returns."""

    name: str
    needs: str
    serve: Callable[[str, int], None]


def _floor(workload: str, port: int) -> None:
    floor.serve_on_watchers((_HOST, port), floor.answer_with(WORKLOADS[workload].content))


def _floor_sockets(workload: str, port: int) -> None:
    floor.serve_on_sockets((_HOST, port), floor.answer_with(WORKLOADS[workload].content))


def _gruvihttp(workload: str, port: int) -> None:
    server = import_module("gruvihttp").HttpServer(_application(workload))
    server.listen((_HOST, port))
    server.serve_forever()


def _pywsgi(workload: str, port: int) -> None:
    import_module("gevent.pywsgi").WSGIServer((_HOST, port), _application(workload), log=None).serve_forever()


def _gunicorn(workload: str, port: int) -> None:
    become(
        "gunicorn", "--worker-class", "gevent", "--workers", "1", "--bind", f"{_HOST}:{port}",
        "--log-level", "error", f"benchmarks.application:{workload}",
    )  # fmt: skip


def _waitress(workload: str, port: int) -> None:
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # else it logs that 50 connections are many
    import_module("waitress").serve(_application(workload), host=_HOST, port=port)


def _bjoern(workload: str, port: int) -> None:
    import_module("bjoern").run(_application(workload), _HOST, port)


def _granian(workload: str, port: int) -> None:
    become(
        "granian", "--interface", "wsgi", "--http", "1", "--workers", "1", "--runtime-threads", "1",
        "--blocking-threads", "1", "--host", _HOST, "--port", str(port), "--log-level", "error",
        f"benchmarks.application:{workload}",
    )  # fmt: skip


def _application(workload: str) -> application.Application:
    found: application.Application = getattr(application, workload)
    return found


def become(module: str, *arguments: str) -> None:
    """Replace this process with another program's, so that the measured process keeps its id."""
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


SERVERS = {
    server.name: server
    for server in (
        Server("floor", "gevent", _floor),
        Server("floor-sockets", "gevent", _floor_sockets),
        Server("gruvihttp", "gruvihttp:HttpServer", _gruvihttp),
        Server("bjoern", "bjoern", _bjoern),
        Server("granian", "granian", _granian),
        Server("waitress", "waitress", _waitress),
        Server("pywsgi", "gevent.pywsgi", _pywsgi),
        Server("gunicorn", "gunicorn.workers.ggevent", _gunicorn),
    )
}


if __name__ == "__main__":
    SERVERS[sys.argv[1]].serve(sys.argv[2], int(sys.argv[3]))
