"""``gruvihttp serve --reload``: which files an application is made of, and when one of them changes.

A worker tells its parent which files it has imported; the parent watches them and replaces the worker. So nothing is
imported twice in a process, and changes are noticed even while a worker cannot begin, or hangs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from traceback import walk_tb

import gevent

from gruvihttp.commands.tracebacks import INSTALLED

__all__ = ["FILES", "Watcher", "application_files", "failure_told", "tell_files"]

FILES = "files"

_LOOK_SECONDS = 0.3
_TELL_SECONDS = 1.0


def application_files() -> list[str]:
    """The files of all modules that are loaded and belong to nothing that is installed."""
    files = {getattr(module, "__file__", None) for module in list(sys.modules.values())}
    return sorted(os.path.abspath(file) for file in files if file and not file.startswith(INSTALLED))


@contextmanager
def failure_told(tell: Callable[[list[str]], object]) -> Iterator[None]:
    """While entered: if an exception is raised, tell which files have to do with it."""
    try:
        yield
    except BaseException as exc:
        tell(_failed_files(exc))
        raise


def _failed_files(exc: BaseException | None) -> list[str]:
    """Files of the application, those that `exc` comes from, and the directory where one may be missing."""
    files = set(application_files())
    while exc is not None:
        files |= {frame.f_code.co_filename for frame, _ in walk_tb(exc.__traceback__)}
        if isinstance(exc, SyntaxError) and exc.filename:
            files.add(exc.filename)
        exc = exc.__cause__ or exc.__context__
    known = (file for file in files if os.path.exists(file) and not file.startswith(INSTALLED))
    return sorted({os.path.abspath(file) for file in known} | {os.getcwd()})


def tell_files(tell: Callable[[list[str]], object]) -> None:
    """Tell the files of the application now, and from a greenlet when more modules are loaded."""
    gevent.spawn(_tell_on, tell, _tell(tell))


def _tell(tell: Callable[[list[str]], object]) -> int:
    count = len(sys.modules)
    tell(application_files())
    return count


def _tell_on(tell: Callable[[list[str]], object], told: int) -> None:
    while True:
        gevent.sleep(_TELL_SECONDS)
        if len(sys.modules) != told:
            told = _tell(tell)


class Watcher:
    """Looks at files again and again, and calls `changed` with one that has changed."""

    def __init__(self, changed: Callable[[str], object]) -> None:
        self._changed = changed
        self._seen: dict[str, int | None] = {}
        gevent.spawn(self._watch)

    def add(self, files: Iterable[str]) -> None:
        """Look at these, too."""
        for file in files:
            self._seen.setdefault(file, _stamp(file))

    def _watch(self) -> None:
        while True:
            gevent.sleep(_LOOK_SECONDS)
            changes = list(self._changes())
            if changes:
                self._changed(changes[0])

    def _changes(self) -> Iterator[str]:
        for file, before in self._seen.items():
            now = _stamp(file)
            if now != before:
                self._seen[file] = now
                yield file


def _stamp(file: str) -> int | None:
    try:
        return os.stat(file).st_mtime_ns
    except OSError:
        return None
