"""Starts a process on a core of its own, waits until it listens, and ends it by its id."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks import accounting

__all__ = ["Failed", "Place", "choose_place", "free_port", "listening", "pin", "python", "run", "wait_for"]

_ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 20.0
_STOP_SECONDS = 5.0


class Failed(Exception):
    """A process did not do what it was started for; the text says why, in one line."""


@dataclass(frozen=True)
class Place:
    """The core of the measured process and the core of everything else; None where nothing can be pinned."""

    measured: int | None
    load: int | None


def choose_place() -> Place:
    """Return the first two cores that we may use; unpinned on one core, or where the system knows no affinity."""
    if not hasattr(os, "sched_getaffinity"):
        return Place(None, None)
    cores = sorted(os.sched_getaffinity(0))
    return Place(cores[0], cores[1]) if len(cores) > 1 else Place(None, None)


def python(module: str, *arguments: object) -> list[str]:
    """Return the command that runs a module of ours."""
    return [sys.executable, "-m", module, *map(str, arguments)]


def free_port() -> int:
    """Return a port that was free a moment ago: most servers here cannot say which port the system gave them."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def run(command: Sequence[str], core: int | None, timeout: float) -> str:
    """Run a command to its end and return what it wrote; raises Failed when it fails or takes too long."""
    with _started(command, core, stdout=subprocess.PIPE) as (process, errors):
        try:
            written, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"not done after {timeout:.0f} s") from None
        if process.returncode:
            raise Failed(_last_line(errors) or f"exit status {process.returncode}")
        return str(written, "utf-8")


@contextmanager
def listening(command: Sequence[str], core: int | None, port: int) -> Iterator[int]:
    """Run a server for the length of the block; gives its process id once it accepts connections."""
    with _started(command, core, stdout=subprocess.DEVNULL) as (process, errors):
        try:
            wait_for(port, lambda: process.poll() is None)
        except Failed as exc:
            raise Failed(_last_line(errors) or str(exc)) from None
        yield process.pid


def wait_for(port: int, is_running: Callable[[], bool]) -> None:
    """Return when the port accepts a connection; raises Failed when nobody is there to do so."""
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return
        if not is_running():
            raise Failed("it ended before it listened")
        time.sleep(0.02)
    raise Failed(f"it did not listen within {_START_SECONDS:.0f} s")


@contextmanager
def _started(command: Sequence[str], core: int | None, stdout: int) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        errors = Path(directory, "stderr")
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
                preexec_fn=lambda: pin(core),
            )  # fmt: skip
        try:
            yield process, errors
        finally:
            _end(process)


def pin(core: int | None) -> None:
    """Stay on that core, if there is one."""
    if core is not None:
        os.sched_setaffinity(0, {core})


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask it to end, then make it and the workers that it may have left behind."""
    if process.poll() is None:
        members = accounting.tree(process.pid)
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
        for member in members[1:]:
            with suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
    process.wait()
    if process.stdout:
        process.stdout.close()


def _last_line(errors: Path) -> str:
    lines = [line for line in errors.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""
