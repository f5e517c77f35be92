"""`gruvihttp serve` is told to stop while streams run: it says so, they finish, and none of them fails."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h2.errors
import pytest
import trustme

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = 40.0
APPLICATION = '''
def app(environ, start_response):
    if environ["PATH_INFO"] == "/large":
        start_response("200 OK", [])
        return [b"x" * 100_000]
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [content]
'''


class Served:
    """A running `gruvihttp serve`."""

    def __init__(self, directory: Path, *options: str) -> None:
        (directory / "site_of_streams.py").write_text(APPLICATION)
        command = [sys.executable, "-m", "gruvihttp", "serve", "site_of_streams:app", "--bind", "127.0.0.1:0"]
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}"}
        self.process = subprocess.Popen([*command, *options], env=environment, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        banner = self.process.stderr.readline()
        match = re.search(r"://[^/]+:(\d+)", banner)
        assert match, banner
        self.address = ("127.0.0.1", int(match[1]))

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        self.process.communicate(timeout=GUARD)
        return self.process.returncode

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*options: str) -> Served:
        started.append(Served(tmp_path, *options))
        return started[-1]

    yield start
    for served in started:
        served.close()


@pytest.fixture(params=["prior-knowledge", "tls"])
def connecting(request: Any, serve: Callable[..., Served], tmp_path: Path, talking: Any) -> Any:
    """A server, and a function that connects to it."""
    if request.param == "prior-knowledge":
        served = serve()
        return served, lambda **options: talking(served.address, **options)
    authority = trustme.CA()
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
    served = serve("--tls-cert", str(certificate))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    context.set_alpn_protocols(["h2"])
    return served, lambda **options: talking(served.address, context=context, hostname="localhost", **options)


def test_streams_that_run_when_the_server_is_told_to_stop_finish(connecting: Any) -> None:
    served, connect = connecting
    first, second = connect(), connect(window=0)
    uploads = [first.begin("/", method="POST", end=False) for _ in range(10)]
    for stream in uploads:
        first.data(stream, b"the begin")
    downloads = [second.begin("/large") for _ in range(10)]
    second.hear_until(lambda: len(second.heads) == 10)
    assert first.get("/") == ("200", b"")  # so all that was sent before has come
    served.terminate()
    first.hear_until(lambda: first.goaways)
    second.hear_until(lambda: second.goaways)
    for stream in uploads:
        first.data(stream, b"ning, the end", end=True)
    for stream in downloads:
        second.h2.increment_flow_control_window(100_000, stream)
    second.h2.increment_flow_control_window(1_000_000)
    second.flush()
    assert [first.answer(stream) for stream in uploads] == [("200", b"the beginning, the end")] * 10
    assert [second.answer(stream) for stream in downloads] == [("200", b"x" * 100_000)] * 10
    for talk in (first, second):
        talk.hear_until_the_end()
        assert set(talk.goaways) == {h2.errors.ErrorCodes.NO_ERROR}
        assert talk.resets == {}
    assert served.wait() == 0


def test_request_that_crosses_the_goaway_is_answered(connecting: Any) -> None:
    served, connect = connecting
    talk = connect()
    talk.get("/")
    talk.answers_pings = False  # as if the request had left before GOAWAY came
    served.terminate()
    talk.hear_until(lambda: talk.goaways)
    assert talk.get("/large") == ("200", b"x" * 100_000)
    talk.hear_until_the_end()
    assert served.wait() == 0
