"""``gruvihttp serve --reload``: files that change, code that cannot begin, and what goes on meanwhile."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

GUARD = 40.0

APP = """
import importlib
import inner

def app(environ, start_response):
    start_response("200 OK", [])
    if environ["PATH_INFO"] == "/late":
        importlib.import_module("late")
    return [inner.NAME, b"."]
"""


@pytest.fixture
def files(tmp_path: Path) -> Callable[[str, str], None]:
    """Writes a file with a time of its own, however fast that is."""
    moment = 1_000_000_000

    def write(name: str, text: str) -> None:
        nonlocal moment
        moment += 10
        path = tmp_path / name
        path.with_suffix(".new").write_text(text)
        os.utime(path.with_suffix(".new"), (moment, moment))
        path.with_suffix(".new").rename(path)

    write("hello.py", APP)
    write("inner.py", "NAME = b'one'")
    return write


@pytest.fixture
def start(process: Any, files: Any) -> Callable[..., Any]:
    def start(*options: str) -> Any:
        return process("-m", "gruvihttp", "serve", "hello:app", "--reload", "--bind", "127.0.0.1:0", *options)

    return start


def served(started: Any) -> Any:
    match = started.wait_for(r"serving hello:app at http://127\.0\.0\.1:(\d+) with (?:1 worker|2 workers) ")
    started.address = ("127.0.0.1", int(match[1]))
    return started


def get(started: Any, path: str = "/") -> bytes:
    sock = socket.create_connection(started.address, timeout=GUARD)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    return b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["one", "two"])
def test_changed_file_is_served_without_a_refused_connection(start: Any, files: Any, load: Any, workers: Any) -> None:
    started = served(start(*workers))
    assert get(started) == b"one."
    files("inner.py", "NAME = b'two'")
    started.wait_for("inner.py has changed")
    with gevent.Timeout(GUARD):
        while (answer := get(started)) != b"two.":  # nothing is refused, and nothing else is answered
            assert answer == b"one."
    started.wait_for("all workers have been replaced")
    assert started.end(signal.SIGTERM) == 0


def test_code_that_cannot_be_loaded_is_reported_and_the_old_goes_on(start: Any, files: Any) -> None:
    started = served(start())
    files("inner.py", "NAME = (")
    started.wait_for(r"cannot import hello: SyntaxError: '\(' was never closed \(inner\.py, line 1\)")
    started.wait_for("a new worker could not begin, so the old ones stay")
    assert get(started) == b"one."
    files("inner.py", "NAME = b'two'")
    started.wait_for("all workers have been replaced")
    assert get(started) == b"two."


def test_code_that_cannot_be_loaded_at_first_is_tried_again_when_it_changes(start: Any, files: Any) -> None:
    files("inner.py", "1 / 0")
    started = start()
    started.wait_for(r"cannot import hello: ZeroDivisionError.* \(inner\.py, line 1\)")
    started.wait_for("waits for a change")
    files("inner.py", "NAME = b'repaired'")
    assert get(served(started)) == b"repaired."


def test_module_that_is_missing_at_first_is_found_when_it_is_there(start: Any, files: Any, tmp_path: Path) -> None:
    (tmp_path / "inner.py").unlink()
    started = start()
    started.wait_for("hello needs the module 'inner'")
    started.wait_for("waits for a change")
    files("inner.py", "NAME = b'there'")
    assert get(served(started)) == b"there."


def test_module_that_is_imported_by_a_request_is_looked_at_too(start: Any, files: Any) -> None:
    started = served(start())
    files("late.py", "")
    assert get(started, "/late") == b"one."
    with gevent.Timeout(GUARD):
        while "late.py has changed" not in started.said:
            files("late.py", "")
            gevent.sleep(0.1)


def test_it_can_be_stopped_while_it_waits_for_a_change(start: Any, files: Any) -> None:
    files("inner.py", "1 / 0")
    started = start()
    started.wait_for("waits for a change")
    assert started.end(signal.SIGTERM) == 0
    assert len(re.findall("cannot import", started.said)) == 1
