"""Runs Python programs in processes of their own, with this checkout importable."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "run_python"]

ROOT = Path(__file__).resolve().parents[2]


def run_python(program: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a program from its text, with options of the interpreter, for less than a minute."""
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50, check=False)
