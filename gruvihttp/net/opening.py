"""gruvi's client side: `create_connection`, and `Client` which holds one connection."""

from __future__ import annotations

from typing import Any

from gruvihttp.errors import Error, HttpError
from gruvihttp.net.deadline import moment_after, timeout_or_default
from gruvihttp.net.dial import dial
from gruvihttp.net.endpoint import Endpoint, ProtocolFactory
from gruvihttp.net.protocol import MessageProtocol
from gruvihttp.net.sockets import Address
from gruvihttp.net.tls import TlsOption, check_client_option, client_context
from gruvihttp.net.transport import Transport

__all__ = ["Client", "create_connection", "start_protocol"]


def create_connection(
    protocol_factory: ProtocolFactory,
    address: Address,
    ssl: TlsOption = False,
    server_hostname: str | None = None,
    local_address: Address = None,
    family: int = 0,
    flags: int = 0,
    timeout: float | None = None,
    handshake_timeout: float | None = -1,
) -> tuple[Transport, MessageProtocol]:
    """Connect to `address` and start a protocol there; returns (transport, protocol).

    `address` is (host, port), the path of a Unix socket, or a connected socket or descriptor. `timeout` bounds the
    whole: resolving, all addresses, and the TLS handshake, unless that has a `handshake_timeout` of its own.
    `server_hostname` is the name that the certificate must have; the host of `address` if not given.

    Raises TransportError, or Timeout with phase ``"connect"`` or ``"handshake"``.
    """
    check_client_option(ssl)
    deadline = moment_after(timeout_or_default(timeout, None))
    transport = Transport(dial(address, local_address=local_address, family=family, flags=flags, deadline=deadline))
    if handshake_timeout is None or handshake_timeout >= 0:
        deadline = moment_after(handshake_timeout)
    hostname = _host_of(address) if server_hostname is None else server_hostname
    return transport, start_protocol(transport, protocol_factory, ssl, hostname, deadline)


def start_protocol(
    transport: Transport,
    protocol_factory: ProtocolFactory,
    ssl: TlsOption,
    hostname: str | None,
    deadline: float | None,
) -> MessageProtocol:
    """Have a protocol speak on a connection that is there, with TLS or without. If that fails, it is dropped."""
    try:
        context = client_context(ssl, transport.get_extra_info("socket"))
        if context is not None:
            transport.start_tls(context, False, hostname or None, deadline)
        protocol = protocol_factory()
        transport.on_close = lambda closed: protocol.connection_lost(closed.error)
        protocol.connection_made(transport)
        protocol.start()
    except BaseException:
        transport.abort()
        raise
    return protocol


class Client(Endpoint):
    """One connection at a time, for one protocol."""

    def __init__(self, protocol_factory: ProtocolFactory, timeout: float | None = None) -> None:
        super().__init__(protocol_factory, timeout)
        self._transport: Transport | None = None
        self._protocol: MessageProtocol | None = None
        self._attempt: object = None  # the call of `connect` that is under way

    def connect(self, address: Address, ssl: TlsOption = False, **kwargs: Any) -> None:  # Any: create_connection's
        """Connect; the keywords are those of `create_connection`. The timeout is this client's unless given.

        A client that could not connect, or that was closed, may connect again: such errors are `retryable`.
        Raises RuntimeError when it is connected or connecting, HttpError when it is closed meanwhile.
        """
        if self._attempt is not None or self.connected:
            raise RuntimeError("already connected")
        kwargs["timeout"] = timeout_or_default(kwargs.get("timeout", -1), self.timeout)
        self._attempt = attempt = object()
        try:
            transport, protocol = self._open(address, ssl, **kwargs)
            if self._attempt is not attempt:
                transport.abort()
                raise HttpError("the client was closed while it was connecting")
            self._transport, self._protocol = transport, protocol
        except Error as exc:
            exc.retryable = True  # there was nothing to send a request on
            raise
        finally:
            if self._attempt is attempt:
                self._attempt = None

    def _open(self, address: Address, ssl: TlsOption, **kwargs: Any) -> tuple[Transport, MessageProtocol]:
        return create_connection(self._protocol_factory, address, ssl, **kwargs)

    @property
    def connected(self) -> bool:
        """Is there a transport that this side has not closed? The peer may have."""
        return self._transport is not None and not self._transport.closed

    @property
    def transport(self) -> Transport:
        """The transport. Raises HttpError before `connect` and after `close`."""
        if self._transport is None:
            raise _not_connected()
        return self._transport

    @property
    def protocol(self) -> Any:  # Any: what the factory makes; a subclass that knows its type says so
        """The protocol. Raises HttpError before `connect` and after `close`."""
        if self._protocol is None:
            raise _not_connected()
        return self._protocol

    def close(self) -> None:
        """Close the connection. Everything written has been handed to the system before. Idempotent."""
        self._attempt = None
        transport, self._transport, self._protocol = self._transport, None, None
        if transport is not None:
            transport.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._transport if self.connected else 'not connected'}>"


def _host_of(address: Address) -> str | None:
    return address[0] if isinstance(address, tuple) else None


def _not_connected() -> HttpError:
    return HttpError("not connected: call connect() first")  # gruvi's class for it
