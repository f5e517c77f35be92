"""`Connection`: h11's API, the two halves of an HTTP/1.1 connection coupled by the tables of `states`.

Events in, bytes out; bytes in, events out; and an error for whatever the protocol does not allow now. It speaks
HTTP/1.1, one exchange at a time. Sockets are not known here.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, cast

from gruvihttp.errors import LocalProtocolError, RemoteProtocolError
from gruvihttp.limits import Limits
from gruvihttp.sansio import framing
from gruvihttp.sansio.events import (
    CONNECTION_CLOSED,
    ConnectionClosed,
    Data,
    EndOfMessage,
    Event,
    InformationalResponse,
    Request,
    Response,
)
from gruvihttp.sansio.framing import Framing
from gruvihttp.sansio.headers import Field, Headers, list_members
from gruvihttp.sansio.heads import write_request, write_response
from gruvihttp.sansio.sentinels import NEED_DATA, PAUSED
from gruvihttp.sansio.states import (
    CLIENT,
    DONE,
    ERROR,
    IDLE,
    MIGHT_SWITCH_PROTOCOL,
    SEND_BODY,
    SEND_RESPONSE,
    SERVER,
    SWITCH_CONNECT,
    SWITCH_UPGRADE,
    SWITCHED_PROTOCOL,
    Cycle,
    Role,
    State,
)
from gruvihttp.sansio.wire import MessageReader, MessageWriter, RequestReader, ResponseReader

__all__ = ["Connection"]

_SWITCHING = (MIGHT_SWITCH_PROTOCOL, SWITCHED_PROTOCOL)
_SENDING = frozenset((IDLE, SEND_BODY, SEND_RESPONSE))  # a role in one of these may have more to say


class Connection:
    """One end of an HTTP/1.1 connection, without the connection.

    `our_role` is CLIENT or SERVER. `max_incomplete_event_size` bounds a head, in bytes; `limits` instead of it gives
    all limits one by one. `strict` adds a server's policy to what is refused anyway: obs-fold, control characters in
    field values and a Content-Length given twice; and it ignores a few empty lines before a request.
    """

    __slots__ = (
        "_cycle",
        "_reader",
        "_request_method",
        "_writer",
        "client_is_waiting_for_100_continue",
        "our_role",
        "their_http_version",
        "their_role",
    )

    def __init__(
        self,
        our_role: Role,
        max_incomplete_event_size: int = 16 * 1024,
        *,
        strict: bool = False,
        limits: Limits | None = None,
    ) -> None:
        if our_role not in (CLIENT, SERVER):
            raise ValueError(f"expected CLIENT or SERVER, not {our_role!r}")
        if limits is None:
            limits = _limits_of_head(max_incomplete_event_size)
        self.our_role = our_role
        self.their_role = CLIENT if our_role is SERVER else SERVER
        self.their_http_version: bytes | None = None
        self.client_is_waiting_for_100_continue = False
        self._request_method: bytes | None = None
        self._cycle = Cycle()
        self._reader: MessageReader = (
            RequestReader(limits, strict=strict) if our_role is SERVER else ResponseReader(limits)
        )
        self._writer = MessageWriter()

    def __repr__(self) -> str:
        return f"<Connection our_role={self.our_role!r} {self._cycle!r}>"

    @property
    def states(self) -> dict[Role, State]:
        """Both roles' states, in a dictionary of the caller's own."""
        return {CLIENT: self._cycle.client, SERVER: self._cycle.server}

    @property
    def our_state(self) -> State:
        """The state of our role."""
        return self._cycle.state_of(self.our_role)

    @property
    def their_state(self) -> State:
        """The state of the peer's role."""
        return self._cycle.state_of(self.their_role)

    @property
    def they_are_waiting_for_100_continue(self) -> bool:
        """Whether the peer is a client that waits for 100 (Continue) before it sends its content."""
        return self.their_role is CLIENT and self.client_is_waiting_for_100_continue

    @property
    def trailing_data(self) -> tuple[bytes, bool]:
        """The bytes that were received and not parsed, and whether the peer's stream has ended."""
        return self._reader.trailing_data

    def start_next_cycle(self) -> None:
        """Begin the next exchange on this connection.

        Raises LocalProtocolError unless both roles are DONE; the connection is as it was then.
        """
        self._cycle.start_next()
        self._request_method = None

    # receiving

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer; b"" says that its stream has ended. RuntimeError for bytes after the end.

        Nothing is parsed here: call `next_event` until it gives NEED_DATA or PAUSED.
        """
        # through memoryview: bytes(5) would be five zeros
        self._reader.receive_data(data if type(data) is bytes else bytes(memoryview(data or b"")))

    def next_event(self) -> Any:
        """The next event, NEED_DATA, or PAUSED.

        PAUSED: the peer has begun another exchange, or bytes of another protocol may follow.

        Raises RemoteProtocolError if the peer broke the protocol, now or before.
        """
        role = self.their_role
        state = self._cycle.state_of(role)
        if state is ERROR:
            raise RemoteProtocolError("Can't receive data when peer state is ERROR")
        try:
            event = self._reader.next_event() if state in _SENDING else self._after_message(state)
            if event is not NEED_DATA and event is not PAUSED:
                self._process(role, event)
            return event
        except LocalProtocolError as exc:
            self._cycle.fail(self.their_role)
            raise RemoteProtocolError(str(exc), exc.error_status_hint) from exc
        except BaseException:
            self._cycle.fail(self.their_role)
            raise

    def _after_message(self, state: State) -> Any:
        """The event when the peer's message is over."""
        buffer = self._reader.buffer
        if state in _SWITCHING:
            return PAUSED
        if len(buffer):
            if state is DONE:
                return PAUSED
            raise RemoteProtocolError("Got data when expecting EOF")
        return CONNECTION_CLOSED if buffer.ended else NEED_DATA

    # sending

    def send(self, event: Event) -> bytes | None:
        """The bytes to send for this event; None for ConnectionClosed: shut down or close the stream.

        Raises LocalProtocolError if the event is not possible now; our state is ERROR then.
        """
        buffers = self.send_with_data_passthrough(event)
        return None if buffers is None else b"".join(buffers)

    def send_with_data_passthrough(self, event: Event) -> list[Any] | None:
        """Like `send`, but a list of buffers, in which `Data.data` is the very object that was given.

        That object needs nothing but a length: a stand-in for a file that the caller will send itself, say.
        """
        role = self.our_role
        if self._cycle.state_of(role) is ERROR:
            raise LocalProtocolError("Can't send data when our state is ERROR")
        try:
            if type(event) is Response:
                event, content_framing = self._framed(event)
                self._process(role, event)
                self._writer.start(content_framing)
            else:
                self._process(role, event)
            return self._encoded(event)
        except BaseException:
            self._cycle.fail(self.our_role)
            raise

    def send_failed(self) -> None:
        """Say that what `send` returned did not reach the peer as a whole: our state becomes ERROR."""
        self._cycle.fail(self.our_role)

    def _encoded(self, event: Event) -> list[Any] | None:
        if type(event) is Data:
            return self._writer.data(event.data)
        if type(event) is EndOfMessage:
            end = self._writer.end(event.headers)
            return [end] if end else []
        if type(event) is ConnectionClosed:
            return None
        return [self._encoded_head(event)]

    def _encoded_head(self, event: Any) -> bytes:
        if event.http_version != b"1.1":
            raise LocalProtocolError("I only send HTTP/1.1")
        if type(event) is Request:
            self._writer.start(framing.of_sent(event))
            return write_request(event.method, event.target, b"1.1", event.headers.raw)
        return write_response(b"1.1", event.status_code, event.reason, event.headers.raw)

    def _framed(self, response: Response) -> tuple[Response, Framing]:
        """The response with the fields that its content and the connection need, and the framing of the content."""
        method = self._request_method or b"GET"
        shown_as = b"GET" if method == b"HEAD" else method  # RFC 9110 §9.3.2: the fields that GET would get
        shown = framing.of_sent(response, shown_as)
        sized = shown.kind not in ("chunked", "until-close")
        if not sized or not self._cycle.keep_alive:
            response = self._with_fields(response, method, sized=sized)
            return response, framing.of_sent(response, method)
        return response, framing.NONE if method == b"HEAD" else shown

    def _with_fields(self, response: Response, method: bytes, *, sized: bool) -> Response:
        """The response with the fields that say how its content ends and whether the connection does."""
        raw = response.headers.raw
        must_close = not self._cycle.keep_alive
        if not sized:
            raw = [field for field in raw if field[0].lower() not in (b"content-length", b"transfer-encoding")]
            if self.their_http_version is not None and self.their_http_version >= b"1.1":
                raw.append((b"Transfer-Encoding", b"chunked"))
            elif method != b"HEAD":
                must_close = True
        if must_close:
            raw = _closing(raw)
        return Response(
            status_code=response.status_code,
            headers=Headers(raw),
            http_version=response.http_version,
            reason=response.reason,
        )

    # both

    def _process(self, role: Role, event: Any) -> None:
        kind = type(event)
        if kind is Request:
            self._process_request(role, event)
        elif kind is Response or kind is InformationalResponse:
            self._process_response(role, event)
        else:
            self._cycle.process(role, kind)
            if role is CLIENT and kind is not ConnectionClosed:
                self.client_is_waiting_for_100_continue = False

    def _process_request(self, role: Role, request: Request) -> None:
        self._cycle.process(role, Request)
        self._request_method = request.method
        self.client_is_waiting_for_100_continue = False
        if role is self.their_role:
            self.their_http_version = request.http_version
            if self._reader.plan is framing.PLAIN and request.method != b"CONNECT":
                return  # it asks for nothing special
        else:
            cast(ResponseReader, self._reader).request_method = request.method
        self._note_proposals(request)
        if not self._persists(role, request):
            self._cycle.disable_keep_alive()

    def _process_response(self, role: Role, response: Response | InformationalResponse) -> None:
        self._cycle.process(role, type(response), self._accepted_switch(response) if role is SERVER else None)
        self.client_is_waiting_for_100_continue = False
        if role is self.their_role:
            self.their_http_version = response.http_version
        if type(response) is Response and not self._persists(role, response):
            self._cycle.disable_keep_alive()

    def _persists(self, role: Role, message: Request | Response) -> bool:
        if message.http_version < b"1.1":
            return False  # h11 has no keep-alive before HTTP/1.1, whatever the Connection field says
        return self._reader.plan.persists if role is self.their_role else framing.persists(message)

    def _note_proposals(self, request: Request) -> None:
        if request.method == b"CONNECT":
            self._cycle.propose_switch(SWITCH_CONNECT)
        for name, value in request.headers.fields:
            if name == b"upgrade" and list_members(value):
                self._cycle.propose_switch(SWITCH_UPGRADE)
            elif name == b"expect" and request.http_version >= b"1.1" and b"100-continue" in list_members(value):
                self.client_is_waiting_for_100_continue = True

    def _accepted_switch(self, response: Response | InformationalResponse) -> State | None:
        status = response.status_code
        if status == 101:
            return SWITCH_UPGRADE
        return SWITCH_CONNECT if self._request_method == b"CONNECT" and 200 <= status < 300 else None


@lru_cache(maxsize=8)  # most programs have one value, and make a connection often
def _limits_of_head(head_bytes: int) -> Limits:
    """h11 has one limit, for all that is not content."""
    defaults = Limits()
    return Limits(
        request_line_bytes=min(head_bytes, defaults.request_line_bytes),
        fields_bytes=head_bytes,
        trailers_bytes=head_bytes,
        chunk_line_bytes=min(head_bytes, defaults.chunk_line_bytes),
        fields_count=max(head_bytes // 4, 1),  # the shortest field line is 4 bytes: no limit of its own
    )


def _closing(raw: Any) -> list[Field]:
    """The fields with ``Connection: close`` at the end; other options stay, keep-alive does not."""
    options = {b"close"}
    for name, value in raw:
        if name.lower() == b"connection":
            options.update(list_members(value))
    options.discard(b"keep-alive")
    kept = [field for field in raw if field[0].lower() != b"connection"]
    return kept + [(b"Connection", option) for option in sorted(options)]


