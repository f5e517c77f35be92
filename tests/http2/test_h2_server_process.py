"""`gruvihttp serve` over HTTP/2: streams finish when it is told to stop, and large ones cost no memory."""

from __future__ import annotations

import os
import re
import shutil
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
    if environ["PATH_INFO"] == "/down":
        start_response("200 OK", [])
        return (bytes(65536) for _ in range(1024))
    if environ["PATH_INFO"] == "/up":
        read, size = environ["wsgi.input"].read, 0
        while piece := read(65536):
            size += len(piece)
        start_response("200 OK", [])
        return [b"%d" % size]
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

    def peak_bytes(self) -> int:
        """The most memory that it has had so far."""
        facts = Path(f"/proc/{self.process.pid}/status").read_text()
        match = re.search(r"VmHWM:\s+(\d+) kB", facts)
        assert match
        return int(match[1]) << 10

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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("window", ["64k", "1m"])
def test_large_streams_cost_no_memory(serve: Callable[..., Served], tmp_path: Path, window: str) -> None:
    windows = (f"--http2-{name}-bytes={window}" for name in ("window", "widest-window", "connection-window"))
    served = serve(*windows)
    url = f"http://127.0.0.1:{served.address[1]}"
    file = tmp_path / "large"
    with file.open("wb") as large:
        large.truncate(64 << 20)

    def curl(*options: str) -> bytes:
        command = ["curl", "-sSf", "--http2-prior-knowledge", *options]
        return subprocess.run(command, capture_output=True, timeout=GUARD, check=True).stdout

    assert curl(url, "--data-binary", "warm") == b"warm"
    before = served.peak_bytes()
    assert curl("-T", str(file), f"{url}/up") == b"%d" % (64 << 20)
    assert curl("-o", os.devnull, "-w", "%{size_download}", f"{url}/down") == b"%d" % (64 << 20)
    assert served.peak_bytes() - before < 8 << 20


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_uploads_that_nobody_reads_cost_their_windows(serve: Callable[..., Served], talking: Any) -> None:
    """A hundred streams, of which each may send no more than its window before anything of it is read."""
    served = serve("--http2-window-bytes=64k", "--http2-widest-window-bytes=64k")
    talk = talking(served.address)
    talk.get("/")
    before = served.peak_bytes()
    left = {talk.begin("/down", method="POST", end=False): 65536 for _ in range(100)}  # it does not read
    talk.credits = False
    while any(left.values()):
        sent = 0
        for stream in left:
            room = min(talk.h2.local_flow_control_window(stream), 16384, left[stream])
            if room > 0:
                talk.data(stream, bytes(room))
                left[stream] -= room
                sent += room
        if not sent:
            talk.hear()
    talk.hear_until(lambda: len(talk.heads) == 101)
    # 6.4 MB each way, and what Python makes of it
    assert served.peak_bytes() - before < 40 << 20
