"""`LogFile`: a file that lines are appended to, and that can be opened anew after it was moved away."""

from __future__ import annotations

from typing import TextIO

__all__ = ["LogFile"]


class LogFile:
    """A text stream to the end of the file at `path`. Raises OSError."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file = self._open()

    def write(self, text: str) -> None:
        """Append."""
        self._file.write(text)

    def flush(self) -> None:
        """Hand it to the system."""
        self._file.flush()

    def reopen(self) -> None:
        """Open the path anew. If that raises OSError, the file that was open stays in use."""
        before, self._file = self._file, self._open()
        before.close()

    def _open(self) -> TextIO:
        return open(self.path, "a", encoding="utf-8")
