"""gruvi's `MessageProtocol`: what an endpoint calls when something happens on a connection."""

from __future__ import annotations

import gevent

from gruvihttp.errors import TransportError
from gruvihttp.net.transport import Transport

__all__ = ["MessageProtocol"]


class MessageProtocol:
    """One per connection. Subclasses override what they need.

    An endpoint calls `connection_made`, then `start`, once; `connection_lost` once, when the transport is closed.
    Those three may be called in the hub, so they must not block.
    """

    transport: Transport | None = None

    def connection_made(self, transport: Transport) -> None:
        """The connection is there, its TLS handshake done."""
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport has been closed; `exc` is the error that it met before, if it met one."""

    def data_received(self, data: bytes) -> None:
        """Bytes came. Called by the pump that `start` sets going; may block, and then the peer has to wait."""

    def eof_received(self) -> None:
        """The peer will send nothing more. Closes the transport."""
        if self.transport is not None:
            self.transport.close()

    def start(self) -> None:
        """Begin to care for input: here, a greenlet that hands it to `data_received`."""
        gevent.spawn(self._pump)

    def shutdown(self) -> None:
        """End politely, at once or soon, because the endpoint closes. Must not block; may be called again."""
        if self.transport is not None:
            self.transport.close()

    def idle_since(self) -> float | None:
        """The moment of ``time.monotonic()`` since which nothing is going on and the peer may begin something new.

        None: there is work, or nobody can tell. Such a connection is never closed to make room for another one.
        """
        return None

    def evict(self) -> bool:
        """Close because another connection needs the place, if `idle_since` holds still. Whether it does."""
        return False

    def _pump(self) -> None:
        transport = self.transport
        if transport is None:
            return
        try:
            while data := transport.receive():
                self.data_received(data)
            self.eof_received()
        except TransportError:  # the channel remembers it, and `connection_lost` tells it
            transport.close()
        except BaseException:
            transport.abort()
            raise
