"""The interfaces of exchanges and of their connections, on both sides, the same for every version of HTTP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from gruvihttp.exchanges.request import ComposedRequest
from gruvihttp.exchanges.response import ResponseHead
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.limits import Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Request, Response
from gruvihttp.sansio.headers import Field, Headers

__all__ = ["ClientDriver", "ClientExchange", "FileSender", "Handler", "ServedConnection", "ServerExchange"]


class ClientExchange(Protocol):
    """One request with its responses, on the client's side.

    `owner` is the caller's own object; errors name it in `unanswered`. `response` is None until the head of the final
    response has arrived. From then on there is `content`, and `trailers` are complete when `content` is at its end.
    `tunnel` is the bare connection, if the response has ended HTTP on it. `stream_id` is None without streams.
    """

    @property
    def owner(self) -> Any: ...
    @property
    def informational(self) -> Sequence[InformationalResponse]: ...
    @property
    def response(self) -> Response | InformationalResponse | None:
        """The final response; an informational one only if it ends HTTP on the connection: 101."""

    @property
    def content(self) -> StreamReader: ...
    @property
    def trailers(self) -> Headers: ...
    @property
    def tunnel(self) -> Tunnel | None: ...
    @property
    def stream_id(self) -> int | None: ...

    def send_head(self) -> None:
        """Send the head now, without waiting for content."""

    def send_data(self, data: BytesLike) -> bool:
        """Send a piece of content. False when the server wants no more of it: then nothing is sent.

        Raises LocalProtocolError for more than was announced, and sends nothing of it; RuntimeError while another
        greenlet is sending; and the error that has ended the exchange, if one has.
        """

    def await_permission(self, seconds: float) -> None:
        """Send the head, and wait for ``100 Continue`` or a final response, but no longer than `seconds`."""

    def finish(self, trailers: Headers) -> None:
        """End the request. Raises LocalProtocolError for less content than announced, or impossible trailers."""

    def abandon(self, reason: str) -> None:
        """Leave the request unfinished. Nobody will collect its response."""

    def close(self) -> None:
        """Give up the rest of the content."""


class ClientDriver(Protocol):
    """A connection to make requests on, whatever version it speaks.

    `owner` is the caller's own, for `collect` and for errors; `timeouts` are the connection's if not given.
    """

    def send(
        self, request: ComposedRequest, owner: Any, timeouts: Timeouts | None = None, upgrade: bytes = b""
    ) -> None:
        """Send a whole request, which has its content; `upgrade` names the protocols that its fields offer."""

    def begin(self, request: ComposedRequest, owner: Any, timeouts: Timeouts | None = None) -> ClientExchange:
        """Begin a request whose content comes in pieces."""

    def collect(self, timeout: float | None = -1, owner: Any = None) -> ClientExchange:
        """The oldest exchange of this greenlet that was not collected yet, or `owner`'s, once its response is here."""

    def flush_at_end(self) -> None:
        """Send what is held, before the connection is closed. Does nothing if that is no longer possible."""


class ServedConnection(Protocol):
    """What a handler may use of an exchange's connection, which may outlive the exchange.

    `notes` is the handler's own, and so is `requests`, a number to count with. `owner` is the object that made the
    connection.
    """

    channel: Channel
    notes: Any
    owner: Any
    requests: int
    multiplexed: bool  # many exchanges at a time: hints and disconnects are each one's own

    @property
    def refusal(self) -> tuple[Request | None, bytes]:
        """What is known of the latest refused request: all of it, or its first line as far as that has arrived."""

    @property
    def write_timeout(self) -> float | None:
        """How long the peer may go without reading anything, in seconds; None: for ever."""

    def flush_soon(self) -> None:
        """Send what is held as soon as this greenlet waits for anything."""

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Send 103 (Early Hints) for the exchange that is being answered; nothing if its head has left already."""

    def peer_has_gone(self) -> bool:
        """Whether the peer has ended its side of the connection. Never waits."""


@runtime_checkable
class FileSender(Protocol):
    """What a server's exchange offers in addition where the system can send files."""

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        """Send that part of a file as the whole content, without reading it. False if it cannot: then nothing is sent.

        `fd` is a descriptor, `offset` and `count` are bytes. The head must announce `count` bytes.
        Raises EOFError if the file turns out to be shorter.
        """


class ServerExchange(Protocol):
    """One request with its responses, on the server's side.

    A handler calls `send_head`, then `send_data` any number of times, then `finish`. If something goes wrong it calls
    `finish_with_error` while the head has not left, `break_off` afterwards, or `abort` at any time. Output is held as
    long as nobody waits for it.

    `persists` says whether the connection goes on afterwards, as far as is known. `request_trailers` are complete when
    the content has been read to its end; the handler may fill `response_trailers` before `finish`. `received_bytes`
    and `sent_bytes` count content. `failure` is the error that reading or sending has raised: that is the peer's
    fault, so it is not reported as the handler's. `head` is the head of the final response, as far as it was given.
    `notes` is the handler's own.
    """

    connection: Any  # a ServedConnection; Any, since a driver has more, and its exchanges use that
    request: Request
    persists: bool
    request_trailers: list[tuple[str, str]]
    response_trailers: list[tuple[str, str]]
    received_bytes: int
    sent_bytes: int
    failure: BaseException | None
    head: ResponseHead | None
    notes: Any

    @property
    def upgrade(self) -> Sequence[bytes]:
        """The protocols that the client offers to change to, in lower case."""

    @property
    def finished(self) -> bool:
        """Whether the response is over, complete or not."""

    @property
    def complete(self) -> bool:
        """Whether all of the response was given, by the handler or on another protocol."""

    @property
    def head_sent(self) -> bool:
        """Whether the head of the final response has left, so that it can no longer be changed."""

    @property
    def detached(self) -> bool:
        """Whether the connection has left HTTP with this exchange. Answering has no effect then."""

    @property
    def status(self) -> int | None:
        """The status of the final response; None until its head has left."""

    def open_content(self) -> StreamReader:
        """A reader for the request's content. Its errors become the exchange's `failure`."""

    def send_informational(self, status: int, reason: bytes, fields: Sequence[Field] = ()) -> None:
        """Send a 1xx response at once, if the client understands it and the final one has not begun."""

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Send 103 (Early Hints); nothing if the final head has left already."""

    def peer_has_gone(self) -> bool:
        """Whether the client has given up this exchange. Never waits."""

    def send_head(self, head: ResponseHead) -> None:
        """Give the head of the final response. It may be given again until it has left, with the first content."""

    def send_data(self, data: bytes) -> bool:
        """Send a piece of content. False when the response has no content, so that more pieces are pointless.

        Raises LocalProtocolError if it is more than was announced, or if the response is finished.
        """

    def finish(self, content: bytes = b"") -> None:
        """Send `content` and end the response, with `response_trailers` if they are possible.

        Raises LocalProtocolError if there is less content than announced; the response is not ended then.
        """

    def finish_with_error(self, status: int) -> None:
        """Answer with a bare status instead of what was given. Only possible until the head has left."""

    def break_off(self) -> None:
        """End a response in the middle, after its head has left, so that the peer can see that it is incomplete."""

    def abort(self) -> None:
        """Cut the exchange at once, and drop what has not left."""

    def detach(self) -> Tunnel:
        """Take the connection away from HTTP, to speak one of `upgrade` on it. The caller writes the 101 response.

        Whatever is held is sent first. Raises RuntimeError when the exchange cannot be detached, or no longer.
        """

    def end_tunnel(self) -> None:
        """End a detached connection properly. Idempotent."""


# Answers one exchange, whatever version carries it. It must finish or abort it.
Handler: TypeAlias = Callable[[ServerExchange], None]
