"""`Sentinel`: a class that is its own instance, for values that need a name and an identity and nothing else."""

from __future__ import annotations

from typing import Any, TypeVar

__all__ = ["NEED_DATA", "PAUSED", "Sentinel"]

_T = TypeVar("_T", bound="Sentinel")


class Sentinel(type):
    """Metaclass and base at once: ``class X(Sentinel, metaclass=Sentinel)`` makes X with ``type(X) is X``."""

    def __new__(
        cls: type[_T], name: str, bases: tuple[type, ...], namespace: dict[str, Any], **kwds: Any
    ) -> _T:
        new = super().__new__(cls, name, bases, namespace, **kwds)
        new.__class__ = new  # type: ignore[assignment]  # its own type: the whole point
        return new

    def __repr__(self) -> str:
        return self.__name__


class NEED_DATA(Sentinel, metaclass=Sentinel):
    """No event yet: receive more bytes, then ask again."""


class PAUSED(Sentinel, metaclass=Sentinel):
    """No event until the exchange is over (``start_next_cycle``), or ever, because the protocol was switched."""
