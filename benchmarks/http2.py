"""HTTP/2: what the engine costs beside h2, and what servers cost when many streams share a connection.

`python -m benchmarks.http2 engine NAME TASK SECONDS` prints one line of JSON; `python -m benchmarks.http2 serve NAME
APPLICATION PORT` serves one of `benchmarks.application` for ever, on one core, in plain text by prior knowledge.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import accounting, processes
from benchmarks.processes import Failed, Place
from benchmarks.results import Sample
from benchmarks.servers import SERVERS, become
from benchmarks.workloads import CONTENT

__all__ = ["ENGINES", "SUBJECTS", "TASKS", "Task", "missing_tool", "sample"]

_HOST = "127.0.0.1"
_BATCH = 50  # streams that come in one piece
_BATCHES = 20  # of one connection: then another, as that of h2 becomes slower with each stream
_LEAST_SECONDS = 0.5  # h2load must have the time to connect
_GRACE_SECONDS = 60.0


@dataclass(frozen=True)
class Task:
    """`tool` is the program that asks; None: it is about an engine alone."""

    name: str
    meaning: str
    tool: str | None


TASKS = {
    task.name: task
    for task in (
        Task("streams-9", "server's engine: GET with 9 browser fields, 14 bytes back", None),
        Task("streams-9-paths", "the same, each with a path of its own", None),
        Task("multiplexed", "h2load: 100 streams at a time on one connection, 14 bytes back", "h2load"),
        Task("upload", "curl: upload of 100 MiB, read in pieces", "curl"),
    )
}

# engines

_FIELDS = [
    (b":method", b"GET"), (b":path", b"/articles/2024/index.html?page=2&order=date"), (b":scheme", b"https"),
    (b":authority", b"example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0"),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    (b"accept-language", b"en-GB,en;q=0.9,de;q=0.8"), (b"accept-encoding", b"gzip, deflate, br"),
    (b"cookie", b"session=8d5f2c9b7a1e4f60; theme=dark; consent=1"),
]  # fmt: skip
_RESPONSE = [
    (b"date", b"Sat, 21 Nov 2026 16:00:00 GMT"), (b"server", b"some"), (b"content-type", b"text/plain"),
    (b"content-length", b"%d" % len(CONTENT)),
]  # fmt: skip

Received = list[bytes]


def _requests(task: str) -> Received:
    """What a client sends on one connection, as hpack encodes it: the beginning, then batches of requests."""
    import hpack  # the measured processes of servers need none

    from gruvihttp.sansio import frames

    encoder = hpack.Encoder()
    wide = frames.window_update(0, (1 << 31) - 65536)
    received = [frames.PREFACE + frames.settings([]) + frames.frame(frames.SETTINGS, frames.ACK, 0) + wide]
    stream = 1
    for _ in range(_BATCHES):
        batch = []
        for _ in range(_BATCH):
            fields = list(_FIELDS)
            if task == "streams-9-paths":
                fields[1] = (b":path", b"/articles/%d/index.html" % stream)
            block = encoder.encode(fields)
            batch.append(frames.frame(frames.HEADERS, frames.END_HEADERS | frames.END_STREAM, stream, block))
            stream += 2
        received.append(b"".join(batch))
    return received


def _ours(received: Received) -> None:
    from gruvihttp.sansio import SERVER, Request, Response
    from gruvihttp.sansio.http2 import H2Engine

    engine = H2Engine(SERVER)
    for data in received:
        for stream, event in engine.receive(data):
            if isinstance(event, Request):
                engine.send_head(stream, Response(status_code=200, headers=_RESPONSE))
                engine.offer(stream, CONTENT, end=True)
                engine.release(stream)
        while engine.has_output:
            b"".join(engine.produce(65536))


def _theirs(received: Received) -> None:
    import h2.config
    import h2.connection
    import h2.events

    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding=None))
    connection.initiate_connection()
    for data in received:
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                assert event.stream_id is not None
                connection.send_headers(event.stream_id, [(b":status", b"200"), *_RESPONSE])
                connection.send_data(event.stream_id, CONTENT, end_stream=True)
        connection.data_to_send()


ENGINES: dict[str, tuple[str, Callable[[Received], None]]] = {
    "gruvihttp": ("gruvihttp.sansio.http2", _ours),
    "h2": ("h2.connection", _theirs),
}


def _measure(name: str, task: str, seconds: float) -> Sample:
    received, (_, run) = _requests(task), ENGINES[name]
    run(received)
    end, cpu, count = time.monotonic() + seconds, 0.0, 0
    while not count or time.monotonic() < end:
        begin = time.process_time()
        run(received)
        cpu += time.process_time() - begin
        count += _BATCH * _BATCHES
    return Sample(count, cpu, cpu)


# servers


def _gunicorn(name: str, port: int) -> None:
    become(
        "gunicorn", "--worker-class", "gevent", "--workers", "1", "--bind", f"{_HOST}:{port}", "--log-level", "error",
        "--http-protocols", "h2,h1", "--http2-cleartext", "prior-knowledge", f"benchmarks.application:{name}",
    )  # fmt: skip


def _hypercorn(name: str, port: int) -> None:
    # by default it ends a connection after 1000 requests, and takes 16 MiB
    with tempfile.NamedTemporaryFile("w", suffix=".toml", prefix="benchmark-", delete=False) as file:
        file.write("keep_alive_max_requests = 100000000\nwsgi_max_body_size = 1073741824\nworkers = 1\n")
    become("hypercorn", "-c", file.name, "-b", f"{_HOST}:{port}", f"wsgi:benchmarks.application:{name}")


def _granian(name: str, port: int) -> None:
    become(
        "granian", "--interface", "wsgi", "--http", "2", "--workers", "1", "--runtime-threads", "1",
        "--blocking-threads", "1", "--host", _HOST, "--port", str(port), "--log-level", "error",
        f"benchmarks.application:{name}",
    )  # fmt: skip


_SERVERS: dict[str, tuple[str, Callable[[str, int], None]]] = {
    "gruvihttp": ("gruvihttp:HttpServer", SERVERS["gruvihttp"].serve),
    "gunicorn": ("gunicorn.http2", _gunicorn),
    "hypercorn": ("hypercorn", _hypercorn),
    "granian": ("granian", _granian),
}

SUBJECTS = tuple(dict.fromkeys([*ENGINES, *_SERVERS]))


def needs(task: str) -> dict[str, str]:
    """Subject -> what has to be importable for it."""
    return {name: need for name, (need, _) in (_SERVERS if TASKS[task].tool else ENGINES).items()}


def missing_tool(task: str) -> str | None:
    """The program that the task needs, if it is not installed."""
    tool = TASKS[task].tool
    return tool if tool is not None and shutil.which(tool) is None else None


def sample(name: str, task: str, seconds: float, path: str, place: Place) -> Sample:
    """One sample. An upload takes as long as the file at `path` does, and is counted in MiB."""
    if TASKS[task].tool is None:
        command = processes.python("benchmarks.http2", "engine", name, task, seconds)
        return Sample.from_json(processes.run(command, place.measured, timeout=seconds + _GRACE_SECONDS))
    port = processes.free_port()
    command = processes.python("benchmarks.http2", "serve", name, "hello" if task == "multiplexed" else "count", port)
    with processes.listening(command, place.measured, port) as pid:
        ask: Callable[[], tuple[int, float]]
        if task == "multiplexed":
            _load(port, ["-n", "200"], place)  # some listen before they can answer
            seconds = max(seconds, _LEAST_SECONDS)
            ask = lambda: (_load(port, ["-D", f"{round(seconds * 1000)}ms"], place), seconds)  # noqa: E731
        else:
            ask = lambda: _upload(port, path, place)  # noqa: E731
        before = accounting.cpu_seconds(pid)
        count, wall_seconds = ask()
        return Sample(count, accounting.cpu_seconds(pid) - before, wall_seconds)


def _load(port: int, how_many: list[str], place: Place) -> int:
    """Requests that succeeded. Raises Failed if one did not."""
    command = ["h2load", "-c1", "-m100", "-t1", *how_many, f"http://{_HOST}:{port}/"]
    said = processes.run(command, place.load, timeout=_GRACE_SECONDS)
    match = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", said)
    if match is None or match[1] == "0" or (match[2], match[3], match[4]) != ("0", "0", "0"):
        raise Failed(f"h2load counted {'nothing' if match is None else match[0]}")
    return int(match[1])


def _upload(port: int, path: str, place: Place) -> tuple[int, float]:
    """MiB that have arrived, and seconds. Raises Failed if it were not all."""
    size = Path(path).stat().st_size
    command = ["curl", "-sSf", "--http2-prior-knowledge", "-T", path, "-w", " %{time_total}", f"http://{_HOST}:{port}/"]
    said = processes.run(command, place.load, timeout=_GRACE_SECONDS)
    arrived, _, seconds = said.partition(" ")
    if arrived != str(size):
        raise Failed(f"{arrived or 'nothing'} of {size} bytes arrived")
    return size >> 20, float(seconds)


def main(arguments: list[str]) -> None:
    """Do what this process was started for."""
    what, name, *rest = arguments
    if what == "engine":
        print(_measure(name, rest[0], float(rest[1])).to_json())
    else:
        _SERVERS[name][1](rest[0], int(rest[1]))


if __name__ == "__main__":
    main(sys.argv[1:])
