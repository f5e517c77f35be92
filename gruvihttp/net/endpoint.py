"""What gruvi's endpoints share: a factory for protocols, a default timeout, and an end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeAlias

from gruvihttp.net.deadline import check_timeout
from gruvihttp.net.protocol import MessageProtocol

__all__ = ["Endpoint", "ProtocolFactory"]

ProtocolFactory: TypeAlias = Callable[[], MessageProtocol]


class Endpoint:
    """Makes connections of one sort, each with a protocol of its own."""

    def __init__(self, protocol_factory: ProtocolFactory, timeout: float | None = None) -> None:
        check_timeout(timeout)
        self._protocol_factory = protocol_factory
        self._timeout = timeout

    @property
    def timeout(self) -> float | None:
        """The default for everything that takes a ``timeout`` argument, in seconds; None is for ever."""
        return self._timeout

    def close(self) -> None:
        """End. Idempotent."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
