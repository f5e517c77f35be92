"""Measures all that was chosen: workload by workload, in rounds, each subject in turn within a round."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks import http2, measuring, nginx, peers, processes
from benchmarks.clients import CLIENTS, PATTERNS
from benchmarks.engine import ENGINES, TASKS
from benchmarks.processes import Failed, Place
from benchmarks.report import FLOORS, OURS
from benchmarks.results import Record, Results, Sample
from benchmarks.servers import SERVERS
from benchmarks.transfers import MOVERS, TRANSFERS
from benchmarks.workloads import WORKLOADS

__all__ = ["GROUPS", "MEANINGS", "SUBJECTS", "Plan", "run"]

GROUPS = ("servers", "clients", "engine", "transfers", "http2")
_TABLES = (WORKLOADS, PATTERNS, TASKS, TRANSFERS, http2.TASKS)
MEANINGS = {item.name: item.meaning for table in _TABLES for item in table.values()}
SUBJECTS = tuple(dict.fromkeys([*SERVERS, *CLIENTS, *ENGINES, *MOVERS, *http2.SUBJECTS]))

_ALWAYS = (*FLOORS, OURS)

_UPLOADED_MIB = 100  # over HTTP/2

Sampler = Callable[[str, str], Sample]  # (subject, workload) -> sample


@dataclass(frozen=True)
class Plan:
    """What to measure, and how long; `subjects` and `workloads` are None for all."""

    groups: tuple[str, ...]
    subjects: frozenset[str] | None
    workloads: frozenset[str] | None
    rounds: int
    seconds: float
    size_mib: int
    place: Place
    use_wrk: bool
    use_nginx: bool

    def has_subject(self, name: str) -> bool:
        return self.subjects is None or name in self.subjects or name in _ALWAYS

    def has_workload(self, name: str) -> bool:
        return self.workloads is None or name in self.workloads


def run(plan: Plan, results: Results) -> None:
    """Add records to `results` as they are taken, so that what there is survives an interruption."""
    act = {"servers": _servers, "clients": _clients, "engine": _engine, "transfers": _transfers, "http2": _http2}
    for group in plan.groups:
        act[group](plan, results)


def _servers(plan: Plan, results: Results) -> None:
    def sample(name: str, workload: str) -> Sample:
        return measuring.sample_server(name, workload, plan.seconds, plan.place, plan.use_wrk)

    present = _present(plan, results, "server", {name: server.needs for name, server in SERVERS.items()})
    for workload in filter(plan.has_workload, WORKLOADS):
        _measure(plan, results, "servers", workload, present, sample)


def _clients(plan: Plan, results: Results) -> None:
    present = _present(plan, results, "client", {name: client.needs for name, client in CLIENTS.items()})
    with _target(plan) as port:

        def sample(name: str, workload: str) -> Sample:
            return measuring.sample_client(name, workload, port, plan.seconds, plan.place)

        for pattern in filter(plan.has_workload, PATTERNS):
            able = [name for name in present if CLIENTS[name].greatest_depth >= PATTERNS[pattern].depth]
            _measure(plan, results, "clients", pattern, able, sample)


@contextmanager
def _target(plan: Plan) -> Iterator[int]:
    """The server that clients are tried on: nginx, or else the floor; gives its port."""
    if plan.use_nginx:
        with nginx.serving(plan.place.load) as port:
            yield port
    else:
        port = processes.free_port()
        command = processes.python("benchmarks.servers", FLOORS[0], "hello", port)
        with processes.listening(command, plan.place.load, port):
            yield port


def _engine(plan: Plan, results: Results) -> None:
    def sample(name: str, task: str) -> Sample:
        return measuring.sample_engine(name, task, plan.seconds, plan.place)

    present = _present(plan, results, "engine", {name: engine.needs for name, engine in ENGINES.items()})
    for task in filter(plan.has_workload, TASKS):
        able = [name for name in present if ENGINES[name].can_write or not TASKS[task].is_exchange]
        _measure(plan, results, "engine", task, able, sample)


def _transfers(plan: Plan, results: Results) -> None:
    present = _present(plan, results, "client", {name: mover.needs for name, mover in MOVERS.items()})
    port = processes.free_port()
    with _sparse_file(plan.size_mib) as path:

        def sample(name: str, transfer: str) -> Sample:
            with processes.listening(processes.python("benchmarks.bulk", port), plan.place.load, port):
                return measuring.sample_transfer(name, transfer, port, plan.size_mib, path, plan.place)

        for transfer in filter(plan.has_workload, TRANSFERS):
            _measure(plan, results, "transfers", transfer, present, sample)


def _http2(plan: Plan, results: Results) -> None:
    with _sparse_file(_UPLOADED_MIB) as path:

        def sample(name: str, task: str) -> Sample:
            return http2.sample(name, task, plan.seconds, path, plan.place)

        for task in filter(plan.has_workload, http2.TASKS):
            if tool := http2.missing_tool(task):
                results.absent.append(f"http2 / {task} is not measured: {tool} is not installed")
                continue
            present = _present(plan, results, "server" if http2.TASKS[task].tool else "engine", http2.needs(task))
            _measure(plan, results, "http2", task, present, sample)


@contextmanager
def _sparse_file(mib: int) -> Iterator[str]:
    """A large file that takes no room on the disk."""
    with tempfile.NamedTemporaryFile(prefix="benchmark-") as file:
        file.truncate(mib << 20)
        yield file.name


def _present(plan: Plan, results: Results, kind: str, needs: dict[str, str]) -> list[str]:
    """The chosen subjects that can be imported; the others leave a line in the results."""
    chosen = {name: need for name, need in needs.items() if plan.has_subject(name)}
    missing = peers.missing(chosen.values())
    for name, need in chosen.items():
        if need in missing:
            results.absent.append(f"{kind} {name} is not measured: {missing[need]}")
    return [name for name, need in chosen.items() if need not in missing]


def _measure(plan: Plan, results: Results, group: str, workload: str, subjects: list[str], sample: Sampler) -> None:
    remaining = list(subjects)
    for number in range(1, plan.rounds + 1):
        for name in tuple(remaining):
            try:
                taken = sample(name, workload)
            except Failed as exc:
                results.failures.append(f"{group} / {workload}: {name} failed: {exc}")
                remaining.remove(name)  # it would fail again, and slowly
                continue
            results.records.append(Record(group, workload, name, number, taken))
            _tell(f"{group} / {workload}, round {number} of {plan.rounds}, {name}: {taken.cpu_us:.2f} µs")


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
