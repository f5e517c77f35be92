"""The command as a user runs it: in a process of its own, in a directory of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import trustme

ROOT = Path(__file__).resolve().parent.parent.parent
GUARD = 40.0
# -P as for an installed command: the current directory is not importable by itself
COMMAND = [sys.executable, "-P", "-m", "gruvihttp"]
BANNER = re.compile(r"gruvihttp serving (.+) at (.+) \(Ctrl-C stops\)\n")

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve: TypeAlias = Callable[..., "Served"]
Expect: TypeAlias = Callable[["subprocess.CompletedProcess[bytes]", int, str, str], None]


class Served:
    """A `gruvihttp serve` that has said where it serves."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        banner = self.read_line()
        match = BANNER.fullmatch(banner)
        assert match, banner + self.end(signal.SIGKILL)[1]
        self.name, self.places = match.groups()

    @property
    def port(self) -> int:
        """The port of the first address."""
        match = re.search(r"://[^/]+:(\d+)", self.places)
        assert match, self.places
        return int(match[1])

    def read_line(self) -> str:
        """The next line of stderr."""
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def send(self, number: int) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> tuple[int, str]:
        """Send a signal and wait; the exit code and what else was written to stderr."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        _, rest = self.process.communicate(timeout=GUARD)
        return self.process.returncode, rest


def environment(**variables: str) -> dict[str, str]:
    """Ours without what would change the command's behaviour, and with the package in reach."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRUVIHTTP_", "PYTHON"))}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "100", "no_proxy": "*", **variables}


def heed_interrupts() -> None:
    """Whoever runs the tests in the background ignores SIGINT, and so would their children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def write_files(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the command to its end."""

    def run_command(
        *arguments: str, files: dict[str, str] | None = None, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        write_files(tmp_path, files or {})
        return subprocess.run(
            [*COMMAND, *arguments], cwd=tmp_path, env=environment(**variables), capture_output=True, timeout=GUARD
        )

    return run_command


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts `gruvihttp serve`, on a free port unless told otherwise, and returns when it serves."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, files: dict[str, str] | None = None, **variables: str) -> Served:
        write_files(tmp_path, files or {})
        bind = [] if "--bind" in arguments or "GRUVIHTTP_SERVE_BIND" in variables else ["--bind", "127.0.0.1:0"]
        process = subprocess.Popen(
            [*COMMAND, "serve", *bind, *arguments],
            cwd=tmp_path,
            env=environment(**variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed_interrupts,
        )
        started.append(process)
        return Served(process)

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Paths of PEM files for localhost and 127.0.0.1: `cert`, `key`, and the `ca` that vouches for it."""
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("localhost", "127.0.0.1")
    paths = {name: str(directory / f"{name}.pem") for name in ("cert", "key", "ca", "other")}
    issued.cert_chain_pems[0].write_to_path(paths["cert"])
    issued.private_key_pem.write_to_path(paths["key"])
    authority.cert_pem.write_to_path(paths["ca"])
    authority.issue_cert("localhost").private_key_pem.write_to_path(paths["other"])
    return paths


@pytest.fixture
def expect() -> Expect:
    """Checks what was said about a mistake: two lines, which are patterns, and whatever follows an empty line."""

    def check(result: subprocess.CompletedProcess[bytes], code: int, what: str, advice: str) -> None:
        assert result.stdout == b""
        lines = result.stderr.decode().splitlines()
        assert re.fullmatch(f"gruvihttp: {what}", lines[0]), lines
        assert re.fullmatch(f"  {advice}", lines[1]), lines
        assert lines[2:3] in ([], [""]), lines
        assert result.returncode == code

    return check
