"""A server over the engine and gevent's sockets, and what it owes to clients that are slow, wrong, or gone.

    python robust_server.py 127.0.0.1 8080

Each request is answered with a JSON document that describes it. That part is `describe`; everything else is about
keeping one's promises when things go wrong. `gruvihttp.HttpServer` does all of this, and faster; this file shows what
there is to do, and how the engine helps.

The rules:

* Every wait has an end, and each phase its own: waiting for a request, for the rest of its head, for the next piece of
  its content, for the client to read, for the client to close.
* Who is late with a head or with content is told so (408). Who has asked for nothing is told nothing: an answer that
  nobody asked for would be taken for the answer to the next request.
* What went wrong in here goes to the log; the client gets a status and its phrase.
* An answer that ends the connection says so. When the client is still sending, it is heard out for a while after the
  answer, because closing a socket with unread input resets the connection, and the answer may be lost with it.
* A request that was answered without being read does not end the connection, if little of it is left.
* Once the head of an answer is out, nothing is sent that could be taken for something else: the connection is cut.
"""

from __future__ import annotations

import argparse
import json
import logging
import socket
import struct
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus
from time import monotonic
from typing import Any

from gevent.server import StreamServer

from gruvihttp import Limits, RemoteProtocolError, sansio
from gruvihttp.compat.h11 import PRODUCT_ID

IDLE_SECONDS = 60.0  # for a request to begin
HEAD_SECONDS = 10.0  # for its head to be complete, from the first byte on
CONTENT_SECONDS = 20.0  # between two pieces of content
WRITE_SECONDS = 20.0  # without progress, when the client does not read
LINGER_SECONDS = 2.0  # for the client to close, after our last word

LIMITS = Limits(content_bytes=1 << 20)  # the answer repeats the content, so it is held in memory
UNREAD_BYTES = 65536  # of content that is read for nothing, to keep the connection
LINGER_BYTES = 1 << 20  # that are dropped at the end
RECEIVE_BYTES = 65536

log = logging.getLogger("robust_server")


class TooLate(Exception):
    """The client has let a deadline pass."""


class Gone(Exception):
    """The client has gone, or does not read. Not OSError: that may be about a file of ours, and is our own fault."""


class Client:
    """One connection: bytes become events, events become bytes, and each wait has an end."""

    def __init__(self, sock: Any) -> None:
        self.sock = sock
        self.connection = sansio.Connection(sansio.SERVER, strict=True, limits=LIMITS)

    def send(self, *events: Any) -> None:
        """Send events, together."""
        data = memoryview(b"".join(self.connection.send(event) or b"" for event in events))
        self.sock.settimeout(WRITE_SECONDS)
        try:
            while data:  # not sendall: the limit is for each step forward
                data = data[self.sock.send(data) :]
        except OSError as exc:
            raise Gone from exc
        finally:
            if data:
                self.connection.send_failed()  # half a message may be out: nobody must send another one

    def receive(self, seconds: float) -> None:
        """Take what the client says next. TooLate if that is nothing."""
        self.sock.settimeout(max(seconds, 0.001))
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except TimeoutError:
            raise TooLate from None
        except ConnectionError:  # gone without a goodbye: for us, the end of what it says
            data = b""
        self.connection.receive_data(data)

    def next_event(self, seconds: Callable[[], float]) -> Any:
        """The next event. `seconds()` is how long the next wait may be."""
        while (event := self.connection.next_event()) is sansio.NEED_DATA:
            if self.connection.they_are_waiting_for_100_continue:
                self.send(sansio.InformationalResponse(status_code=100, reason="Continue"))
            self.receive(seconds())
        return event

    def next_request(self) -> Any:
        """The next request; None if the client closes, or has nothing to say."""
        if not any(self.connection.trailing_data):
            try:
                self.receive(IDLE_SECONDS)
            except TooLate:
                return None
        deadline = monotonic() + HEAD_SECONDS  # a moment: dripping does not move it
        event = self.next_event(lambda: deadline - monotonic())
        return event if type(event) is sansio.Request else None

    def read_content(self) -> bytes:
        """The content of the request, as a whole."""
        content = []
        while type(event := self.next_event(lambda: CONTENT_SECONDS)) is sansio.Data:
            content.append(event.data)
        return b"".join(content)

    def skip_content(self) -> None:
        """Read what nobody wanted of the request, unless it is much, or late, or waits for our consent."""
        left = UNREAD_BYTES
        deadline = monotonic() + LINGER_SECONDS
        while self.connection.their_state is sansio.SEND_BODY and left >= 0:
            if self.connection.they_are_waiting_for_100_continue:
                return
            try:
                event = self.next_event(lambda: deadline - monotonic())
            except (TooLate, RemoteProtocolError):
                return
            left -= len(event.data) if type(event) is sansio.Data else 0

    def answer(self, request: Any, status: HTTPStatus, headers: list[tuple[str, str]], content: bytes) -> None:
        """Send a whole answer; to HEAD, without its content."""
        fields = [("Date", formatdate(usegmt=True)), ("Server", PRODUCT_ID), *headers]
        fields.append(("Content-Length", str(len(content))))
        if self.connection.their_state in (sansio.SEND_BODY, sansio.ERROR, sansio.IDLE):
            fields.append(("Connection", "close"))  # there is more to come that nobody will read
        head = sansio.Response(status_code=status, headers=fields, reason=status.phrase)
        if request is not None and request.method == b"HEAD":
            self.send(head, sansio.EndOfMessage())
        else:
            self.send(head, sansio.Data(data=content), sansio.EndOfMessage())

    def refuse(self, request: Any, status: int, headers: list[tuple[str, str]] = []) -> None:  # noqa: B006  # not changed
        """Answer with a status and its phrase, if an answer is still possible."""
        if self.connection.our_state not in (sansio.IDLE, sansio.SEND_RESPONSE):
            return
        if status != 408:  # who is late is not waited for again
            self.skip_content()
        known = HTTPStatus(status)
        text = f"{known.value} {known.phrase}\n".encode()
        self.answer(request, known, [("Content-Type", "text/plain; charset=utf-8"), *headers], text)

    def serve(self) -> None:
        """Answer one request after another, and close."""
        try:
            while self.serve_one():
                self.connection.start_next_cycle()
            if self.connection.our_state is sansio.SEND_BODY:
                self.cut()  # in the middle of an answer, which must not look whole
            else:
                self.close()
        except Gone:  # there is nobody to tell
            self.cut()

    def serve_one(self) -> bool:
        """Answer one request. Can the connection be used for another one?"""
        request = None
        try:
            request = self.next_request()
            if request is None:
                return False
            respond(self, request)
        except TooLate:
            self.refuse(request, 408)
        except RemoteProtocolError as exc:
            self.refuse(request, exc.error_status_hint)
        except Gone:
            raise
        except Exception:
            log.exception("%s failed", request)
            self.refuse(request, 500)
        return self.connection.states == {sansio.CLIENT: sansio.DONE, sansio.SERVER: sansio.DONE}

    def close(self) -> None:
        """Say that we are done, hear the client out for a while, and close."""
        deadline = monotonic() + LINGER_SECONDS
        left = LINGER_BYTES
        try:
            self.sock.shutdown(socket.SHUT_WR)
            while left > 0 and (seconds := deadline - monotonic()) > 0:
                self.sock.settimeout(seconds)
                received = len(self.sock.recv(RECEIVE_BYTES))
                if not received:
                    return
                left -= received
        except OSError as exc:
            raise Gone from exc
        self.cut()

    def cut(self) -> None:
        """Have the connection reset when the socket is closed: nothing is to linger for who does not listen."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


# the application


METHODS = ("GET", "HEAD", "POST")


def respond(client: Client, request: Any) -> None:
    if request.method.decode("ascii") not in METHODS:
        return client.refuse(request, 405, [("Allow", ", ".join(METHODS))])
    content = describe(request, client.read_content())
    client.answer(request, HTTPStatus.OK, [("Content-Type", "application/json; charset=utf-8")], content)


def describe(request: Any, content: bytes) -> bytes:
    """A JSON document with the parts of a request. Fields may hold any byte, hence ISO-8859-1."""
    document = {
        "method": request.method.decode("ascii"),
        "target": request.target.decode("ascii"),
        "headers": [(name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers],
        "body": content.decode("utf-8", "replace"),
    }
    return json.dumps(document, sort_keys=True, indent=4).encode("utf-8")


# the server


def handle(sock: Any, address: Any) -> None:
    log.info("%s:%s has connected", *address[:2])
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    Client(sock).serve()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--most-seconds", type=float, metavar="N", help="no phase may last longer than this")
    options = parser.parse_args()
    if options.most_seconds is not None:
        for phase in ("IDLE", "HEAD", "CONTENT", "WRITE", "LINGER"):
            name = f"{phase}_SECONDS"
            globals()[name] = min(globals()[name], options.most_seconds)
    logging.basicConfig(level=logging.INFO)
    server = StreamServer((options.host, options.port), handle)
    server.start()
    print(f"listening on http://{options.host}:{server.server_port}/", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
