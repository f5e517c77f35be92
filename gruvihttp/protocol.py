"""gruvi's `HttpProtocol`: HTTP on one connection. (The server's half; the client's half is being added.)"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.http1_server import ServerConnection
from gruvihttp.net.protocol import MessageProtocol

__all__ = ["HttpProtocol"]


class HttpProtocol(MessageProtocol):
    """HTTP on one connection."""

    def __init__(self) -> None:
        self._handler: Callable[[Any], None]
        self._config: ServerConfig
        self._connection: ServerConnection | None = None

    @classmethod
    def serving(cls, handler: Callable[[Any], None], config: ServerConfig) -> Self:
        """A server-side protocol that hands its exchanges to `handler`."""
        protocol = cls.__new__(cls)
        protocol._handler = handler
        protocol._config = config
        protocol._connection = None
        return protocol

    def start(self) -> None:
        """Begin to serve."""
        assert self.transport is not None
        self._connection = ServerConnection(self.transport, self._handler, self._config)
        self._connection.start()

    def shutdown(self) -> None:
        """Close when no request is being served."""
        if self._connection is not None:
            self._connection.shutdown()
