"""Runs wrk with the bytes of a workload, one thread, and reads its summary."""

from __future__ import annotations

import math
import shutil
import tempfile
from pathlib import Path

from benchmarks import processes
from benchmarks.load import Load
from benchmarks.workloads import Workload

__all__ = ["generate", "is_installed"]

# wrk formats a request once and counts how many it holds: so it sends ours as they are, pipelined or not.
_SCRIPT = """
local file = assert(io.open("{request}", "rb"))
local request = file:read("*a")
file:close()
wrk.format = function() return request end
done = function(summary)
   local errors = summary.errors
   local wrong = errors.connect + errors.read + errors.write + errors.status + errors.timeout
   io.write(string.format("RESULT %d %d %d\\n", summary.requests, summary.duration, wrong))
end
"""


def is_installed() -> bool:
    return shutil.which("wrk") is not None


def generate(port: int, workload: Workload, connections: int, seconds: float, core: int | None) -> Load:
    """Keep `connections` busy for `seconds`, rounded up to whole ones, which is all that wrk knows.

    Raises processes.Failed when an answer was wrong or missing.
    """
    whole_seconds = max(1, math.ceil(seconds))
    with tempfile.TemporaryDirectory(prefix="benchmark-") as directory:
        request, script = Path(directory, "request"), Path(directory, "script.lua")
        request.write_bytes(workload.burst)
        script.write_text(_SCRIPT.format(request=request))
        command = [
            "wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{whole_seconds}s",
            "--script", str(script), f"http://127.0.0.1:{port}/",
        ]  # fmt: skip
        written = processes.run(command, core, timeout=whole_seconds + 15)
    requests, microseconds, wrong = _summary(written)
    if wrong or not requests:
        raise processes.Failed(f"wrk counted {requests} answers and {wrong} errors")
    return Load(requests, microseconds / 1e6)


def _summary(written: str) -> tuple[int, int, int]:
    for line in written.splitlines():
        if line.startswith("RESULT "):
            requests, microseconds, wrong = map(int, line.split()[1:])
            return requests, microseconds, wrong
    raise processes.Failed("wrk printed no summary")
