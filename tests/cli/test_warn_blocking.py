"""``--warn-blocking``: the function that keeps the loop from running is named."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Serve: TypeAlias = Callable[..., Any]

GUARD = 40.0
ROOT = Path(__file__).resolve().parent.parent.parent
# each blocks until the client lets it go, so nothing depends on how fast this machine is
SHOP = """
import os
import gevent

class Shop:
    def checkout(self):
        read = os.read
        read(reading, 1)

reading = os.open("gate", os.O_RDWR)
paths = {"/checkout": Shop().checkout, "/wait": lambda: gevent.sleep(0.5)}

def app(environ, start_response):
    paths[environ["PATH_INFO"]]()
    start_response("200 OK", [])
    return [b"done"]
"""


def ask(port: int, path: str) -> HTTPConnection:
    connection = HTTPConnection("127.0.0.1", port, timeout=GUARD)
    connection.request("GET", path)
    return connection


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "gate")
    return tmp_path / "gate"


@pytest.mark.parametrize("options", [[], ["--no-patch"]], ids=["patched", "unpatched"])
def test_function_that_blocks_is_named(serve: Serve, gate: Path, options: list[str]) -> None:
    served = serve("shop:app", "--warn-blocking", "100ms", *options, files={"shop.py": SHOP})
    first = ask(served.port, "/checkout")
    line = served.read_line()
    gate.write_text("x")
    assert first.getresponse().read() == b"done"
    assert re.fullmatch(
        r"gruvihttp: the loop has been blocked for 0\.\d+ s by Shop\.checkout \(shop\.py, line 8\); "
        r"nobody is served meanwhile\n",
        line,
    )
    assert served.end() == (0, "")


def test_what_waits_as_gevent_does_is_not_named(serve: Serve, gate: Path) -> None:
    served = serve("shop:app", "--warn-blocking", "100ms", files={"shop.py": SHOP})
    assert ask(served.port, "/wait").getresponse().read() == b"done"
    assert served.end() == (0, "")


# runs until it has been reported: what it reads is the report
LIBRARY = """
import os, subprocess, sys
import gevent
from gruvihttp.commands.blocking import BlockingWatch

reading, writing = os.pipe()
watch = BlockingWatch(0.05, lambda text: os.write(writing, text.encode() + b"\\n"))
watch.start()
gevent.sleep(0)

def convert():
    cat = [sys.executable, "-c", "print(input())"]
    return subprocess.run(cat, stdin=reading, stdout=subprocess.PIPE, text=True).stdout

print(convert())
watch.stop()
"""


def test_place_is_the_author_s_also_where_a_library_blocks(tmp_path: Path) -> None:
    (tmp_path / "author.py").write_text(LIBRARY)
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "author.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=GUARD
    )
    assert done.stderr == ""
    place = r"by convert \(author\.py, line 13\), in \S+ \(\S*(subprocess|selectors)\.py, line \d+\)"
    assert re.search(place, done.stdout)


AGAIN = """
import time, gevent
from gruvihttp.commands.blocking import BlockingWatch

def first(): time.sleep(0.2)
def second(): time.sleep(0.2)

BlockingWatch(0.05, lambda text: print(text, flush=True)).start()
for block in (first, second, first, first):
    gevent.sleep(0.01)
    block()
"""


def test_place_that_blocks_again_and_again_is_named_once_for_a_while(tmp_path: Path) -> None:
    command = [sys.executable, "-c", AGAIN]
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=GUARD)
    assert re.findall(r"by (\w+) \(", done.stdout) == ["first", "second"]
