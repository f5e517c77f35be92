"""nghttpd, the server of nghttp2, in a process of its own: an implementation of HTTP/2 that has nothing of ours."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent

__all__ = ["nghttpd"]

GUARD_SECONDS = 10.0


@contextmanager
def nghttpd(directory: Path, *options: str, certificate: tuple[Path, Path] | None = None) -> Iterator[int]:
    """Runs one for the files of a directory; the port is given. `certificate` are its key and itself."""
    tls = ["--no-tls"] if certificate is None else []
    command = ["nghttpd", "-n1", "-a", "127.0.0.1", "-d", str(directory), *tls, *options, "0"]
    process = subprocess.Popen([*command, *map(str, certificate or ())], stdout=subprocess.DEVNULL)
    try:
        with gevent.Timeout(GUARD_SECONDS):
            while (port := _port_of(process)) is None:
                assert process.poll() is None
                gevent.sleep(0.01)
        yield port
    finally:
        process.kill()
        process.wait()


def _port_of(process: subprocess.Popen[bytes]) -> int | None:
    """Where a process listens: it was told to let the system choose, and does not say what that was."""
    inodes = set()
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        try:
            match = re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink()))
        except OSError:
            continue
        if match:
            inodes.add(match[1])
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and words[9] in inodes:  # LISTEN
            return int(words[1].partition(":")[2], 16)
    return None
