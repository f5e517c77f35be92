"""What a handler may rely on whatever the version is: one suite for the exchanges of HTTP/1 and of HTTP/2.

Handlers get an exchange, as the gateway does; clients are h11 and h2.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import h11
import pytest
from gevent.event import AsyncResult, Event

from gruvihttp.errors import Error, LocalProtocolError, Timeout, TransportError
from gruvihttp.exchanges.base import FileSender
from gruvihttp.exchanges.config import ServerConfig
from gruvihttp.exchanges.response import ResponseHead
from gruvihttp.limits import Timeouts
from gruvihttp.net.endpoints import Server
from gruvihttp.protocol import HttpProtocol
from gruvihttp.testing import RawPeer

GUARD = 10.0
LARGE = bytes(range(256)) * 4000
Handler = Callable[[Any], None]


@dataclass
class Answer:
    """A response as a client sees it, in the same words for both versions."""

    status: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    content: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    informational: list[str] = field(default_factory=list)
    complete: bool = False


class OldClient:
    """HTTP/1.1, one request after the other."""

    def __init__(self, address: Any) -> None:
        self.peer = RawPeer.connect(address)
        self.h11 = h11.Connection(h11.CLIENT)

    def begin(self, method: str, target: str, fields: list[tuple[str, str]], length: int | None) -> None:
        if length is not None:
            fields = [*fields, ("Content-Length", str(length))]
        head = h11.Request(method=method, target=target, headers=[("Host", "a.example"), *fields])
        self.send(head)

    def send(self, *events: Any) -> None:
        for event in events:
            self.peer.send(self.h11.send(event))

    def upload(self, content: bytes, trailers: list[tuple[str, str]]) -> None:
        self.send(*([h11.Data(data=content)] if content else []), h11.EndOfMessage(headers=trailers))

    def answer(self) -> Answer:
        answer = Answer()
        while True:
            try:
                event = self.h11.next_event()
                if event is h11.NEED_DATA:
                    self.h11.receive_data(self.peer.channel.receive(monotonic() + GUARD))
                    continue
            except (h11.RemoteProtocolError, TransportError):
                return answer
            match event:
                case h11.InformationalResponse():
                    answer.informational.append(str(event.status_code))
                case h11.Response():
                    answer.status = str(event.status_code)
                    answer.fields = {name.decode(): value.decode() for name, value in event.headers}
                case h11.Data():
                    answer.content += bytes(event.data)
                case h11.EndOfMessage():
                    answer.trailers = [(name.decode(), value.decode()) for name, value in event.headers]
                    answer.complete = True
                    if self.h11.our_state is h11.DONE and self.h11.their_state is h11.DONE:
                        self.h11.start_next_cycle()
                    return answer
                case _:
                    return answer


class NewClient:
    """HTTP/2, the same requests."""

    def __init__(self, talk: Any) -> None:
        self.talk = talk
        self.peer = talk.peer
        self.stream = 0
        self.ended = True

    def begin(self, method: str, target: str, fields: list[tuple[str, str]], length: int | None) -> None:
        lowered = [(name.lower(), value) for name, value in fields if name != "Transfer-Encoding"]
        if length is not None:
            lowered.append(("content-length", str(length)))
        self.ended = length is None and len(lowered) == len(fields)
        self.stream = self.talk.begin(target, *lowered, method=method, end=self.ended)

    def upload(self, content: bytes, trailers: list[tuple[str, str]]) -> None:
        if self.ended:
            return
        for start in range(0, len(content), 16384):
            self.talk.data(self.stream, content[start : start + 16384])
        if trailers:
            self.talk.h2.send_headers(self.stream, trailers, end_stream=True)
            self.talk.flush()
        else:
            self.talk.data(self.stream, b"", end=True)

    def answer(self) -> Answer:
        talk, stream = self.talk, self.stream
        while not (talk.over or stream in talk.ended or stream in talk.resets):
            talk.hear()
        head = talk.heads.get(stream, {})
        return Answer(
            status=head.get(":status", ""),
            fields={name: value for name, value in head.items() if name[0] != ":"},
            content=talk.content.get(stream, b""),
            trailers=talk.trailers.get(stream, []),
            informational=[fields[":status"] for fields in talk.informational.get(stream, [])],
            complete=stream in talk.ended,
        )


class Line:
    """A client's connection to a server with one handler. `outcome` is what the handler has returned or raised."""

    def __init__(self, version: str, talking: Any, handler: Handler, timeouts: Timeouts) -> None:
        self.outcomes: list[AsyncResult] = []  # type: ignore[type-arg]
        self.handler = handler
        config = ServerConfig(timeouts=timeouts)
        self.server = Server(lambda: HttpProtocol.serving(self.run, config))
        self.server.listen(("127.0.0.1", 0))
        address = self.server.address
        self.client: Any = OldClient(address) if version == "1.1" else NewClient(talking(address))

    def run(self, exchange: Any) -> None:
        outcome: Any = AsyncResult()
        self.outcomes.append(outcome)
        try:
            self.handler(exchange)
        except BaseException as exc:
            outcome.set_exception(exc)
            exchange.abort()
        else:
            outcome.set(exchange)

    def ask(
        self,
        method: str = "GET",
        target: str = "/",
        *fields: tuple[str, str],
        content: bytes | None = None,
        trailers: list[tuple[str, str]] | None = None,
    ) -> Answer:
        if trailers is not None:
            self.client.begin(method, target, [*fields, ("Transfer-Encoding", "chunked")], None)
        else:
            self.client.begin(method, target, list(fields), None if content is None else len(content))
        self.client.upload(content or b"", trailers or [])
        return self.client.answer()  # type: ignore[no-any-return]

    def exchange(self, number: int = -1) -> Any:
        """The exchange of the latest request, when its handler has ended. Raises what the handler has raised."""
        return self.outcomes[number].get(timeout=GUARD)


Connect = Callable[..., Line]


@pytest.fixture(params=["1.1", "2"])
def connect(request: Any, talking: Any) -> Iterator[Connect]:
    lines: list[Line] = []

    def connect(handler: Handler, **timeouts: float) -> Line:
        lines.append(Line(request.param, talking, handler, Timeouts(**timeouts)))
        return lines[-1]

    yield connect
    for line in lines:
        line.server.close(timeout=0)


def head(status: int = 200, *fields: tuple[bytes, bytes], length: int | None = None) -> ResponseHead:
    return ResponseHead(status, b"Some", list(fields), length)


# responses


def test_whole_content_is_sent_with_its_length(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head(200, (b"X-Name", b"value")))
        exchange.finish(b"content")

    line = connect(handler)
    answer = line.ask()
    assert (answer.status, answer.content, answer.complete) == ("200", b"content", True)
    assert (answer.fields["x-name"], answer.fields["content-length"]) == ("value", "7")
    assert {"date", "server"} <= answer.fields.keys()
    exchange = line.exchange()
    assert (exchange.finished, exchange.status, exchange.sent_bytes) == (True, 200, 7)


def test_content_in_pieces_needs_no_length(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head())
        for start in range(0, len(LARGE), 100_000):
            assert exchange.send_data(LARGE[start : start + 100_000])
        assert exchange.send_data(b"")
        exchange.finish(b"end")

    line = connect(handler)
    answer = line.ask()
    assert (answer.content, answer.complete) == (LARGE + b"end", True)
    assert "content-length" not in answer.fields
    assert line.exchange().sent_bytes == len(LARGE) + 3


def test_head_may_be_given_again_until_it_has_left(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head(404))
        assert (exchange.status, exchange.head_sent) == (None, False)
        exchange.send_head(head(200))
        exchange.send_data(LARGE)  # too much to be held
        assert (exchange.status, exchange.head_sent) == (200, True)
        with pytest.raises(LocalProtocolError):
            exchange.send_head(head(500))
        exchange.finish()

    line = connect(handler)
    assert line.ask().status == "200"
    line.exchange()


def test_content_needs_a_head(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        with pytest.raises(LocalProtocolError):  # at the end at the latest: little content may be held
            exchange.send_data(b"content")
            exchange.finish()
        exchange.finish_with_error(500)

    line = connect(handler)
    assert line.ask().status == "500"
    line.exchange()


@pytest.mark.parametrize("method", ["send_data", "finish"])
def test_more_than_was_announced_is_refused(connect: Connect, method: str) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head(length=4))
        exchange.send_data(b"con")
        with pytest.raises(LocalProtocolError):
            getattr(exchange, method)(b"tent")
            exchange.finish()
        if exchange.head_sent:
            exchange.break_off()
        else:
            exchange.finish_with_error(500)

    line = connect(handler)
    answer = line.ask()
    assert answer.status == "500" or not answer.complete
    line.exchange()


def test_less_than_was_announced_is_no_end(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head(length=10))
        exchange.send_data(b"content")
        with pytest.raises(LocalProtocolError):
            exchange.finish()
        assert not exchange.finished
        exchange.break_off()
        assert exchange.finished

    line = connect(handler)
    assert not line.ask().complete
    line.exchange()


def test_response_that_is_finished_takes_no_more(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head())
        exchange.finish(b"content")
        with pytest.raises(LocalProtocolError):
            exchange.send_data(b"more")

    line = connect(handler)
    assert line.ask().content == b"content"
    line.exchange()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 204)])
def test_response_without_content_says_that_none_is_wanted(connect: Connect, method: str, status: int) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head(status))
        assert exchange.send_data(LARGE) is False
        exchange.finish()

    line = connect(handler)
    answer = line.ask(method)
    assert (answer.status, answer.content, answer.complete) == (str(status), b"", True)
    assert line.exchange().sent_bytes == 0
    assert line.ask(method).complete


def test_error_takes_the_place_of_what_was_given(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head(200, (b"X-Name", b"value"), length=100))
        exchange.response_trailers.append(("x-sum", "1"))
        exchange.finish_with_error(503)

    answer = connect(handler).ask()
    assert (answer.status, answer.content) == ("503", b"503 Service Unavailable\n")
    assert "x-name" not in answer.fields
    assert answer.trailers == []


def test_error_behind_the_head_is_impossible(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head())
        exchange.send_data(LARGE)
        with pytest.raises(LocalProtocolError):
            exchange.finish_with_error(500)
        exchange.finish()

    line = connect(handler)
    assert line.ask().complete
    line.exchange()


def test_trailers_are_sent_behind_the_content(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head())
        exchange.send_data(b"content")
        exchange.response_trailers.append(("x-sum", "1"))
        exchange.finish()

    answer = connect(handler).ask("GET", "/", ("TE", "trailers"))
    assert (answer.content, answer.trailers) == (b"content", [("x-sum", "1")])


def test_aborted_exchange_has_no_answer(connect: Connect) -> None:
    answer = connect(lambda exchange: exchange.abort()).ask()
    assert (answer.status, answer.complete) == ("", False)


def test_informational_responses_come_first(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_early_hints([(b"Link", b"</a.css>; rel=preload")])
        exchange.send_informational(102, b"Processing")
        exchange.send_head(head())
        exchange.send_data(LARGE)
        exchange.send_early_hints([(b"Link", b"</late.css>")])
        exchange.finish()

    answer = connect(handler).ask()
    assert (answer.informational, answer.content) == (["103", "102"], LARGE)


# files


@pytest.mark.parametrize(("offset", "count"), [(0, 1_024_000), (3, 10), (5, 0)])
def test_file_is_sent_by_the_system_or_in_pieces(connect: Connect, tmp_path: Path, offset: int, count: int) -> None:
    file = tmp_path / "content"
    file.write_bytes(LARGE)

    def handler(exchange: Any) -> None:
        exchange.send_head(head(length=count))
        descriptor = os.open(file, os.O_RDONLY)
        try:
            sent = isinstance(exchange, FileSender) and exchange.send_file(descriptor, offset, count)
            exchange.finish(b"" if sent else os.pread(descriptor, count, offset))
        finally:
            os.close(descriptor)

    line = connect(handler)
    answer = line.ask()
    assert (answer.content, answer.complete) == (LARGE[offset : offset + count], True)
    assert line.exchange().sent_bytes == count


# requests


def echo(exchange: Any) -> None:
    content = exchange.open_content().read()
    exchange.send_head(head())
    exchange.finish(content)


def test_content_is_read_to_its_end(connect: Connect) -> None:
    line = connect(echo)
    assert line.ask("POST", content=b"content").content == b"content"
    exchange = line.exchange()
    assert exchange.received_bytes == 7
    assert (exchange.request.method, exchange.request.target) == (b"POST", b"/")
    assert dict(exchange.request.headers)[b"host"] == b"a.example"


def test_trailers_are_there_when_the_content_has_been_read(connect: Connect) -> None:
    line = connect(echo)
    assert line.ask("POST", content=b"content", trailers=[("x-sum", "1")]).content == b"content"
    assert line.exchange().request_trailers == [("x-sum", "1")]


def test_request_without_content_is_read_as_nothing(connect: Connect) -> None:
    line = connect(echo)
    assert line.ask().content == b""
    assert line.exchange().received_bytes == 0


def test_connection_goes_on_after_content_that_nobody_has_read(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.send_head(head())
        exchange.finish(exchange.request.target)

    line = connect(handler)
    assert line.ask("POST", "/one", content=b"content").content == b"/one"
    assert line.ask("GET", "/two").content == b"/two"


def test_client_is_told_to_go_on_when_its_content_is_wanted(connect: Connect) -> None:
    line = connect(echo)
    line.client.begin("POST", "/", [("Expect", "100-continue")], 7)
    with gevent.Timeout(GUARD):
        while not line.outcomes:
            gevent.sleep(0.001)
    line.client.upload(b"content", [])
    answer = line.client.answer()
    assert (answer.informational, answer.content) == (["100"], b"content")


def test_notes_are_the_connection_s_and_the_exchange_s(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        exchange.connection.notes = (exchange.connection.notes or 0) + 1
        assert exchange.notes is None
        exchange.notes = "own"
        exchange.send_head(head())
        exchange.finish(b"%d" % exchange.connection.notes)

    line = connect(handler)
    assert [line.ask().content for _ in range(3)] == [b"1", b"2", b"3"]
    line.exchange()


def test_connection_is_not_given_away_to_who_did_not_ask(connect: Connect) -> None:
    def handler(exchange: Any) -> None:
        assert list(exchange.upgrade) == []
        with pytest.raises(RuntimeError):
            exchange.detach()
        exchange.send_head(head())
        exchange.finish()

    line = connect(handler)
    assert line.ask().complete
    assert not line.exchange().detached


# what goes wrong on the other side


def test_client_that_goes_is_noticed(connect: Connect) -> None:
    gone = Event()
    entered = Event()

    def handler(exchange: Any) -> None:
        assert not exchange.peer_has_gone()
        entered.set()
        assert gone.wait(GUARD)
        with gevent.Timeout(GUARD):
            while not exchange.peer_has_gone():
                gevent.sleep(0.001)

    line = connect(handler)
    line.client.begin("GET", "/", [], None)
    line.client.upload(b"", [])
    assert entered.wait(GUARD)
    line.client.peer.close()
    gone.set()
    line.exchange()


def test_content_that_stops_with_its_client_is_the_peer_s_failure(connect: Connect) -> None:
    seen: list[Any] = []

    def handler(exchange: Any) -> None:
        try:
            exchange.open_content().read()
        except BaseException as exc:
            seen.append((exc, exchange.failure))
            raise

    line = connect(handler)
    line.client.begin("POST", "/", [], 100)
    with gevent.Timeout(GUARD):
        while not line.outcomes:
            gevent.sleep(0.001)
    line.client.peer.close()
    with pytest.raises(Error):
        line.exchange()
    [(raised, failure)] = seen
    assert failure is raised


def test_content_that_does_not_come_is_a_timeout(connect: Connect) -> None:
    line = connect(echo, content=0.05)
    line.client.begin("POST", "/", [], 100)
    line.client.answer()
    with pytest.raises(Timeout) as caught:
        line.exchange()
    assert caught.value.phase == "content"


def test_client_that_reads_nothing_is_a_timeout(connect: Connect) -> None:
    failures: list[Any] = []

    def handler(exchange: Any) -> None:
        exchange.send_head(head())
        try:
            while True:
                exchange.send_data(LARGE)
        finally:
            failures.append(exchange.failure)

    line = connect(handler, write=0.1)
    line.client.begin("GET", "/", [], None)
    line.client.upload(b"", [])
    with gevent.Timeout(GUARD):
        while not line.outcomes:
            gevent.sleep(0.001)
    with pytest.raises(Timeout) as caught:
        line.exchange()
    assert caught.value.phase == "write"
    assert failures == [caught.value]
