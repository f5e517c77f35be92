"""Programs that are no part of Python: whether they are here, and what they print."""

from __future__ import annotations

import shutil

import pytest
from gevent import subprocess

__all__ = ["needs", "run"]

GUARD_SECONDS = 60.0


def needs(name: str) -> pytest.MarkDecorator:
    """Skips a test where a program is not installed."""
    return pytest.mark.skipif(shutil.which(name) is None, reason=f"{name} is not installed")


def run(*command: object) -> bytes:
    """What a program prints; it must succeed. Greenlets run meanwhile."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, timeout=GUARD_SECONDS, check=True)
    output: bytes = done.stdout
    return output
