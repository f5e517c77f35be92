"""How long a good client waits beside clients that behave badly, and what they cost the server in memory.

    python -m benchmarks.abuse [--seconds S] [--rounds R] [--each N] [ABUSER ...]

One server on the first core; on the second a good client and, in the time that it leaves (SCHED_IDLE: at once out of
its way when it wakes), the bad ones: `N` of each kind at a time, who begin anew as soon as they are ended. The good
client asks on ten persistent connections, each every 10 ms, at a path that is answered at once and at one that works
for 10 ms first.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import gevent
from gevent import socket

from benchmarks import accounting, processes, siege
from benchmarks.abusers import ABUSERS, Target, abuse

Waits = dict[str, dict[str, float]]  # by path, and by what of them: p50, p99

_CONNECTIONS = 10
_PATHS = ("/", "/work")
_PAUSE_SECONDS = 0.01
_HOST = "127.0.0.1"
_SETTLING_SECONDS = 1.0  # until the bad ones are at it
_ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Print a line for each abuser, and one for all of them together."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.abuse", description=__doc__.partition("\n")[0])
    parser.add_argument("abusers", nargs="*", metavar="ABUSER", help=f"of {', '.join(ABUSERS)}; default: all")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each sample; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="of four samples each; default: %(default)s")
    parser.add_argument("--each", type=int, default=5, help="of each kind at a time; default: %(default)s")
    options = parser.parse_args()
    names = options.abusers or list(ABUSERS)
    if unknown := set(names) - set(ABUSERS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    core = processes.choose_place()
    columns = "".join(f"{path:6}{'p50 ms: peace, siege':21} {'p99 ms':21}" for path in _PATHS)
    print(f"{'':18}  {columns}  memory")
    with siege.server(core.measured, "short") as (pid, ports):
        for name in names:
            _line(name, [name], options, pid, ports, core.load)
        if len(names) > 1:
            _line("all of them", names, options, pid, ports, core.load)
    return 0


def _line(
    title: str, names: Sequence[str], options: argparse.Namespace, pid: int, ports: list[int], core: int | None
) -> None:
    """Samples in peace and beside the bad ones in turn, so that what else the machine does concerns both alike."""
    peace: list[Waits] = []
    siege: list[Waits] = []
    accounting.forget_peak(pid)
    for _ in range(options.rounds):
        peace.append(_sample(ports[0], options.seconds, core))
        with _bad(names, options.each, ports, core):
            time.sleep(_SETTLING_SECONDS)
            siege.append(_sample(ports[0], options.seconds, core))
        time.sleep(_SETTLING_SECONDS)
    cells = []
    for path in _PATHS:
        cells.append(f"{'':6}")
        for measure in ("p50", "p99"):
            before, beside = (median(waits[path][measure] for waits in samples) for samples in (peace, siege))
            cells.append(f"{before:6.2f} {beside:6.2f} ×{beside / before:<5.1f} ")
    memory = accounting.peak_memory_bytes(pid) / (1 << 20)
    print(f"{title:18}  {''.join(cells)}   {memory:.0f} MiB", flush=True)


def _sample(port: int, seconds: float, core: int | None) -> Waits:
    waits = {}
    for path in _PATHS:
        command = processes.python("benchmarks.abuse", "good", port, path, seconds)
        waits[path] = json.loads(processes.run(command, core, timeout=seconds + 60))
    return waits


@contextmanager
def _bad(names: Sequence[str], each: int, ports: list[int], core: int | None) -> Iterator[None]:
    if not names:
        yield
        return
    process = subprocess.Popen(
        processes.python("benchmarks.abuse", "bad", *ports, each, *names), cwd=_ROOT,
        preexec_fn=lambda: _stand_back(core),
    )  # fmt: skip
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _stand_back(core: int | None) -> None:
    processes.pin(core)
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def _be_bad(plain_port: str, tls_port: str, each: str, *names: str) -> None:
    plain, tls = (_HOST, int(plain_port)), (_HOST, int(tls_port))

    def for_ever(name: str) -> None:
        while True:
            abuse(ABUSERS[name], plain, tls)
            gevent.sleep(0.01)

    gevent.joinall([gevent.spawn(for_ever, name) for name in names for _ in range(int(each))])


def _be_good(port: str, path: str, seconds: str) -> None:
    waits: list[float] = []
    end = time.monotonic() + float(seconds)
    address = (_HOST, int(port))
    asking = [gevent.spawn(_ask, address, path, end, waits) for _ in range(_CONNECTIONS)]
    gevent.joinall(asking, raise_error=True)
    waits.sort()
    of = {"p50": waits[len(waits) // 2], "p99": waits[len(waits) * 99 // 100]}
    print(json.dumps({name: 1000 * wait for name, wait in of.items()}))


def _ask(address: Target, path: str, end: float, waits: list[float]) -> None:
    request = f"GET {path} HTTP/1.1\r\nHost: {_HOST}\r\n\r\n".encode()
    with socket.create_connection(address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < end:
            begun = time.monotonic()
            sock.sendall(request)
            answer = b""
            while not answer.endswith(b"Hello, World!\n"):
                more = sock.recv(65536)
                if not more:
                    raise SystemExit("the good client was cut")
                answer += more
            waits.append(time.monotonic() - begun)
            gevent.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    role, *arguments = [*sys.argv[1:], ""]
    if role in ("good", "bad"):
        {"good": _be_good, "bad": _be_bad}[role](*arguments[:-1])
    else:
        sys.exit(main())
