"""Paste Deploy finds the server by its entry points, and an ini file says how to serve."""

from __future__ import annotations

import configparser
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from gruvihttp.compat.paste import _values

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = 40.0

INI = """
[app:main]
paste.app_factory = shop:make
greeting = hello

[server:main]
use = egg:gruvihttp
{options}
"""
SHOP = """
def make(global_config, greeting):
    def app(environ, start_response):
        start_response("200 OK", [])
        return [greeting.encode()]
    return app
"""
MAIN = """
from gevent import monkey
monkey.patch_all()
import os
from paste.deploy import loadapp, loadserver

where = f"config:{os.getcwd()}/shop.ini"
loadserver(where)(loadapp(where))
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a program that serves as an ini file says; the entry points are those that setup.cfg declares."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    metadata = tmp_path / "site" / "gruvihttp-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: gruvihttp\nVersion: 0\n")
    groups = (f"[{group}]\n{names.strip()}\n" for group, names in setup["options.entry_points"].items())
    (metadata / "entry_points.txt").write_text("\n".join(groups))
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "main.py").write_text(MAIN)
    started = []

    def start(*options: str) -> Any:
        (tmp_path / "shop.ini").write_text(INI.format(options="\n".join(options)))
        environment = {**os.environ, "PYTHONPATH": f"{metadata.parent}:{ROOT}"}
        started.append(
            subprocess.Popen(
                [sys.executable, "main.py"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
            )
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=GUARD)


def banner(process: Any) -> re.Match[str]:
    line = process.stderr.readline()
    match = re.fullmatch(r"gruvihttp serving the application at http://127\.0\.0\.1:(\d+)(.*) \(Ctrl-C stops\)\n", line)
    assert match, line + process.stderr.read()
    return match


@pytest.mark.parametrize(
    ("options", "how"), [(["listen = 127.0.0.1:0"], ""), (["port = 0", "workers = 2"], " with 2 workers")],
    ids=["alone", "workers"],
)  # fmt: skip
def test_application_of_an_ini_file_is_served(start: Any, options: list[str], how: str) -> None:
    process = start(*options, "timeout_idle = 5m", "access-log = {status}")
    match = banner(process)
    assert match[2] == how
    connection = HTTPConnection("127.0.0.1", int(match[1]), timeout=GUARD)
    connection.request("GET", "/")
    assert connection.getresponse().read() == b"hello"
    connection.close()
    assert process.stderr.readline() == "200\n"
    process.send_signal(signal.SIGTERM)
    assert process.wait(GUARD) == 0


def test_standard_library_that_is_not_patched_is_mentioned(start: Any, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(MAIN.replace("monkey.patch_all()", ""))
    process = start("port = 0")
    assert process.stderr.readline().startswith("gruvihttp: gevent has not patched the standard library: begin ")
    banner(process)


MISTAKES = {
    "unknown": ("wrokers = 2", 2, "the server section: there is no option 'wrokers'"),
    "value": ("timeout_idle = soon", 2, "Invalid value for '--timeout-idle': 'soon' is not a number of seconds"),
    "address": ("listen = nowhere", 2, "cannot listen on 'nowhere': it has no port"),
    "bind": ("listen = 192.0.2.1:80", 4, "cannot listen on 192.0.2.1:80: this machine has no such address"),
}


@pytest.mark.parametrize(("option", "code", "said"), MISTAKES.values(), ids=MISTAKES)
def test_mistake_in_an_ini_file_is_one_line(start: Any, option: str, code: int, said: str) -> None:
    process = start(option)
    _, text = process.communicate(timeout=GUARD)
    assert text.startswith(f"gruvihttp: {said}")
    assert "Traceback" not in text
    assert process.returncode == code


NAMES = {
    "listen": ({"listen": "*:80 [::1]:80"}, {"bind": ["*:80", "[::1]:80"]}),
    "host-and-port": ({"host": "0.0.0.0", "port": "6543"}, {"bind": ["0.0.0.0:6543"]}),
    "host-of-version-6": ({"host": "::1"}, {"bind": ["[::1]:8000"]}),
    "port": ({"port": "6543"}, {"bind": ["127.0.0.1:6543"]}),
    "several": ({"trusted-proxy": "10.0.0.0/8 unix"}, {"trusted-proxy": ["10.0.0.0/8", "unix"]}),
    "one": ({"access_log": "{client} {status}"}, {"access_log": "{client} {status}"}),
}


@pytest.mark.parametrize(("given", "meant"), NAMES.values(), ids=NAMES)
def test_options_of_other_servers_are_understood(given: dict[str, str], meant: dict[str, Any]) -> None:
    assert _values(given) == meant
