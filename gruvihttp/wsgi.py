"""`WsgiGateway`: an exchange becomes a call of a WSGI application (PEP 3333), and what it returns the response.

HTTP versions, framing and sockets are not known here: the exchange takes a head and pieces of content and sees to it
that they leave in time.
"""

from __future__ import annotations

import io
import logging
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from traceback import format_exception
from types import TracebackType
from typing import Any

from gevent import GreenletExit

from gruvihttp.environ import Environ, connection_environ, request_environ
from gruvihttp.errors import RemoteProtocolError, Timeout, TransportError
from gruvihttp.exchanges.base import FileSender, ServedConnection, ServerExchange
from gruvihttp.exchanges.response import ResponseHead
from gruvihttp.forwarded import TrustedProxies
from gruvihttp.hijack import WebSocketCompat, offer_hijack
from gruvihttp.responsehead import content_charset, response_head
from gruvihttp.sansio.events import Request
from gruvihttp.sansio.framing import has_no_content
from gruvihttp.wsaccepting import LazyWebSocket, dismiss_on_drain
from gruvihttp.wsmessages import is_available

__all__ = ["Application", "ErrorStream", "FileWrapper", "WsgiGateway"]

ExcInfo = tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
StartResponse = Callable[..., Callable[[bytes], object]]
Application = Callable[[Environ, StartResponse], Iterable[bytes]]

log = logging.getLogger("gruvihttp.server")
_TEXT = (b"Content-Type", b"text/plain; charset=utf-8")
_LEAST_SENDFILE_BYTES = 65536  # less is joined with the head and leaves with it
_EXCEEDED = -1  # in place of the room for content: there was more of it


class WsgiGateway:
    """Calls `application` for exchanges.

    `server_name` goes into environ as SERVER_NAME; without it, the address that the client connected to does. `debug`
    shows an application's traceback to the client. `proxies` may change in environ what trusted proxies know better.
    `multiprocess` says whether other processes run the application, too. The environ of an exchange becomes its
    `notes`. `websocket_compat` names the server that is imitated for libraries which look for the socket of a request
    that asks for another protocol.
    """

    def __init__(
        self,
        application: Application,
        server_name: str | None = None,
        *,
        debug: bool = False,
        proxies: TrustedProxies | None = None,
        websocket_compat: WebSocketCompat = "gevent",
        multiprocess: bool = False,
    ) -> None:
        if not callable(application):
            raise ValueError(f"a WSGI application must be callable, and {application!r} is not")
        if websocket_compat not in (None, "gevent", "werkzeug", "gunicorn"):
            raise ValueError(f"websocket_compat must be gevent, werkzeug, gunicorn or None, not {websocket_compat!r}")
        self.server_name = server_name
        self._application = application
        self._debug = debug
        self._proxies = proxies
        self._websocket_compat: WebSocketCompat = websocket_compat
        self._multiprocess = multiprocess

    def __call__(self, exchange: ServerExchange) -> None:
        """Run the application for one exchange. What it raises is logged, and answered if that is possible."""
        call = _Call(exchange)
        try:
            result = self._application(self._environ(exchange), call.start_response)
            if type(result) is list:  # nearly always; it has no close()
                call.respond_at_once(result)
            else:
                call.respond(result)
        except (GreenletExit, KeyboardInterrupt, SystemExit):
            exchange.abort()
            raise
        except BaseException as exc:  # a Timeout of gevent's is the application's own failure, and no Exception
            self._fail(exchange, exc)

    def _fail(self, exchange: ServerExchange, exc: BaseException) -> None:
        """Answer what went wrong; where the head has left, end the connection rather than fake an end."""
        if exchange.detached and isinstance(exc, _USUAL_AFTER_HIJACK):
            return
        status = _status_of(exc) if exc is exchange.failure else 500
        if status is None:
            exchange.abort()
            return
        if status == 500:
            log.error("%s %s failed", *_named(exchange.request), exc_info=exc)
        if exchange.finished:
            return
        if exchange.head_sent:
            exchange.break_off()
        elif self._debug and status == 500:
            exchange.send_head(ResponseHead(500, b"Internal Server Error", [_TEXT]))
            exchange.finish("".join(format_exception(exc)).encode("utf-8", "replace"))
        else:
            exchange.finish_with_error(status)

    def _environ(self, exchange: ServerExchange) -> Environ:
        connection = exchange.connection
        base = connection.notes
        if base is None:
            base = connection.notes = connection_environ(connection.channel, self.server_name)
            base["gruvihttp.protocol"] = connection.owner
            base["gruvihttp.client_disconnected"] = connection.peer_has_gone
            base["wsgi.early_hints"] = partial(_send_early_hints, connection)
            base["wsgi.errors"] = _error_stream
            base["wsgi.file_wrapper"] = FileWrapper
            base["wsgi.multiprocess"] = self._multiprocess
        environ = request_environ(base, exchange.request)
        if self._proxies is not None:
            self._believe(self._proxies, environ, exchange)
        exchange.notes = environ
        environ["wsgi.input"] = exchange.open_content()
        if connection.multiplexed:
            environ["wsgi.early_hints"] = partial(_send_early_hints, exchange)
            environ["gruvihttp.client_disconnected"] = exchange.peer_has_gone
        environ["gruvihttp.trailers"] = exchange.response_trailers
        environ["gruvihttp.request_trailers"] = exchange.request_trailers
        if exchange.upgrade:
            self._offer(environ, exchange)
        return environ

    def _offer(self, environ: Environ, exchange: ServerExchange) -> None:
        """Let the application take a connection whose client would rather speak another protocol."""
        sock = offer_hijack(environ, exchange, self._websocket_compat)
        if sock is not None and b"websocket" in exchange.upgrade:
            dismiss_on_drain(sock)
            if is_available():
                environ["wsgi.websocket"] = LazyWebSocket(environ)

    def _believe(self, proxies: TrustedProxies, environ: Environ, exchange: ServerExchange) -> None:
        try:
            proxies.adjust(environ, environ["gruvihttp.peername"])
        except RemoteProtocolError as exc:
            exchange.failure = exc  # the peer's, so it gets the status
            peer = environ["REMOTE_ADDR"] or "at a Unix socket"
            log.info("%s %s from the trusted proxy %s was refused: %s", *_named(exchange.request), peer, exc)
            raise


class _Call:
    """One call of the application: what it said through start_response, and what it writes."""

    __slots__ = ("_exchange", "_head", "_room")

    def __init__(self, exchange: ServerExchange) -> None:
        self._exchange = exchange
        self._head: ResponseHead | None = None
        self._room: int | None = None  # what Content-Length leaves for further blocks, or _EXCEEDED

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: ExcInfo | None = None
    ) -> Callable[[bytes], None]:
        """PEP 3333's start_response. What the application does wrong is raised there, in its own frame."""
        if exc_info is not None:
            try:
                if self._exchange.head_sent and exc_info[1] is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # no cycle of frame and traceback
        elif self._head is not None:
            raise AssertionError("start_response was called a second time without exc_info")
        self._head = head = response_head(status, headers)
        self._room = head.content_length
        self._exchange.send_head(head)
        return self.write

    def write(self, data: bytes) -> None:
        """Send a piece of content now."""
        self._send(data)

    def _send(self, data: bytes) -> bool:
        """Send a block, or as much of it as was announced. Is there any use in another one?"""
        block = data if type(data) is bytes else self._as_bytes(data)
        if not block:
            return True
        if self._head is None:
            if self._exchange.detached:
                return False
            raise AssertionError("content came before start_response was called")
        if self._room is not None:
            block = self._fitting(block, self._room)
        wanted: bool = self._exchange.send_data(block)
        return wanted and self._room != _EXCEEDED

    def _fitting(self, block: bytes, room: int) -> bytes:
        """As much of a block as there is room for. The rest is dropped, and logged once."""
        if len(block) <= room:
            self._room = room - len(block)
            return block
        if room != _EXCEEDED:
            request = self._exchange.request
            log.error("%s %s gave more content than its Content-Length: the rest is dropped", *_named(request))
        self._room = _EXCEEDED
        return block[: max(room, 0)]

    def respond_at_once(self, blocks: Sequence[bytes]) -> None:
        """Send all of the content, and end the response."""
        content = blocks[0] if len(blocks) == 1 else b"".join([self._as_bytes(block) for block in blocks])
        if type(content) is not bytes:
            content = self._as_bytes(content)
        if self._head is None:
            if self._exchange.detached:
                return
            raise AssertionError("the application returned without calling start_response")
        if self._room is not None and len(content) > self._room:
            content = self._fitting(content, self._room)
        self._exchange.finish(content)

    def respond(self, result: Iterable[bytes]) -> None:
        """Send the content that the application returned piece by piece, end the response, close the iterable."""
        try:
            if self._exchange.detached:  # it may even be None
                return
            if isinstance(result, (tuple, bytes, str)):  # bare bytes are a mistake, but byte by byte would not help
                self.respond_at_once(result if isinstance(result, tuple) else (result,))
                return
            if self._is_all_said() or type(result) is FileWrapper and self._send_file(result):
                self._exchange.finish()
                return
            for block in _blocks_of(result):
                if not self._send(block):
                    break
            if self._head is None and not self._exchange.detached:
                raise AssertionError("the application returned without calling start_response")
            self._exchange.finish()
        finally:
            if hasattr(result, "close"):
                self._exchange.connection.flush_soon()  # close() may take its time
                result.close()

    def _is_all_said(self) -> bool:
        """Would content be neither sent nor counted? Then the application need not make any."""
        head = self._head
        if head is None or (head.content_length is None and head.status not in (204, 304)):
            return False
        return has_no_content(self._exchange.request.method, head.status)

    def _send_file(self, wrapper: FileWrapper) -> bool:
        """Have the system send a file, if it can, and if what was announced is there."""
        exchange = self._exchange
        part = wrapper.on_disk()
        announced = self._head.content_length if self._head is not None else None
        if part is None or announced is None or not isinstance(exchange, FileSender):
            return False
        fd, offset, left = part
        return _LEAST_SENDFILE_BYTES <= announced <= left and exchange.send_file(fd, offset, announced)

    def _as_bytes(self, block: Any) -> bytes:
        """A block of content; text is encoded by the response's charset, or ISO-8859-1."""
        if type(block) is bytes:
            return block
        if isinstance(block, str):
            if self._head is None:
                raise AssertionError("content came before start_response was called")
            return block.encode(content_charset(self._head.fields))
        if isinstance(block, (bytes, bytearray, memoryview)):
            return bytes(block)
        raise TypeError(f"an application's content must be bytes, not {type(block).__name__}")


class FileWrapper:
    """`wsgi.file_wrapper`: the content of a file-like object, in blocks of `block_bytes`."""

    def __init__(self, filelike: Any, block_bytes: int = 65536) -> None:
        self._filelike = filelike
        self._block_bytes = block_bytes
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def on_disk(self) -> tuple[int, int, int] | None:
        """Descriptor, position and the bytes from there on, if this is a file of the system, and nothing but that.

        Many other objects have a `fileno()`, and what they read is not what is in that file: a GzipFile, for one.
        """
        filelike = self._filelike
        raw = filelike.raw if type(filelike) is io.BufferedReader else filelike
        if type(raw) is not io.FileIO:
            return None
        try:
            facts = os.fstat(raw.fileno())
            position = filelike.tell()
        except (OSError, ValueError):  # a pipe has no position; a closed file has nothing
            return None
        return (raw.fileno(), position, facts.st_size - position) if stat.S_ISREG(facts.st_mode) else None

    def __iter__(self) -> FileWrapper:
        return self

    def __next__(self) -> bytes:
        block: bytes = self._filelike.read(self._block_bytes)
        if not block:
            raise StopIteration
        return block


class ErrorStream:
    """`wsgi.errors`: text that becomes log records, one a line."""

    def write(self, text: str) -> int:
        """Log each line of `text`."""
        for line in text.splitlines():
            if line.strip():
                log.error("%s", line)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Log each of `lines`."""
        self.write("".join(lines))

    def flush(self) -> None:
        """Nothing is held."""


_error_stream = ErrorStream()

# How applications end that have taken the connection: some libraries say so, some meet a client that has gone.
_USUAL_AFTER_HIJACK = (StopIteration, OSError)


def _send_early_hints(target: ServedConnection | ServerExchange, headers: Iterable[tuple[str, str]]) -> None:
    """`wsgi.early_hints`: send 103 with these fields, at once, if the final response has not begun."""
    head = response_head("200 OK", list(headers))  # checked as those of any response
    target.send_early_hints(head.fields)


def _named(request: Request) -> tuple[str, str]:
    """Method and target, for the log."""
    return request.method.decode("ascii"), request.target.decode("ascii")


def _status_of(exc: BaseException) -> int | None:
    """The status that answers a failure of the connection; None if the client is not there to be answered."""
    if isinstance(exc, RemoteProtocolError):
        return exc.status  # also where the content ended too soon: a client that has closed one way may still listen
    if isinstance(exc, Timeout) and exc.phase == "content":
        return 408
    if isinstance(exc, (TransportError, Timeout)):
        return None
    return 500  # a timer of the application's, say, that went off while it read


def _blocks_of(result: Iterable[bytes]) -> Iterator[bytes]:
    try:
        return iter(result)
    except TypeError as exc:
        raise TypeError(f"an application returns an iterable of bytes, and this one returned {result!r:.80}") from exc
