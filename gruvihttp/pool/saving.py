"""A stream becomes a file: whole, or not at all. Where the stream comes from is not known here."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

__all__ = ["save"]


def save(pieces: Iterable[bytes], path: str | os.PathLike[str]) -> None:
    """Write the pieces to the file at `path`, which appears, or is replaced, when all of them have arrived.

    Whatever is raised in between, nothing of it is left. Raises OSError and what the pieces raise.
    """
    target = Path(path)
    # in the same directory, since a file system cannot rename into another
    with NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", suffix=".part", delete=False) as file:
        try:
            for piece in pieces:
                file.write(piece)
            file.flush()
            _set_mode(file.fileno(), target)
            os.replace(file.name, target)
        except BaseException:
            with suppress(OSError):
                os.unlink(file.name)
            raise


def _set_mode(descriptor: int, target: Path) -> None:
    """The mode of the file that is replaced, else what a new file gets; a temporary one is for its owner alone."""
    try:
        mode = target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        mode = 0o666 & ~mask
    os.fchmod(descriptor, mode)
