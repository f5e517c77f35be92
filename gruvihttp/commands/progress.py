"""How far a long transfer is, shown on stderr if that is a terminal. What is transferred is not known here."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click

__all__ = ["WatchedFile", "is_file", "progress"]

_LONG_BYTES = 1 << 20  # shorter transfers are over before anybody reads a bar


def progress(length: int | None, label: str) -> AbstractContextManager[Callable[[int], object]]:
    """A context with a function to call with each number of bytes: it moves a bar, if `length` is known and large."""
    if length is None or length < _LONG_BYTES or not sys.stderr.isatty():
        return nullcontext(lambda size: None)
    return _Bar(length, label)


def is_file(stream: Any) -> bool:
    """Whether a stream is a file, and not a terminal or a pipe."""
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):
        return False


class WatchedFile:
    """A file that tells `advance` how many bytes were read of it."""

    def __init__(self, file: Any, advance: Callable[[int], object]) -> None:
        self._file = file
        self._advance = advance

    def read(self, size: int = -1) -> bytes:
        piece: bytes = self._file.read(size)
        self._advance(len(piece))
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class _Bar:
    """A bar of click's."""

    def __init__(self, length: int, label: str) -> None:
        self._bar = click.progressbar(length=length, label=label, file=sys.stderr, show_eta=True)

    def __enter__(self) -> Callable[[int], object]:
        return self._bar.__enter__().update

    def __exit__(self, *exc_info: Any) -> None:  # Any: what `with` gives
        self._bar.__exit__(*exc_info)
