"""What every exchange of a client promises, whichever version of HTTP carries it: one suite over both drivers.

The other end is the h11 package for HTTP/1, and frames of our choice for HTTP/2; a script speaks to either in the same
words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import gevent
import h11
import pytest
from frameserver import FrameServer
from gevent.event import Event

from gruvihttp import HttpClient, HttpError, Timeout, Timeouts
from gruvihttp.errors import Error, LocalProtocolError
from gruvihttp.exchanges.base import ClientDriver, ClientExchange
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.framing import CHUNKED, Framing, length
from gruvihttp.sansio.headers import EMPTY, Headers
from gruvihttp.testing import RawPeer

GUARD = 10.0


class Server(Protocol):
    """One connection of a server, in words that mean the same in each version."""

    def request(self) -> dict[str, str]:
        """The next head: its fields, with ``method`` and ``target``."""

    def content(self) -> tuple[bytes, dict[str, str]]:
        """The content of that request to its end, and its trailers."""

    def inform(self, status: int) -> None:
        """An informational response."""

    def answer(self, content: bytes = b"", status: int = 200, trailers: dict[str, str] | None = None) -> None:
        """The whole response to the oldest request that has none."""

    def begin_answer(self, content: bytes) -> None:
        """The beginning of one."""

    def sync(self) -> None:
        """Whatever was said before has been read."""

    def rest(self) -> None:
        """Listen until the client goes."""


class Http1Server:
    def __init__(self, peer: RawPeer) -> None:
        self._peer = peer
        self._h11 = h11.Connection(h11.SERVER)

    def _event(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            self._h11.receive_data(self._peer.channel.receive())
        return event

    def _say(self, *events: Any) -> None:
        for event in events:
            said = self._h11.send(event)
            if said:
                self._peer.send(said)

    def request(self) -> dict[str, str]:
        if self._h11.our_state is h11.DONE:
            self._h11.start_next_cycle()
        event = self._event()
        fields = {name.decode(): value.decode() for name, value in event.headers}
        return {"method": event.method.decode(), "target": event.target.decode(), **fields}

    def content(self) -> tuple[bytes, dict[str, str]]:
        content = b""
        while isinstance(event := self._event(), h11.Data):
            content += bytes(event.data)
        return content, {name.decode(): value.decode() for name, value in event.headers}

    def inform(self, status: int) -> None:
        self._say(h11.InformationalResponse(status_code=status, headers=[]))

    def answer(self, content: bytes = b"", status: int = 200, trailers: dict[str, str] | None = None) -> None:
        while self._h11.their_state is h11.SEND_BODY and status == 200:
            self._event()
        if trailers is None:
            head = h11.Response(status_code=status, headers=[("Content-Length", str(len(content)))])
            self._say(head, h11.Data(data=content), h11.EndOfMessage())
        else:
            head = h11.Response(status_code=status, headers=[("Transfer-Encoding", "chunked")])
            self._say(head, h11.Data(data=content), h11.EndOfMessage(headers=list(trailers.items())))

    def begin_answer(self, content: bytes) -> None:
        while self._h11.their_state is h11.SEND_BODY:
            self._event()
        self._say(h11.Response(status_code=200, headers=[("Content-Length", "1000000")]), h11.Data(data=content))

    def sync(self) -> None:
        gevent.idle()

    def rest(self) -> None:
        self._peer.read_to_end()


class Http2Server:
    def __init__(self, peer: RawPeer) -> None:
        self._frames = FrameServer(peer)
        self._due: list[int] = []
        self._latest: Any = None

    def request(self) -> dict[str, str]:
        self._latest = head = self._frames.request()
        self._due.append(head.stream)
        fields = {name: value for name, value in head.fields if name[0] != ":"}
        return {"method": head.fields[0][1], "target": dict(head.fields)[":path"], **fields}

    def content(self) -> tuple[bytes, dict[str, str]]:
        content, trailers = b"", {}
        frame = self._latest
        while not frame.ends:
            frame = self._frames.hear()
            if frame.stream == self._latest.stream:
                content += frame.content
                trailers = dict(frame.fields)
                if frame.content:
                    size = len(frame.content)
                    self._frames.say(f.window_update(0, size), f.window_update(frame.stream, size))
        return content, trailers

    def inform(self, status: int) -> None:
        self._frames.say(self._frames.head(self._due[0], status))

    def answer(self, content: bytes = b"", status: int = 200, trailers: dict[str, str] | None = None) -> None:
        stream = self._due.pop(0)
        server = self._frames
        server.say(server.head(stream, status), server.data(stream, content, end=trailers is None))
        if trailers is not None:
            server.say(server.section(stream, *trailers.items(), end=True))

    def begin_answer(self, content: bytes) -> None:
        stream = self._due.pop(0)
        self._frames.say(self._frames.head(stream, 200), self._frames.data(stream, content))

    def sync(self) -> None:
        self._frames.sync()

    def rest(self) -> None:
        self._frames.rest()


SERVERS: dict[str, Callable[[RawPeer], Server]] = {"1.1": Http1Server, "2": Http2Server}


class Asked:
    """A driver, and requests made for it."""

    def __init__(self, client: HttpClient) -> None:
        self.client = client
        self.driver: ClientDriver = client.protocol.connection

    def send(self, owner: Any = None, method: str = "GET", timeouts: Timeouts | None = None) -> None:
        self.driver.send(self.client.protocol.compose(method, "/", [], ""), owner, timeouts)

    def begin(
        self, framing: Framing = CHUNKED, owner: Any = None, timeouts: Timeouts | None = None, **fields: str
    ) -> ClientExchange:
        given = [(name.capitalize(), value) for name, value in fields.items()]
        if framing is not CHUNKED:
            given.append(("Content-Length", str(framing.length)))
        return self.driver.begin(self.client.protocol.compose("POST", "/", given, None), owner, timeouts)

    def collect(self, timeout: float | None = -1, owner: Any = None) -> ClientExchange:
        return self.driver.collect(timeout, owner)


Ask = Callable[..., Asked]


@pytest.fixture(params=SERVERS)
def ask(request: pytest.FixtureRequest, serve: Any) -> Iterator[Ask]:
    """Connects a driver to a server that runs a script."""
    clients: list[HttpClient] = []

    def make(script: Callable[[Server], object]) -> Asked:
        client = HttpClient(GUARD, version=request.param)
        clients.append(client)
        client.connect(serve(lambda peer: script(SERVERS[request.param](peer))).address)
        return Asked(client)

    yield make
    for client in clients:
        client.close()


def one(exchange: ClientExchange) -> tuple[int, bytes]:
    assert exchange.response is not None
    return exchange.response.status_code, exchange.content.read()


# responses


def test_response_belongs_to_its_owner(ask: Ask) -> None:
    def script(server: Server) -> None:
        assert server.request()["method"] == "GET"
        server.answer(b"content", 201)
        server.rest()

    asked = ask(script)
    owner = object()
    asked.send(owner)
    exchange = asked.collect()
    assert (exchange.owner, exchange.tunnel, list(exchange.informational)) == (owner, None, [])
    assert one(exchange) == (201, b"content")
    assert exchange.content.eof
    assert exchange.trailers == EMPTY


def test_responses_are_collected_in_the_order_of_the_requests(ask: Ask) -> None:
    def script(server: Server) -> None:
        for content in (b"a", b"b", b"c"):
            server.request()
            server.answer(content)
        server.rest()

    asked = ask(script)
    for owner in "123":
        asked.send(owner)
    collected = []
    for _ in range(3):
        exchange = asked.collect()
        collected.append((exchange.owner, *one(exchange)))
    assert collected == [("1", 200, b"a"), ("2", 200, b"b"), ("3", 200, b"c")]


def test_oldest_response_may_be_collected_by_its_owner(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.answer(b"mine")
        server.rest()

    asked = ask(script)
    owner = object()
    asked.send(owner)
    assert one(asked.collect(owner=owner)) == (200, b"mine")


@pytest.mark.parametrize("collected", [False, True], ids=["nothing asked", "everything answered"])
def test_nothing_to_collect_is_a_mistake(ask: Ask, collected: bool) -> None:
    def script(server: Server) -> None:
        server.request()
        server.answer()
        server.rest()

    asked = ask(script)
    if collected:
        asked.send()
        one(asked.collect())
    with pytest.raises(RuntimeError):
        asked.collect()
    with pytest.raises(RuntimeError):
        asked.collect(owner=object())


def test_informational_responses_do_not_take_the_place_of_the_final_one(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.inform(102)
        server.inform(103)
        server.answer(b"final")
        server.rest()

    asked = ask(script)
    asked.send()
    exchange = asked.collect()
    assert [response.status_code for response in exchange.informational] == [102, 103]
    assert one(exchange) == (200, b"final")


def test_trailers_of_a_response_are_complete_at_its_end(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.answer(b"content", trailers={"x-sum": "7"})
        server.rest()

    asked = ask(script)
    asked.send()
    exchange = asked.collect()
    assert one(exchange) == (200, b"content")
    assert list(exchange.trailers) == [(b"x-sum", b"7")]


def test_head_has_no_content(ask: Ask) -> None:
    def script(server: Server) -> None:
        assert server.request()["method"] == "HEAD"
        server.answer(b"")
        server.request()
        server.answer(b"next")
        server.rest()

    asked = ask(script)
    asked.send(method="HEAD")
    assert one(asked.collect()) == (200, b"")
    asked.send()
    assert one(asked.collect()) == (200, b"next")


def test_response_arrives_in_pieces_as_it_comes(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.begin_answer(b"beginning")
        server.rest()

    asked = ask(script)
    asked.send()
    exchange = asked.collect()
    assert exchange.content.read(9) == b"beginning"
    assert not exchange.content.eof


# requests in pieces


@pytest.mark.parametrize("framing", [CHUNKED, length(7)], ids=["unknown length", "known length"])
def test_content_in_pieces_arrives_whole(ask: Ask, framing: Framing) -> None:
    def script(server: Server) -> None:
        server.request()
        seen.append(server.content())
        server.answer(b"thanks")
        server.rest()

    seen: list[Any] = []
    asked = ask(script)
    exchange = asked.begin(framing)
    assert exchange.send_data(b"con") is True
    assert exchange.send_data(b"") is True
    assert exchange.send_data(bytearray(b"tent")) is True
    exchange.finish(EMPTY)
    assert one(asked.collect()) == (200, b"thanks")
    assert seen == [(b"content", {})]


def test_trailers_of_a_request_arrive_behind_its_content(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        seen.append(server.content())
        server.answer()
        server.rest()

    seen: list[Any] = []
    asked = ask(script)
    exchange = asked.begin()
    exchange.send_data(b"content")
    exchange.finish(Headers([(b"x-sum", b"7")]))
    one(asked.collect())
    assert seen == [(b"content", {"x-sum": "7"})]


def test_head_leaves_before_there_is_content(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        arrived.set()
        server.content()
        server.answer()
        server.rest()

    arrived = Event()
    asked = ask(script)
    exchange = asked.begin()
    exchange.send_head()
    assert arrived.wait(GUARD)
    exchange.send_data(b"content")
    exchange.finish(EMPTY)
    assert one(asked.collect())[0] == 200


def test_more_than_announced_is_refused_and_not_sent(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        seen.append(server.content()[0])
        server.answer()
        server.rest()

    seen: list[bytes] = []
    asked = ask(script)
    exchange = asked.begin(length(4))
    exchange.send_data(b"good")
    with pytest.raises(LocalProtocolError):
        exchange.send_data(b"x")
    exchange.finish(EMPTY)
    assert one(asked.collect())[0] == 200
    assert seen == [b"good"]


def test_less_than_announced_is_no_end(ask: Ask) -> None:
    asked = ask(lambda server: server.rest())
    exchange = asked.begin(length(4))
    exchange.send_data(b"few")
    with pytest.raises(LocalProtocolError):
        exchange.finish(EMPTY)
    exchange.abandon("it is incomplete")
    with pytest.raises(RuntimeError):
        asked.collect()


def test_request_that_is_finished_takes_nothing_more(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.content()
        server.rest()

    exchange = ask(script).begin()
    exchange.finish(EMPTY)
    with pytest.raises(RuntimeError, match="finished"):
        exchange.send_data(b"more")
    with pytest.raises(RuntimeError, match="finished"):
        exchange.finish(EMPTY)


def test_early_answer_ends_an_upload_without_an_error(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.answer(b"too large", 413)
        server.rest()

    asked = ask(script)
    exchange = asked.begin()
    with gevent.Timeout(GUARD):
        while exchange.send_data(bytes(16384)):
            gevent.sleep(0)
    exchange.finish(EMPTY)
    assert one(asked.collect()) == (413, b"too large")


@pytest.mark.parametrize("says", ["continue", "final", "nothing"])
def test_permission_is_waited_for_no_longer_than_told(ask: Ask, says: str) -> None:
    def script(server: Server) -> None:
        assert server.request()["expect"] == "100-continue"
        if says == "continue":
            server.inform(100)
        if says == "final":
            server.answer(b"no", 417)
        else:
            server.content()
            server.answer(b"taken")
        server.rest()

    asked = ask(script)
    exchange = asked.begin(expect="100-continue")
    exchange.await_permission(0.05 if says == "nothing" else GUARD)
    assert exchange.send_data(b"content") is (says != "final")
    exchange.finish(EMPTY)
    assert one(asked.collect()) == ((417, b"no") if says == "final" else (200, b"taken"))


# times


def test_collecting_may_be_tried_again_after_a_timeout(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        assert go.wait(GUARD)
        server.answer(b"late")
        server.rest()

    go = Event()
    asked = ask(script)
    asked.send()
    with pytest.raises(Timeout) as caught:
        asked.collect(0.01)
    assert caught.value.phase == "read"
    go.set()
    assert one(asked.collect()) == (200, b"late")


def test_timeouts_of_a_request_are_its_own(ask: Ask) -> None:
    asked = ask(lambda server: server.rest())
    asked.send(timeouts=Timeouts(read=0.01))
    with pytest.raises(Timeout) as caught:
        asked.collect()
    assert caught.value.phase == "read"


@pytest.mark.parametrize("where", ["head", "content"])
def test_total_time_bounds_an_exchange(ask: Ask, where: str) -> None:
    def script(server: Server) -> None:
        server.request()
        if where == "content":
            server.begin_answer(b"beginning")
        server.rest()

    asked = ask(script)
    asked.send(timeouts=Timeouts(total=0.1))
    with pytest.raises(Timeout) as caught:
        asked.collect().content.read()
    assert caught.value.phase == "total"


# ends


def test_lost_connection_names_those_without_an_answer(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.answer(b"first")
        server.request()

    asked = ask(script)
    for owner in "12":
        asked.send(owner)
    assert one(asked.collect()) == (200, b"first")
    with pytest.raises(HttpError) as caught:
        asked.collect()
    assert list(caught.value.unanswered) == ["2"]
    with pytest.raises(HttpError) as refused:
        asked.send()
    assert refused.value.retryable


def test_content_that_is_cut_is_an_error_behind_what_came(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.begin_answer(b"half")

    asked = ask(script)
    asked.send()
    exchange = asked.collect()
    assert exchange.content.read(4) == b"half"
    for _ in range(2):
        with pytest.raises(HttpError):
            exchange.content.read()


def test_closed_exchange_gives_no_more_content(ask: Ask) -> None:
    def script(server: Server) -> None:
        server.request()
        server.begin_answer(bytes(100000))
        server.rest()

    asked = ask(script)
    asked.client.protocol.connection._timeouts = Timeouts(drain=0.05)
    asked.send()
    exchange = asked.collect()
    exchange.close()
    exchange.close()
    with pytest.raises(Error):
        exchange.content.read()


def test_exchange_that_has_ended_may_be_closed(ask: Ask) -> None:
    def script(server: Server) -> None:
        for content in (b"one", b"two"):
            server.request()
            server.answer(content)
        server.rest()

    asked = ask(script)
    asked.send()
    exchange = asked.collect()
    assert one(exchange) == (200, b"one")
    exchange.close()
    asked.send()
    assert one(asked.collect()) == (200, b"two")


def test_what_was_asked_is_sent_before_the_end(ask: Ask) -> None:
    def script(server: Server) -> None:
        seen.append(server.request()["method"])
        done.set()

    seen: list[str] = []
    done = Event()
    asked = ask(script)
    asked.send(method="PUT")
    asked.client.close()
    assert done.wait(GUARD)
    assert seen == ["PUT"]
