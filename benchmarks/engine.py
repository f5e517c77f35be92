"""What the parsers cost without any I/O: an engine is fed one request after the other, in this process.

`python -m benchmarks.engine NAME TASK SECONDS` prints one line of JSON.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from benchmarks.results import Sample
from benchmarks.workloads import BROWSER_HEAD, CONTENT, SMALL_HEAD

__all__ = ["ENGINES", "TASKS", "Engine", "Task"]

_BATCH = 200  # requests between two looks at the clock
_WARMING_BATCHES = 10

Batch = Callable[[], float]  # treats _BATCH requests and returns the CPU seconds that count


@dataclass(frozen=True)
class Task:
    """A head that is parsed; with `is_exchange`, a response is written too, on one connection for all requests."""

    name: str
    meaning: str
    head: bytes
    is_exchange: bool = False


TASKS = {
    task.name: task
    for task in (
        Task("parse-1", "head of 1 field to EndOfMessage", SMALL_HEAD),
        Task("parse-12", "head of 12 browser fields to EndOfMessage", BROWSER_HEAD),
        Task("exchange-1", "1 field, response of 14 bytes, next cycle", SMALL_HEAD, is_exchange=True),
        Task("exchange-12", "12 fields, response of 14 bytes, next cycle", BROWSER_HEAD, is_exchange=True),
    )
}


@dataclass(frozen=True)
class Engine:
    """`prepare(module, task)` makes the batch; the module is what `needs` names, before any colon."""

    name: str
    needs: str
    prepare: Callable[[ModuleType, Task], Batch]
    can_write: bool = True


def _event_batch(h11: ModuleType, task: Task) -> Batch:
    """For h11, and for whatever has its API."""
    return _exchange_batch(h11, task.head) if task.is_exchange else _parse_batch(h11, task.head)


def _parse_batch(h11: ModuleType, head: bytes) -> Batch:
    end_of_message = h11.EndOfMessage

    def batch() -> float:
        # Without a response there is no next cycle: each request has a new connection, made before the clock runs.
        connections = [h11.Connection(h11.SERVER) for _ in range(_BATCH)]
        start = time.process_time()
        for connection in connections:
            connection.receive_data(head)
            while type(connection.next_event()) is not end_of_message:
                pass
        return time.process_time() - start

    return batch


def _exchange_batch(h11: ModuleType, head: bytes) -> Batch:
    connection = h11.Connection(h11.SERVER)
    headers = [(b"Content-Type", b"text/plain"), (b"Content-Length", b"%d" % len(CONTENT))]
    end_of_message, response, content = h11.EndOfMessage, h11.Response, h11.Data

    def batch() -> float:
        start = time.process_time()
        for _ in range(_BATCH):
            connection.receive_data(head)
            while type(connection.next_event()) is not end_of_message:
                pass
            connection.send(response(status_code=200, headers=headers))
            connection.send(content(data=CONTENT))
            connection.send(end_of_message())
            connection.start_next_cycle()
        return time.process_time() - start

    return batch


def _reader_batch(wire: ModuleType, task: Task) -> Batch:
    """What our server drives: events as above, from the reading half alone, which reads all of a connection."""
    reader = wire.RequestReader()
    head, need_data = task.head, wire.NEED_DATA

    def batch() -> float:
        start = time.process_time()
        for _ in range(_BATCH):
            reader.receive_data(head)
            if reader.next_event() is need_data:
                raise AssertionError("the head is whole")
            reader.next_event()
        return time.process_time() - start

    return batch


class _Collector:
    """The callbacks that httptools needs for what the others put into their events."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.is_complete = False

    def on_message_begin(self) -> None:
        self.target, self.headers, self.is_complete = b"", [], False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_message_complete(self) -> None:
        self.is_complete = True


def _httptools_batch(httptools: ModuleType, task: Task) -> Batch:
    collector = _Collector()
    parser: Any = httptools.HttpRequestParser(collector)  # one parser reads all requests of a connection
    head = task.head

    def batch() -> float:
        start = time.process_time()
        for _ in range(_BATCH):
            parser.feed_data(head)
            parser.get_method()
            parser.get_http_version()
        return time.process_time() - start

    return batch


ENGINES = {
    engine.name: engine
    for engine in (
        Engine("gruvihttp", "gruvihttp.sansio:Connection", _event_batch),
        Engine("gruvihttp-reader", "gruvihttp.sansio.wire:RequestReader", _reader_batch, can_write=False),
        Engine("h11", "h11:Connection", _event_batch),
        Engine("httptools", "httptools:HttpRequestParser", _httptools_batch, can_write=False),
    )
}


def measure(engine: Engine, task: Task, seconds: float) -> Sample:
    """Run batches until `seconds` are over; time for preparing a batch is not in the CPU seconds."""
    batch = engine.prepare(import_module(engine.needs.partition(":")[0]), task)
    for _ in range(_WARMING_BATCHES):
        batch()
    start = time.monotonic()
    cpu_seconds, count = 0.0, 0
    while not count or time.monotonic() < start + seconds:
        cpu_seconds += batch()
        count += _BATCH
    return Sample(count, cpu_seconds, cpu_seconds)  # in process there is no waiting: both clocks are one


if __name__ == "__main__":
    print(measure(ENGINES[sys.argv[1]], TASKS[sys.argv[2]], float(sys.argv[3])).to_json())
