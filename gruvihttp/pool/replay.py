"""Whether a request may be sent a second time, and whether its body can be (RFC 9110 §9.2.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["IDEMPOTENT", "rewinder_of"]

IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"))

Rewinder = Callable[[], object]


def rewinder_of(body: Any) -> Rewinder | None:  # Any: a body of any kind
    """What makes the body begin again where it stands now; None if that is not possible.

    Asking is free: nothing of the body is read. A file must be asked before it is read.
    """
    if hasattr(body, "read"):
        return _rewinder_of_file(body)
    return None if isinstance(body, Iterator) else _nothing_to_do


def _rewinder_of_file(file: Any) -> Rewinder | None:
    try:
        if not file.seekable():
            return None
        position = file.tell()
    except (AttributeError, OSError, ValueError):  # a file may lack these, or lie
        return None
    return lambda: file.seek(position)


def _nothing_to_do() -> None:
    """Bytes, text, lists: they begin anew by themselves."""
