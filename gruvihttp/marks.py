"""Marks on functions, for those who read them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["switchpoint"]

F = TypeVar("F", bound=Callable[..., Any])


def switchpoint(function: F) -> F:
    """Mark a function that may let other greenlets run before it returns. It is not wrapped and costs nothing."""
    function.__switchpoint__ = True  # type: ignore[attr-defined]
    return function
