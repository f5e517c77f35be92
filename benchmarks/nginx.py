"""Runs nginx with a configuration of its own, in a temporary directory, as the server that clients are tried on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import processes
from benchmarks.workloads import CONTENT

__all__ = ["is_installed", "serving"]

# No master process: then the id that we started is the id that we end, and the pinned one.
_CONFIGURATION = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        default_type text/plain;
        location / {{ {location} }}
    }}
}}
"""


def is_installed() -> bool:
    return _program() is not None


@contextmanager
def serving(core: int | None, location: str | None = None) -> Iterator[int]:
    """Run nginx for the length of the block; gives the port on which it answers every request with CONTENT.

    `location` has it do something else instead, in the words of its configuration.
    """
    program = _program()
    if program is None:
        raise processes.Failed("nginx is not installed")
    port = processes.free_port()
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        configuration = Path(directory, "nginx.conf")
        if location is None:
            content = CONTENT.decode().replace("\n", "\\n")
            location = f'return 200 "{content}";'
        configuration.write_text(_CONFIGURATION.format(directory=directory, port=port, location=location))
        command = [program, "-p", directory, "-e", "stderr", "-c", str(configuration)]
        with processes.listening(command, core, port):
            yield port


def _program() -> str | None:
    return shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))
