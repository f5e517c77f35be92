"""Finds out which of the measured modules can be imported, and in which versions they are here.

`python -m benchmarks.peers NEED...` prints JSON: for each need its error in one line, or nothing. It is a process
of its own because some of these modules change the one that imports them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from importlib import import_module, metadata

from benchmarks import processes

__all__ = ["missing", "versions"]

_DISTRIBUTIONS = (
    "gruvihttp", "gevent", "greenlet", "bjoern", "granian", "waitress", "gunicorn", "hypercorn",
    "geventhttpclient", "pycurl", "h2", "h11", "httptools", "urllib3", "httpx", "requests",
)  # fmt: skip


def missing(needs: Iterable[str]) -> dict[str, str]:
    """Return need -> why it cannot be imported, for those that cannot; a need is `module` or `module:attribute`."""
    command = processes.python("benchmarks.peers", *sorted(set(needs)))
    found: dict[str, str] = json.loads(processes.run(command, None, timeout=60).splitlines()[-1])
    return found


def versions() -> dict[str, str]:
    """Return distribution -> version, for those that are installed."""
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _why_not(need: str) -> str:
    module, _, attribute = need.partition(":")
    try:
        found = import_module(module)
        if attribute:
            getattr(found, attribute)
    except Exception as exc:  # whatever a foreign module raises when it is imported: it cannot be used, then
        return " ".join(f"{type(exc).__name__}: {exc}".split())
    return ""


if __name__ == "__main__":
    print(json.dumps({need: reason for need in sys.argv[1:] if (reason := _why_not(need))}))
