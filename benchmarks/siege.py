"""Runs the server that has to stand something."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import processes

__all__ = ["server"]

_ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def server(core: int | None, deadlines: str) -> Iterator[tuple[int, list[int]]]:
    """Run `benchmarks.besieged` for the length of the block; gives its process id and its ports, plain and TLS.

    `deadlines` are "short" or "default".
    """
    with tempfile.TemporaryDirectory() as directory:
        certificate = Path(directory, "certificate.pem")
        _make_certificate(certificate)
        process = subprocess.Popen(
            processes.python("benchmarks.besieged", certificate, deadlines), cwd=_ROOT, stdout=subprocess.PIPE,
            preexec_fn=lambda: processes.pin(core),
        )  # fmt: skip
        try:
            assert process.stdout is not None
            yield process.pid, [int(port) for port in process.stdout.readline().split()]
        finally:
            process.terminate()
            process.wait()


def _make_certificate(file: Path) -> None:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    parts = ["-keyout", str(file) + ".key", "-out", str(file) + ".crt", "-subj", "/CN=localhost", "-days", "2"]
    subprocess.run([*command, *parts], check=True, stderr=subprocess.DEVNULL)
    file.write_bytes(Path(str(file) + ".key").read_bytes() + Path(str(file) + ".crt").read_bytes())
