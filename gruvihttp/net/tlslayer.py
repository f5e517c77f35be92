"""TLS between a channel and its socket: `TlsLayer` has ``recv`` and ``send`` like a non-blocking socket.

It drives an ``ssl.SSLObject`` over two memory buffers, which works with every SSLContext; gevent's own TLS sockets
refuse contexts of the standard library. It never waits: where a socket would block, it raises BlockingIOError.

What must stay true:

* `recv` returns less than it was asked for only when no decrypted byte and no whole record is left in here. So
  after a short read the readiness of the file descriptor tells the truth again; `pending` tells it at other times.
* Plaintext that `send` accepted may wait in here as ciphertext until `flush` gets rid of it. While there is any,
  `send` accepts nothing more, so what waits is bounded by one piece.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable

from gruvihttp.errors import TransportError
from gruvihttp.net.sockets import BytesLike, RawSocket, transport_error

__all__ = ["TlsLayer", "handshake_error"]

# What one ssl call is given at most. Four records: few calls, and little that waits here when the peer is slow.
PIECE_BYTES = 65536


class TlsLayer:
    """One TLS session over a raw non-blocking socket. `on_stuck` is called when ciphertext begins to wait in here."""

    __slots__ = ("_held", "_incoming", "_on_stuck", "_outgoing", "_sock", "_unsent", "ended", "object", "ragged_eof")

    def __init__(
        self,
        sock: RawSocket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None,
        on_stuck: Callable[[], None],
    ) -> None:
        self._sock = sock
        self._on_stuck = on_stuck
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._unsent: BytesLike = b""
        self._held = b""
        self.ended = False
        self.ragged_eof = False
        self.object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )

    @property
    def unsent_bytes(self) -> int:
        """How much ciphertext waits in here until the peer reads."""
        return len(self._unsent)

    def pending(self) -> bool:
        """May `recv` have something, though the socket is not readable?"""
        return bool(self.ended or self._held or self._incoming.pending or self.object.pending())

    def handshake(self) -> None:
        """Go on with the handshake; returns when it is done.

        Raises BlockingIOError when the peer has to say something first, ssl.SSLError when it failed.
        """
        while True:
            try:
                self.object.do_handshake()
                self.flush()
                return
            except ssl.SSLWantReadError:
                self.flush()
                self._fill()
            except ssl.SSLError:
                self._flush_quietly()  # the alert, so that the peer learns why
                raise

    def recv(self, size: int) -> bytes:
        """Up to `size` decrypted bytes; ``b""`` at the end of the stream.

        Raises BlockingIOError when there is nothing yet, and the socket's own errors.
        """
        if self._held:
            held, self._held = self._held[:size], self._held[size:]
            return held
        parts: list[bytes] = []
        room = size
        while room and not self.ended:
            try:
                part = self.object.read(room)
            except ssl.SSLWantReadError:
                if self._outgoing.pending:  # a key update wants its answer
                    self._flush_quietly()
                if parts:
                    break
                self._fill()
                continue
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError) as exc:
                self.ragged_eof = not isinstance(exc, ssl.SSLZeroReturnError)
                self.ended = True
                break
            if not part:
                self.ended = True
                break
            parts.append(part)
            room -= len(part)
            if not self._incoming.pending and not self.object.pending():
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def send(self, content: BytesLike) -> int:
        """Encrypt and send as much as the socket takes; how many bytes of `content` that was.

        Raises BlockingIOError when it is none.
        """
        if self._unsent and not self.flush():
            raise BlockingIOError
        view = memoryview(content)
        done = 0
        while done < len(view):
            try:
                done += self.object.write(view[done : done + PIECE_BYTES])
            except ssl.SSLWantReadError as exc:
                raise ssl.SSLError("the peer demands a renegotiation, which is not supported") from exc
            if not self.flush():
                break
        return done

    def flush(self) -> bool:
        """Send waiting ciphertext; True when none is left."""
        while True:
            if not self._unsent:
                if not self._outgoing.pending:
                    return True
                self._unsent = self._outgoing.read()
            waiting = memoryview(self._unsent)
            try:
                sent = self._sock.send(waiting)
            except BlockingIOError:
                sent = 0
            self._unsent = waiting[sent:] if sent < len(waiting) else b""
            if self._unsent:
                self._on_stuck()
                return False

    def close(self) -> None:
        """Let go of the callback for stuck output. The facts of the session stay."""
        self._on_stuck = _nothing

    def close_notify(self) -> None:
        """Say that nothing more will be sent. Reading can go on: what is decrypted already is kept aside.

        OpenSSL's shutdown also tries to read, and fails when it finds content; so it is shown empty buffers.
        """
        while self.object.pending():
            self._held += self.object.read(self.object.pending())
        unread = self._incoming.read()
        try:
            self.object.unwrap()
        except ssl.SSLError:  # the usual one says that the peer has not answered yet
            pass
        if unread:
            self._incoming.write(unread)
        self._flush_quietly()

    def _fill(self) -> None:
        arrived = self._sock.recv(PIECE_BYTES)
        if arrived:
            self._incoming.write(arrived)
        else:
            self._incoming.write_eof()

    def _flush_quietly(self) -> None:
        try:
            self.flush()
        except OSError:  # the next read or send meets it again
            self._unsent = b""


def handshake_error(exc: OSError) -> TransportError:
    """The error for a failed handshake, with what can be done about it."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        return TransportError(f"TLS handshake: the peer's certificate is not accepted: {exc.verify_message}")
    if isinstance(exc, ssl.SSLEOFError):
        return TransportError("TLS handshake: the peer closed the connection; perhaps it does not speak TLS here")
    if isinstance(exc, ssl.SSLError):
        if exc.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"):
            return TransportError(f"TLS handshake: the peer does not speak TLS ({exc.reason})")
        return TransportError(f"TLS handshake: {exc.reason or exc}")
    return transport_error(exc, "TLS handshake")


def _nothing() -> None:
    """What is done for ciphertext that is stuck in a layer that is closed."""
