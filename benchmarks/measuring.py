"""Takes one sample of one subject: starts what is needed, loads it, reads the accounts, ends it.

Everything measured runs in its own process on the measured core; everything else on the other one.
"""

from __future__ import annotations

from benchmarks import accounting, load, processes, wrk
from benchmarks.processes import Failed, Place
from benchmarks.results import Sample
from benchmarks.workloads import WORKLOADS, Workload

__all__ = ["sample_client", "sample_engine", "sample_server", "sample_transfer"]

_CONNECTIONS = 50
_WARMING_SECONDS = 0.3
_GRACE_SECONDS = 60.0  # for starting, connecting, and for clients that finish what they have begun


def sample_server(name: str, workload_name: str, seconds: float, place: Place, use_wrk: bool) -> Sample:
    """Return what the answers cost the server's whole process tree; raises Failed when it answers wrongly."""
    workload, port = WORKLOADS[workload_name], processes.free_port()
    command = processes.python("benchmarks.servers", name, workload_name, port)
    with processes.listening(command, place.measured, port) as pid:
        _own_load(port, workload, min(_WARMING_SECONDS, seconds), place)
        before = accounting.cpu_seconds(pid)
        if use_wrk:
            done = wrk.generate(port, workload, _CONNECTIONS, seconds, place.load)
        else:
            done = _own_load(port, workload, seconds, place)
        after = accounting.cpu_seconds(pid)
    return Sample(done.requests, after - before, done.wall_seconds)


def _own_load(port: int, workload: Workload, seconds: float, place: Place) -> load.Load:
    command = processes.python(
        "benchmarks.load", port, workload.name, "--connections", _CONNECTIONS, "--seconds", seconds
    )
    done = load.Load.from_json(processes.run(command, place.load, timeout=seconds + _GRACE_SECONDS))
    if not done.requests:
        raise Failed(f"no answer within {seconds} s")
    return done


def sample_client(name: str, pattern: str, port: int, seconds: float, place: Place) -> Sample:
    """Return what the client's process says that its requests cost it."""
    return _sample(processes.python("benchmarks.clients", name, pattern, port, seconds), seconds, place)


def sample_engine(name: str, task: str, seconds: float, place: Place) -> Sample:
    """Return what the engine's process says that its requests cost it."""
    return _sample(processes.python("benchmarks.engine", name, task, seconds), seconds, place)


def sample_transfer(name: str, transfer: str, port: int, mib: int, path: str, place: Place) -> Sample:
    """Return what the mover's process says that its bytes cost it."""
    return _sample(processes.python("benchmarks.transfers", name, transfer, port, mib, path), 0.0, place)


def _sample(command: list[str], seconds: float, place: Place) -> Sample:
    sample = Sample.from_json(processes.run(command, place.measured, timeout=seconds + _GRACE_SECONDS))
    if not sample.requests:
        raise Failed(f"nothing was answered within {seconds} s")
    return sample
