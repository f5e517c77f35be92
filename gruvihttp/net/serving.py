"""gruvi's server side: `Server` accepts connections and gives each a protocol.

It needs no greenlet of its own: listeners accept in the hub, and protocols start there. Only a TLS handshake or a PROXY
header gets a greenlet, so that a peer that is slow with it delays no other.
"""

from __future__ import annotations

import ssl as ssl_module
import sys
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

import gevent
from gevent import get_hub
from gevent.event import Event

from gruvihttp.errors import Error, TransportError
from gruvihttp.limits import Timeouts
from gruvihttp.net.deadline import Alarm, moment_after, timeout_or_default
from gruvihttp.net.endpoint import Endpoint, ProtocolFactory
from gruvihttp.net.interrupts import interrupted_by
from gruvihttp.net.listening import Listener, open_listeners
from gruvihttp.net.networks import meant_by
from gruvihttp.net.protocol import MessageProtocol
from gruvihttp.net.room import Handshake, Room
from gruvihttp.net.sockets import Address, RawSocket, format_address
from gruvihttp.net.tls import TlsOption, check_server_option, server_context
from gruvihttp.net.transport import Transport

__all__ = ["Server", "create_server"]

# What a peer may take to end its TLS handshake when the server closes: a few round trips, and no scanner's patience.
_HANDSHAKE_SECONDS = 1.0
# After that, a connection may have been idle for long enough that it can make room.
_LOOK_AGAIN_SECONDS = 0.5


def create_server(
    protocol_factory: ProtocolFactory,
    address: Address,
    ssl: TlsOption = False,
    family: int = 0,
    flags: int = 0,
    backlog: int = 128,
) -> Server:
    """A server that listens on `address` already."""
    server = Server(protocol_factory)
    server.listen(address, ssl=ssl, family=family, flags=flags, backlog=backlog)
    return server


class Server(Endpoint):
    """Accepts connections and gives each a protocol.

    `max_connections` bounds the connections that are open at once, handshakes included. Where it is reached, the one
    that has been idle for the longest time is closed for a newcomer, if its protocol can tell (see
    `MessageProtocol.idle_since`); while none is idle, newcomers wait in the system's backlog.
    """

    max_connections: int | None = None

    def __init__(
        self,
        protocol_factory: ProtocolFactory,
        timeout: float | None = None,
        *,
        timeouts: Timeouts | None = None,
        room: Room | None = None,
    ) -> None:
        super().__init__(protocol_factory, timeout)
        self.timeouts = Timeouts.flat(timeout) if timeouts is None else timeouts
        self.accepted = 0  # connections, so far
        self.handshake_failures = 0
        self.proxy_failures = 0
        self._listeners: list[Listener] = []
        self._connections: dict[Transport, MessageProtocol] = {}
        self._handshakes: dict[Transport, Handshake] = {}
        self._room = room or Room()
        self._alarm: Alarm | None = None
        self._crowded = False  # there are as many connections as allowed, none is idle, and a client waits
        self._closing = False
        self._closed = Event()
        self._empty = Event()
        self._empty.set()

    # -- listening ---------------------------------------------------------------------------------------------

    def listen(
        self,
        address: Address,
        ssl: TlsOption = False,
        family: int = 0,
        flags: int = 0,
        backlog: int = 128,
        *,
        mode: int | None = None,
        proxy_protocol: bool | Iterable[str] = False,
    ) -> None:
        """Accept connections at `address` from now on. May be called several times; returns at once.

        `address` is (host, port), the path of a Unix socket (``"\\0name"``: an abstract one), or a socket or
        descriptor that listens already. All addresses of a host are bound; port 0 is one free port for all of them.
        `ssl` is an SSLContext with a certificate, or a function that returns one; `mode` is for the file of a Unix
        socket. Raises TransportError with errno when that is not possible.

        With `proxy_protocol` each connection must begin with a header of the PROXY protocol, version 1 or 2, and has
        the addresses that it says. Addresses, networks and ``"unix"`` instead of True: connections from there, while
        others must not have one. Leave no way to connect but through the proxy, or anybody can pretend to be anybody.
        """
        if self._closing:
            raise RuntimeError("this server has been closed")
        check_server_option(ssl)
        has_header = meant_by(proxy_protocol)

        def accepted(sock: RawSocket, peer: Address) -> None:
            self._admit(sock, ssl, peer, has_header(peer))

        opened = open_listeners(
            address,
            accepted,
            self._may_accept,
            self.accept_failed,
            family=family,
            flags=flags,
            backlog=backlog,
            mode=mode,
        )
        self._listeners += opened
        if not self._crowded:
            for listener in opened:
                listener.start()

    @property
    def addresses(self) -> list[Address]:
        """Where it listens, as the sockets say it."""
        return [listener.address for listener in self._listeners]

    @property
    def address(self) -> Address:
        """The first of `addresses`; None when it does not listen."""
        return self._listeners[0].address if self._listeners else None

    @property
    def connections(self) -> list[tuple[Transport, MessageProtocol]]:
        """(transport, protocol) of every open connection."""
        return list(self._connections.items())

    @property
    def started(self) -> bool:
        """Does it listen?"""
        return bool(self._listeners)

    @property
    def closed(self) -> bool:
        """Has `close` been called?"""
        return self._closing

    # -- connections -------------------------------------------------------------------------------------------

    def accept_connection(self, sock: Any, ssl: TlsOption = False) -> None:  # Any: a socket of any library, or an int
        """Serve a connected socket that came from elsewhere. It belongs to the server from now on."""
        if self._closing:
            raise RuntimeError("this server has been closed")
        self._admit(sock, ssl)

    def connection_made(self, transport: Transport, protocol: MessageProtocol) -> None:
        """Hook: a connection has begun. Called where it was accepted, which may be the hub: must not block."""

    def connection_lost(self, transport: Transport, protocol: MessageProtocol, exc: Exception | None = None) -> None:
        """Hook: a connection has ended, with the error that it met if there was one. Must not block."""

    def handshake_failed(self, transport: Transport, exc: Exception) -> None:
        """Hook: a TLS handshake failed, or a PROXY header that should have come did not.

        Ports are scanned all day long, so by default it is only counted.
        """

    def accept_failed(self, exc: OSError) -> None:
        """Hook: the system cannot give us a connection that waits, as when too many files are open. Must not block.

        Called each time that this is tried: ten times a second at first, then once.
        """

    def create_protocol(self, transport: Transport) -> MessageProtocol:
        """The protocol for a new connection. A subclass may choose by what TLS has agreed on."""
        return self._protocol_factory()

    def _admit(self, sock: Any, ssl: TlsOption, peer: Address = None, has_header: bool = False) -> None:
        transport: Transport | None = None
        try:
            transport = Transport(sock, peer)
            context = server_context(ssl, transport.get_extra_info("socket"))
        except Exception:  # in the hub, where an error would stop the listener for good
            self._report()
            if transport is not None:
                transport.abort()
            return
        self.accepted += 1
        if context is None and not has_header:
            self._begin(transport)
        else:
            self._handshakes[transport] = Handshake(transport, self._handshakes)
            self._empty.clear()
            gevent.spawn(self._shake_hands, transport, context, has_header)

    def _shake_hands(self, transport: Transport, context: ssl_module.SSLContext | None, has_header: bool) -> None:
        """What comes before a connection begins, all of it before one deadline."""
        deadline = moment_after(self.timeouts.handshake)
        try:
            if has_header and not self._introduces_itself(transport, deadline, to_tls=context is not None):
                transport.close()
            elif context is not None:
                transport.start_tls(context, True, None, deadline)
        except Error as exc:
            transport.abort()
            if not self._closing:
                self.handshake_failures += 1
                self.handshake_failed(transport, exc)
        finally:
            self._handshakes.pop(transport, None)
        if not transport.closed:
            self._begin(transport)
        self._check_empty()
        self._check_room()

    def _introduces_itself(self, transport: Transport, deadline: float | None, *, to_tls: bool) -> bool:
        """Read the PROXY header. Whether the connection goes on.

        A proxy that only checks whether the server listens sends that, or nothing at all, and goes. That does not count
        as a failed handshake.
        """
        try:
            if not transport.receive_proxy_header(deadline):
                return False
        except Error as exc:
            transport.abort()
            if not self._closing:
                self.proxy_failures += 1
                self.handshake_failed(transport, exc)
            return False
        try:
            return not to_tls or transport.peek(deadline, "handshake") != b""
        except TransportError:
            return False

    def _begin(self, transport: Transport) -> None:
        try:
            protocol = self.create_protocol(transport)
            self._connections[transport] = protocol
            self._empty.clear()
            transport.on_close = self._end
            protocol.connection_made(transport)
            self.connection_made(transport, protocol)
            protocol.start()
            if self._closing:  # its handshake took longer than the server had left
                protocol.shutdown()
        except Exception:  # a protocol's own mistake must not end the server
            self._report()
            transport.abort()

    def _end(self, transport: Transport) -> None:
        protocol = self._connections.pop(transport)
        try:
            protocol.connection_lost(transport.error)
            self.connection_lost(transport, protocol, transport.error)
        except Exception:  # not for the caller, which only closed the transport
            self._report()
        self._check_empty()
        self._check_room()

    def _check_empty(self) -> None:
        if not self._connections and not self._handshakes:
            self._empty.set()

    def _is_full(self) -> bool:
        bound = self.max_connections
        return bound is not None and len(self._connections) + len(self._handshakes) >= bound

    def _may_accept(self, is_wanted: Callable[[], bool]) -> bool:
        """Whether one more connection may be accepted. If one `is_wanted()`, room is made for it where possible."""
        if not self._is_full():
            return True
        if not is_wanted():
            return False
        try:
            made = self._room.make([*self._connections.values(), *self._handshakes.values()], monotonic())
        except Exception:  # a protocol's own mistake must not stop the listener for good
            self._report()
            made = False
        if made and not self._is_full():
            return True
        self._crowded = True
        self._room.is_wanted = not made  # what was made is not there yet: HTTP/2 has to say goodbye first
        for listener in self._listeners:
            listener.pause()
        if self._alarm is None:
            self._alarm = Alarm(get_hub().loop, self._look_again)
        self._alarm.set(monotonic() + _LOOK_AGAIN_SECONDS)
        return False

    def _look_again(self) -> None:
        """Accept once more, and find out then whether that can be."""
        self._crowded = self._room.is_wanted = False
        for listener in self._listeners:
            listener.start()

    def _check_room(self) -> None:
        """Accept waiting clients, if there is room now."""
        if self._crowded and not self._is_full():
            self._look_again()

    def _report(self) -> None:
        get_hub().handle_error(self, *sys.exc_info())

    # -- running and ending ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Raises RuntimeError without `listen`, which is what starts it. Here because gevent's servers have it."""
        if not self.started:
            raise RuntimeError("nothing to serve: call listen() first")

    def run(self) -> None:
        """Serve until ``close`` is called or ^C comes; then close politely. A second ^C does not wait for that."""
        self.start()
        try:
            with interrupted_by(self._closed.set):
                self._closed.wait()
        except KeyboardInterrupt:  # raised by a signal handler that is not ours
            pass
        finally:
            self.close()

    def serve_forever(self, stop_timeout: float | None = None) -> None:
        """Serve until ``close`` is called, or an exception such as KeyboardInterrupt comes, which is passed on.

        `stop_timeout` is how long running exchanges may take then; None is this server's default.
        """
        self.start()
        try:
            self._closed.wait()
        finally:
            self.close(-1 if stop_timeout is None else stop_timeout)

    def drain(self) -> None:
        """Stop listening, and let each connection end politely: at once if idle, else with the exchange it is at.

        Who connected before is still served, also from the system's backlog. Returns at once; `close` waits.
        """
        if self._closing:
            return
        for listener in self._listeners:
            listener.accept_rest()
            listener.close()
        self._closing = True
        self._listeners.clear()
        if self._alarm is not None:
            self._alarm.close()
        if self._handshakes:
            Alarm(get_hub().loop, self._abort_handshakes).set(monotonic() + _HANDSHAKE_SECONDS)
        for _, protocol in self.connections:
            self._shut_down(protocol)

    def _shut_down(self, protocol: MessageProtocol) -> None:
        try:
            protocol.shutdown()
        except Exception:  # the other connections are to end all the same
            self._report()

    def _abort_handshakes(self) -> None:
        for transport in list(self._handshakes):
            transport.abort()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until no connection is open, for `timeout` seconds at most. Whether that is so."""
        return bool(self._empty.wait(timeout))

    def close(self, timeout: float | None = -1) -> None:
        """Stop listening, end every connection politely, abort those that are left after `timeout` seconds.

        -1 is ``timeouts.graceful``, None is for ever, 0 is at once. Returns when all are closed. Idempotent; a second
        call may have a shorter patience than the first.
        """
        self.drain()
        patience = timeout_or_default(timeout, self.timeouts.graceful)
        if patience != 0:
            self._empty.wait(patience)
        self._abort_handshakes()
        for transport, _ in self.connections:
            transport.abort()
        self._closed.set()

    stop = close

    def __repr__(self) -> str:
        where = ", ".join(map(format_address, self.addresses)) or "not listening"
        return f"<{type(self).__name__} {where}, {len(self._connections)} connections>"
