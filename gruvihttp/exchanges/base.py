"""What an exchange offers to those who make requests and to those who answer them, whatever version carries it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from gruvihttp.exchanges.request import ComposedRequest
from gruvihttp.exchanges.response import ResponseHead
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.limits import Timeouts
from gruvihttp.net.channel import Channel
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Request, Response
from gruvihttp.sansio.headers import Field, Headers

__all__ = ["ClientDriver", "ClientExchange", "FileSender", "ServedConnection", "ServerExchange"]


class ClientExchange(Protocol):
    """One request with its responses, as a client has them.

    `owner` is the caller's own, named in the `unanswered` of errors. `response` is None until the final response's
    head has come; `content` is there from then on, and `trailers` are complete when `content` is at its end. `tunnel`
    is the bare connection, if the response has ended HTTP on it. `stream_id` is the stream's, where there are streams.
    """

    @property
    def owner(self) -> Any: ...
    @property
    def informational(self) -> Sequence[InformationalResponse]: ...
    @property
    def response(self) -> Response | InformationalResponse | None:
        """The latter if it is the end of HTTP: 101."""

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

        Raises LocalProtocolError for more than was announced, and nothing of it is sent; RuntimeError while another
        greenlet is sending; whatever has befallen the connection.
        """

    def await_permission(self, seconds: float) -> None:
        """Send the head, and wait for ``100 Continue`` or a final response, but no longer than `seconds`."""

    def finish(self, trailers: Headers) -> None:
        """End the request. Raises LocalProtocolError for less content than announced, or impossible trailers."""

    def abandon(self, reason: str) -> None:
        """The request will not be finished, and `getresponse` will not ask for its response."""

    def close(self) -> None:
        """Nobody will read the rest of the content."""


class ClientDriver(Protocol):
    """A connection as those have it who make requests on it, whatever version it speaks.

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
        """Send what is held, before the connection is closed. Quiet if that is not possible any more."""


class ServedConnection(Protocol):
    """What a handler may use of the connection that an exchange came on, and that may outlive it.

    `notes` is the handler's own. `owner` is whoever made the connection.
    """

    channel: Channel
    notes: Any
    owner: Any
    multiplexed: bool  # many exchanges at a time: hints and disconnects are each one's own

    @property
    def write_timeout(self) -> float | None:
        """How long a peer may read nothing, in seconds."""

    def flush_soon(self) -> None:
        """Let what is held leave as soon as this greenlet waits for anything."""

    def send_early_hints(self, fields: Sequence[Field]) -> None:
        """Send 103 (Early Hints) for the exchange that is being answered; nothing if its head has left already."""

    def peer_has_gone(self) -> bool:
        """Has the peer ended its side of the connection? Never waits."""


@runtime_checkable
class FileSender(Protocol):
    """What a server's exchange may offer besides, where the system can send files."""

    def send_file(self, fd: int, offset: int, count: int) -> bool:
        """Send that part of a file as the whole content, without reading it. False if that cannot be: nothing is sent.

        The head must announce `count` bytes. Raises EOFError if the file turns out to be shorter.
        """


class ServerExchange(Protocol):
    """One request with its responses, as those have it who answer.

    A handler calls `send_head`, any number of times `send_data`, and `finish`; or `finish_with_error` as long as the
    head has not left; or `break_off` afterwards; or `abort`. Output is held as long as that costs nobody anything.

    `persists` says whether the connection goes on afterwards, as far as is known. `request_trailers` are complete when
    the content has been read to its end; `response_trailers` are the handler's to fill, before `finish`.
    `received_bytes` and `sent_bytes` count content. `failure` is what reading or sending has raised: the peer's fault,
    so it is not reported as the handler's. `notes` are the handler's own.
    """

    connection: Any  # a ServedConnection; Any, since a driver has more, and its exchanges use that
    request: Request
    persists: bool
    request_trailers: list[tuple[str, str]]
    response_trailers: list[tuple[str, str]]
    received_bytes: int
    sent_bytes: int
    failure: BaseException | None
    notes: Any

    @property
    def upgrade(self) -> Sequence[bytes]:
        """The protocols that the client would rather speak, in lower case."""

    @property
    def finished(self) -> bool:
        """Whether the response is over, complete or not."""

    @property
    def head_sent(self) -> bool:
        """Whether the head of the final response cannot be changed any more."""

    @property
    def detached(self) -> bool:
        """Whether the connection has left HTTP with this exchange. What else is answered has no effect then."""

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
        """Has the client given this exchange up? Never waits."""

    def send_head(self, head: ResponseHead) -> None:
        """Give the head of the final response. It may be given again until it has left, with the first content."""

    def send_data(self, data: bytes) -> bool:
        """Send a piece of content. False when no more is of use, since the response has no content.

        Raises LocalProtocolError if it is more than was announced, or if the response is finished.
        """

    def finish(self, content: bytes = b"") -> None:
        """Send `content` and end the response, with `response_trailers` if they are possible.

        Raises LocalProtocolError if there is less content than announced; the response is not ended then.
        """

    def finish_with_error(self, status: int) -> None:
        """Answer with nothing but a status, in place of what was given. Only possible until the head has left."""

    def break_off(self) -> None:
        """End a response whose head has left where it is, so that the peer sees that it is incomplete."""

    def abort(self) -> None:
        """Cut the exchange at once, and drop what has not left."""

    def detach(self) -> Tunnel:
        """Take the connection away from HTTP, to speak one of `upgrade` on it. The caller writes the 101 response.

        What was to be sent before is sent first. Raises RuntimeError when that is not possible, or not any more.
        """

    def end_tunnel(self) -> None:
        """End a detached connection politely. Has no effect the second time."""
