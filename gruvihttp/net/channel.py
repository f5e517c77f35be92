"""`Channel`: one connected byte stream, over TCP, a Unix socket or TLS alike. It knows no messages.

This file has its beginning, its end and its facts; `receiving` and `sending` have what goes on in between.
"""

from __future__ import annotations

import _socket
import ssl
import struct
from collections.abc import Callable
from typing import Any, NoReturn

from gevent.monkey import get_original

from gruvihttp.errors import Timeout, TransportError
from gruvihttp.net.proxyprotocol import MalformedProxyHeader, scan
from gruvihttp.net.receiving import READ_BYTES, closed_error
from gruvihttp.net.sending import Sending
from gruvihttp.net.sockets import Address, format_address, set_up, take_over, unix_credentials
from gruvihttp.net.tlslayer import TlsLayer, handshake_error
from gruvihttp.net.watchers import Watcher, close_watcher

__all__ = ["Channel"]

_get_ident: Callable[[], int] = get_original("_thread", "get_ident")  # of threads, also where that was patched
_PEEK_BYTES = 4096  # more than the header of any proxy, unless it passes on certificates
_LINGER_ZERO = struct.pack("ii", 1, 0)


class Channel(Sending):
    """A connected stream of bytes that owns its socket. Belongs to the thread whose hub was current when it was made.

    One greenlet may receive while another sends. A second receiver, or a second sender, gets RuntimeError.
    Errors of the system come as TransportError with its errno, deadlines that pass as Timeout. Foreign exceptions
    that are thrown into a waiting greenlet pass through: a receiver loses nothing by them, an interrupted send
    leaves the channel `broken`.

    ``closed``: our side has closed it. ``eof``: the peer will send nothing more. ``broken``: the peer is gone, or a
    send was interrupted half way. ``error``: the first error of the system. ``on_close(channel)`` is called once,
    when the socket is closed, wherever that happens.
    """

    __slots__ = ("__weakref__", "_peername", "_proxy", "_sockname", "on_close")

    def __init__(self, sock: Any, peername: Address = None) -> None:  # Any: see `take_over`
        """Take over `sock`: a socket of any library, or a descriptor. `peername` saves asking the system."""
        sock = take_over(sock)
        set_up(sock)
        super().__init__(sock)
        self._peername = peername
        self._sockname: Address = None
        self._proxy: tuple[Address, Address] | None = None
        self.on_close: Callable[[Any], object] | None = None  # Any: the subclass that it is set on

    # -- before everything else --------------------------------------------------------------------------------

    def peek(self, deadline: float | None = None, phase: str = "read") -> bytes:
        """Wait until something has arrived and return the beginning of it, which is not taken away.

        ``b""`` at the end of the stream. Raises Timeout(phase) or TransportError. Not for streams that speak TLS.
        """
        while True:
            try:
                return self._sock.recv(_PEEK_BYTES, _socket.MSG_PEEK)
            except BlockingIOError:
                self._wait_readable(deadline, phase)
            except OSError as exc:
                self._fail(exc)

    def receive_proxy_header(self, deadline: float | None = None) -> bool:
        """Read a header of the PROXY protocol; ``peername`` and ``sockname`` are what it says from now on.

        It comes before everything else, TLS included; nothing behind it is read. False if the peer goes, or lets the
        deadline pass, without having sent anything: a proxy does so that only checks whether the server listens.

        Raises TransportError if what arrives is no such header, and Timeout("proxy") if it is late.
        """
        header = None
        held = bytearray()
        try:
            while header is None:
                arrived = self.peek(deadline, "proxy")
                if not arrived:
                    raise TransportError("PROXY header: the peer closed the connection")
                header = scan(held + arrived)
                held += self._sock.recv(len(arrived) if header is None else header.size - len(held))
        except MalformedProxyHeader as exc:
            raise TransportError(f"PROXY header: {exc}") from exc
        except (Timeout, TransportError):
            if held:
                raise
            return False
        if header.source is not None:
            self._proxy = (self._address("peername"), self._address("sockname"))
            self._peername, self._sockname = header.source, header.destination
        return True

    # -- TLS ---------------------------------------------------------------------------------------------------

    def start_tls(
        self,
        context: ssl.SSLContext,
        server_side: bool,
        server_hostname: str | None = None,
        deadline: float | None = None,
    ) -> None:
        """Do a TLS handshake and speak TLS from now on. Blocks this greenlet until `deadline`.

        Raises Timeout(phase="handshake"), or TransportError if the handshake fails; the ssl error is its cause.
        After an error the channel is unusable: close it.
        """
        if self._tls is not None:
            raise RuntimeError("this channel speaks TLS already")
        if self._reader is not None or self._writer is not None or self._parked is not None:
            raise RuntimeError("cannot start TLS while a greenlet receives or sends, or while the channel is parked")
        layer = TlsLayer(
            self._sock, context, server_side=server_side, server_hostname=server_hostname, on_stuck=self._on_stuck
        )
        self._tls = layer
        try:
            self._shake_hands(layer, deadline)
        except BaseException:
            self._break()
            raise
        self._recv, self._send, self._empty = self._recv_tls, layer.send, False

    def _shake_hands(self, layer: TlsLayer, deadline: float | None) -> None:
        while True:
            try:
                return layer.handshake()
            except BlockingIOError:
                self._wait_readable(deadline, "handshake")
            except OSError as exc:
                self.error = handshake_error(exc)
                raise self.error from exc

    @property
    def ragged_eof(self) -> bool:
        """Whether a TLS stream has ended without close_notify: it may have been cut."""
        return self._tls is not None and self._tls.ragged_eof

    # -- ending ------------------------------------------------------------------------------------------------

    def shutdown_write(self) -> None:
        """Tell the peer that nothing more will come. Reading goes on. Raises nothing if the peer is gone already."""
        try:
            if self._tls is not None:
                self._tls.close_notify()
                if self._tls.unsent_bytes:  # the end of the TCP stream would overtake it
                    return
            self._sock.shutdown(_socket.SHUT_WR)
        except OSError:
            self.broken = True

    def linger(self, max_bytes: int, deadline: float | None) -> bool:
        """Read and drop input until it ends: True. False after `max_bytes`, at `deadline`, or when it fails.

        A socket that is closed with unread input resets the connection, and the peer may lose what we said last.
        """
        try:
            while max_bytes > 0 and not self.eof:
                try:
                    dropped = self._sock.recv(READ_BYTES)  # below TLS: there is no need to decrypt it
                except BlockingIOError:
                    self._wait_readable(deadline, "linger")
                    continue
                self.eof = not dropped
                max_bytes -= len(dropped)
        except OSError:  # Timeout is one, too
            return False
        return self.eof

    def close(self) -> None:
        """Close the socket. Idempotent, never waits. Greenlets that wait on the channel get TransportError.

        What the system has taken from `send` is still delivered, unless input was left unread: see `linger`.
        """
        if self.closed:
            return
        if self._tls is not None and not self.broken:
            self._tls.close_notify()
        self._release()

    def abort(self) -> None:
        """Close at once and drop what is unsent; over TCP the peer gets a reset. Idempotent."""
        if self.closed:
            return
        try:
            self._sock.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _LINGER_ZERO)
        except OSError:  # some systems refuse once the peer has gone
            pass
        self._release()

    def forget(self) -> None:
        """Close our descriptor without telling the peer or waking greenlets: after a fork it is the parent's."""
        if not self.closed:
            self.on_close = None
            self._release()

    def _release(self) -> None:
        self.closed = True
        _close_all((self._watcher, self._write_watcher))  # a watcher must be gone before its descriptor is
        for resource in (self._alarm, self._stall_alarm, self._tls):
            if resource is not None:
                resource.close()
        self._sock.close()
        self._recv = self._send = _refuse_closed
        self._parked = self._room_wanted = None
        if (self._reader is not None or self._writer is not None) and self._hub.loop is not None:
            self._hub.loop.run_callback(self._wake_all)
        if (on_close := self.on_close) is not None:
            self.on_close = None
            on_close(self)

    def __del__(self) -> None:
        """It was forgotten, not closed. The hub must not go on watching a descriptor that soon is another socket's.

        libev ends the process when it meets one that was closed behind its back. We may be in any thread here.
        """
        if getattr(self, "closed", True) or self._hub.loop is None:  # the former: its constructor has failed
            return
        watchers = (self._watcher, getattr(self, "_write_watcher", None))
        if self._hub.thread_ident == _get_ident():
            _close_all(watchers)
        else:
            self._hub.loop.run_callback_threadsafe(_close_all, watchers, self._sock)  # which stays open until then

    def _wake_all(self) -> None:
        for waiting in (self._reader, self._writer):
            if waiting is not None:
                waiting.throw(closed_error())

    # -- facts -------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """The file descriptor; -1 when closed."""
        return self._sock.fileno()

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # Any: as many types as names
        """A fact about the connection, or `default` where there is none.

        Names: ``peername``, ``sockname``, ``proxy`` (peername and sockname of the socket itself, where a PROXY header
        has said others), ``unix_creds`` (pid, uid, gid), ``socket``, and for TLS ``ssl`` (the SSLObject), ``sslctx``,
        ``server_hostname``, ``alpn``. The socket is the raw one: good for its options, not for reading or writing.
        """
        found = self._find_fact(name)
        return default if found is None else found

    def _find_fact(self, name: str) -> Any:
        if name in ("peername", "sockname"):
            return self._address(name)
        if name == "proxy":
            return self._proxy
        if name == "socket":
            return self._sock
        if name == "unix_creds":
            return None if self.closed else unix_credentials(self._sock)
        if self._tls is None:
            return None
        session = self._tls.object
        if name == "ssl":
            return session
        if name == "sslctx":
            return session.context
        if name == "server_hostname":
            return session.server_hostname
        if name == "alpn":
            return session.selected_alpn_protocol()
        return None

    def _address(self, name: str) -> Address:
        slot = f"_{name}"
        known = getattr(self, slot)
        if known is None and not self.closed:
            try:
                known = self._sock.getpeername() if name == "peername" else self._sock.getsockname()
            except OSError:  # not connected any more
                return None
            setattr(self, slot, known)
        return known

    def __repr__(self) -> str:
        addresses = (self._address("sockname"), self._address("peername"))
        ends = " -> ".join("?" if address is None else format_address(address) for address in addresses)
        return f"<{type(self).__name__} {ends} {' '.join(self._states())}>"

    def _states(self) -> list[str]:
        if self.closed:
            return ["closed"]
        words = {
            "tls": self._tls,
            "receiving": self._reader,
            "sending": self._writer,
            "parked": self._parked,
            "eof": self.eof,
            "broken": self.broken,
        }
        return ["open", *(word for word, holds in words.items() if holds)]


def _close_all(watchers: tuple[Watcher | None, ...], _: Any = None) -> None:
    for watcher in watchers:
        if watcher is not None:
            close_watcher(watcher)


def _refuse_closed(_: object) -> NoReturn:
    raise closed_error()
