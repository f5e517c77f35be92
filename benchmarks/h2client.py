"""What requests and large bodies cost a client of HTTP/2, on one connection to nghttpd.

    python -m benchmarks.h2client [--mib N] [--rounds N] [--json FILE]

Each sample is taken in a process of its own: `python -m benchmarks.h2client sample NAME TASK PORT UNITS` prints a line
of JSON. A unit of work is a request, or a MiB; what is measured begins when the client is connected and warm. The best
of the rounds is shown, in CPU microseconds for a unit, with what the process took in memory on top of what it had.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import gevent

from benchmarks import accounting, processes
from benchmarks.accounting import own_cpu_seconds
from benchmarks.results import Sample

__all__ = ["TASKS"]

_HOST = "127.0.0.1"
_MIB = 1 << 20
_REQUESTS = 3000
_SECONDS = 120.0

# Each task with its unit, and whether clients without greenlets can do it
TASKS = {
    "one-by-one": "request",
    "hundred-at-once": "request",
    "download": "MiB",
    "upload": "MiB",
    "hundred-uploads": "MiB",
}


class Ours:
    """gruvihttp's, with a window of so many bytes."""

    def __init__(self, port: int, window: int = _MIB) -> None:
        self._client = import_module("gruvihttp").Http2Client(_SECONDS, window=window)
        self._client.connect((_HOST, port), ssl=False)
        self._client.ping()

    def one_by_one(self, units: int) -> None:
        for _ in range(units):
            self._client.request("GET", "/hello").getresponse().read()

    def hundred_at_once(self, units: int) -> None:
        _in_greenlets(lambda: self.one_by_one(units // 100))

    def download(self, units: int) -> None:
        response = self._client.request("GET", "/large").getresponse()
        received = 0
        while piece := response.read1():
            received += len(piece)
        assert received == units * _MIB

    def upload(self, units: int) -> None:
        fields = [("Content-Length", str(units * _MIB))]
        assert self._client.request("POST", "/hello", fields, _pieces(units)).getresponse().read() == b"hello"

    def hundred_uploads(self, units: int) -> None:
        _in_greenlets(lambda: self.upload(max(units // 100, 1)))


class Httpx:
    """httpx's, whose HTTP/2 comes with the h2 package."""

    def __init__(self, port: int) -> None:
        self._client = import_module("httpx").Client(http1=False, http2=True, timeout=_SECONDS)
        self._url = f"http://{_HOST}:{port}"
        self.one_by_one(1)

    def one_by_one(self, units: int) -> None:
        for _ in range(units):
            assert self._client.get(f"{self._url}/hello").content == b"hello"

    def download(self, units: int) -> None:
        with self._client.stream("GET", f"{self._url}/large") as response:
            assert sum(len(piece) for piece in response.iter_raw()) == units * _MIB

    def upload(self, units: int) -> None:
        fields = {"Content-Length": str(units * _MIB)}
        self._client.post(f"{self._url}/hello", content=_pieces(units), headers=fields)


SUBJECTS: dict[str, Callable[[int], Any]] = {
    "gruvihttp": Ours,
    "gruvihttp-64k": lambda port: Ours(port, 65536),
    "httpx": Httpx,
}


def _in_greenlets(work: Callable[[], object]) -> None:
    gevent.joinall([gevent.spawn(work) for _ in range(100)], raise_error=True)


def _pieces(mib: int) -> Iterator[bytes]:
    piece = bytes(65536)
    for _ in range(mib * 16):
        yield piece


def take(name: str, task: str, port: int, units: int) -> Sample:
    """One sample, of this process."""
    client = SUBJECTS[name](port)
    work = getattr(client, task.replace("-", "_"))
    accounting.forget_peak(os.getpid())
    before = accounting.memory_bytes(os.getpid())
    cpu, began = own_cpu_seconds(), time.perf_counter()
    work(units)
    cpu, wall = own_cpu_seconds() - cpu, time.perf_counter() - began
    return Sample(units, cpu, wall, max(accounting.peak_memory_bytes(os.getpid()) - before, 0))


def main() -> int:
    """Return 0 when everything was measured that can be."""
    if sys.argv[1:2] == ["sample"]:
        name, task, port, units = sys.argv[2:]
        print(take(name, task, int(port), int(units)).to_json())
        return 0
    options = _options()
    if shutil.which("nghttpd") is None:
        print("not measured: nghttpd is not installed", file=sys.stderr)
        return 1
    figures = _measure(options.mib, options.rounds)
    for task, unit in TASKS.items():
        for name, sample in figures[task].items():
            text = f"{sample.cpu_us:8.0f} CPU µs/{unit:8}{sample.rate:9.0f} /s {sample.peak_bytes / _MIB:7.1f} MiB"
            print(f"{task:16} {name:14} {text}")
    if options.json:
        raw = {task: {name: json.loads(one.to_json()) for name, one in row.items()} for task, row in figures.items()}
        Path(options.json).write_text(json.dumps(raw), encoding="utf-8")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.h2client", description="clients of HTTP/2")
    parser.add_argument("--mib", type=int, default=100, metavar="N", help="of a transfer; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument("--json", metavar="FILE", help="write all numbers")
    return parser.parse_args()


def _measure(mib: int, rounds: int) -> dict[str, dict[str, Sample]]:
    place = processes.choose_place()
    figures: dict[str, dict[str, Sample]] = {task: {} for task in TASKS}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "hello").write_bytes(b"hello")
        (directory / "large").write_bytes(bytes(mib * _MIB))
        port = processes.free_port()
        options = ["--no-tls", "-n1", "-a", _HOST, "-w", "20", "-W", "20", "-m", "1000", "-d", str(directory)]
        with processes.listening(["nghttpd", *options, str(port)], place.load, port):
            for task, unit in TASKS.items():
                units = mib if unit == "MiB" else _REQUESTS
                for subject in SUBJECTS:
                    if subject != "httpx" or hasattr(Httpx, task.replace("-", "_")):
                        figures[task][subject] = min(
                            (_sample(subject, task, port, units, place.measured) for _ in range(rounds)),
                            key=lambda sample: sample.cpu_seconds,
                        )
    return figures


def _sample(subject: str, task: str, port: int, units: int, core: int | None) -> Sample:
    command = processes.python("benchmarks.h2client", "sample", subject, task, port, units)
    return Sample.from_json(processes.run(command, core, _SECONDS))


if __name__ == "__main__":
    sys.exit(main())
