"""Servers that do not answer as they should, as scripts of a `ScriptedPeer`, and addresses where nobody answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gevent import socket
from gevent.event import Event

from gruvihttp.testing import RawPeer

__all__ = ["closing", "events", "resetting", "saying", "silent", "unaccepting", "unheard"]


def silent(peer: RawPeer) -> None:
    """Reads, and answers nothing."""
    peer.read_to_end()


def closing(peer: RawPeer) -> None:
    """Closes after the head of a request."""
    peer.read_until()


def resetting(peer: RawPeer) -> None:
    """Resets the connection after the head of a request."""
    peer.read_until()
    peer.reset()


def saying(answer: bytes, *, stays: bool = False) -> Callable[[RawPeer], None]:
    """Sends `answer` in pieces, and closes the connection unless it `stays`."""

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send_in_pieces(answer)
        if stays:
            peer.read_to_end()

    return script


def unheard() -> str:
    """A URL where no server listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/"


@contextmanager
def unaccepting() -> Iterator[str]:
    """A URL whose server does not accept, and whose backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]  # until the system queues no more
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
        for filler in fillers:
            filler.close()


def events(pieces: list[bytes], heard: Event, patience: float) -> Callable[[RawPeer], None]:
    """Sends each piece as a chunk once the one before it is `heard`."""

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert heard.wait(patience), "the piece before has not arrived"
            heard.clear()
        peer.send(b"0\r\n\r\n")

    return script
