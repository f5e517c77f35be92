"""Reads what a process has cost so far, from the operating system's own books (Linux).

Knows nothing of HTTP, nor of who started the process.
"""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

__all__ = ["cpu_seconds", "forget_peak", "memory_bytes", "own_cpu_seconds", "peak_memory_bytes", "tree"]

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


def own_cpu_seconds() -> float:
    """Return the user and system seconds of this process, its threads, and its children that have ended."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def cpu_seconds(pid: int) -> float:
    """Return the user and system seconds of a process, of its living descendants, and of those that have ended.

    Threads are included. Raises ProcessLookupError when `pid` is gone.
    """
    if not os.path.exists(f"/proc/{pid}"):
        raise ProcessLookupError(f"process {pid} has ended")
    return sum(_of_one(member) for member in tree(pid))


def memory_bytes(pid: int) -> int:
    """Return how much memory a process has in use (its resident set)."""
    return _kibibytes(pid, "VmRSS") * 1024


def peak_memory_bytes(pid: int) -> int:
    """Return the most memory that a process has had in use, since it began or since `forget_peak`."""
    return _kibibytes(pid, "VmHWM") * 1024


def forget_peak(pid: int) -> None:
    """Let the peak be what is in use now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # proc(5)


def _kibibytes(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def tree(pid: int) -> list[int]:
    """Return `pid` and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[1]), []).append(int(entry.name))
    members = [pid]
    for member in members:  # grows while it is walked: breadth first
        members.extend(children.get(member, ()))
    return members


def _of_one(pid: int) -> float:
    stat = _stat(pid)
    if not stat:
        return 0.0  # ended since the tree was read: its parent's books have it now
    ended_children = (int(stat[13]) + int(stat[14])) / _TICKS_PER_SECOND
    return _living_seconds(pid) + ended_children


def _living_seconds(pid: int) -> float:
    # What clock_getcpuclockid(3) computes: the number of a process's CPU clock. It counts nanoseconds, where
    # /proc/PID/stat counts ticks of 10 ms; both come from the scheduler's sum of run time.
    clock = (~pid << 3) | 2
    try:
        return time.clock_gettime(clock)
    except OSError:
        stat = _stat(pid)
        return (int(stat[11]) + int(stat[12])) / _TICKS_PER_SECOND if stat else 0.0


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on (proc(5) numbers them from 3); empty when it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return line.rpartition(")")[2].split()  # the name stands in parentheses and may contain anything
