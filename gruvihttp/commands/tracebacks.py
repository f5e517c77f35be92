"""Tracebacks for the author of an application: the frames that are theirs, and not those of who called them."""

from __future__ import annotations

import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from traceback import FrameSummary, StackSummary, TracebackException, extract_tb

__all__ = ["INSTALLED", "is_authors", "place_of", "render"]

_OURS = str(Path(__file__).resolve().parent.parent) + os.sep
# where the standard library and what is installed lie
INSTALLED = tuple(
    path + os.sep
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(name)) is not None
)
_PACKAGES = {"site-packages", "dist-packages"}


def place_of(exc: BaseException) -> str:
    """``shop.py, line 3``: the innermost frame of the user's that `exc` came through, or the file that is no Python.

    Empty when there is none.
    """
    if isinstance(exc, SyntaxError) and exc.filename:
        return f"{_shorten(exc.filename)}, line {exc.lineno}"
    frames = [frame for frame in extract_tb(exc.__traceback__) if _is_users(frame)]
    return f"{_shorten(frames[-1].filename)}, line {frames[-1].lineno}" if frames else ""


def render(exc: BaseException, *, full: bool = False) -> str:
    """The traceback of `exc`, with the user's frames only, unless all are wanted or none would be left."""
    shown = TracebackException.from_exception(exc)
    if not full:
        keep = _is_users if any(map(_is_users, shown.stack)) else _is_not_ours
        _trim(shown, keep)
    return "".join(shown.format())


def _trim(shown: TracebackException, keep: Callable[[FrameSummary], bool]) -> None:
    shown.stack = StackSummary.from_list([frame for frame in shown.stack if keep(frame)])
    for other in (shown.__cause__, shown.__context__, *(getattr(shown, "exceptions", None) or ())):
        if other is not None:
            _trim(other, keep)


def is_authors(filename: str) -> bool:
    """Whether it is a file of the application's author, neither installed nor of this package."""
    installed = filename.startswith(INSTALLED) or _PACKAGES & set(Path(filename).parts)
    return not _is_ours(filename) and not installed


def _is_users(frame: FrameSummary) -> bool:
    return is_authors(frame.filename)


def _is_not_ours(frame: FrameSummary) -> bool:
    return not _is_ours(frame.filename)


def _is_ours(filename: str) -> bool:
    """Is it of this package, or of the import system?"""
    return filename.startswith((_OURS, "<frozen ")) or _is_importlib(filename)


def _is_importlib(filename: str) -> bool:
    return Path(filename).parts[-2:] == ("importlib", "__init__.py")


def _shorten(filename: str) -> str:
    """The path from the current directory, if the file is below it."""
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename
