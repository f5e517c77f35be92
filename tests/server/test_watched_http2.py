"""What watches a server over HTTP/1 watches it over HTTP/2 as well: counts, probes, proxies and PROXY headers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import h2.config
import h2.connection
import h2.events
import pytest
from gevent.event import Event

from gruvihttp.testing import RawPeer

Until = Callable[[Callable[[], object]], None]


@pytest.fixture(autouse=True)
def quiet() -> None:
    """The h2 package logs what it does."""
    logging.getLogger("h2").setLevel(logging.ERROR)


class Streams:
    """Requests on one connection, by the h2 package."""

    def __init__(self, address: Any, leading: bytes = b"") -> None:
        self.peer = RawPeer.connect(address)
        self.engine = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="latin-1"))
        self.engine.initiate_connection()
        self.peer.send(leading + self.engine.data_to_send())
        self.heads: dict[int, dict[str, str]] = {}
        self.content: dict[int, bytes] = {}

    def begin(self, path: str, *fields: tuple[str, str]) -> int:
        """Send a request; the number of its stream."""
        stream: int = self.engine.get_next_available_stream_id()
        pseudo = [(":method", "GET"), (":authority", "a.example"), (":scheme", "http"), (":path", path)]
        self.engine.send_headers(stream, [*pseudo, *fields], end_stream=True)
        self.peer.send(self.engine.data_to_send())
        return stream

    def answer(self, stream: int) -> tuple[str, bytes]:
        """Status and content of a response."""
        done = False
        while not done:
            for event in self.engine.receive_data(self.peer.channel.receive()):
                if isinstance(event, h2.events.ResponseReceived):
                    self.heads[event.stream_id] = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    self.content[event.stream_id] = self.content.get(event.stream_id, b"") + event.data
                elif isinstance(event, h2.events.StreamEnded):
                    done = done or event.stream_id == stream
            self.peer.send(self.engine.data_to_send())
        return self.heads[stream][":status"], self.content.get(stream, b"")

    def get(self, path: str, *fields: tuple[str, str]) -> tuple[str, bytes]:
        """The response to a request."""
        return self.answer(self.begin(path, *fields))


def facts(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    told = [environ[name] for name in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")]
    return [" ".join(told).encode()]


def test_each_stream_is_an_active_request(serve: Any, until: Until) -> None:
    going_on = Event()

    def waiting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        going_on.wait(10)
        return facts(environ, start_response)

    served = serve(waiting)
    streams = Streams(served.server.address)
    begun = [streams.begin("/") for _ in range(3)]
    until(lambda: served.server.stats()["active_requests"] == 3)
    assert served.server.stats()["connections"] == 1
    going_on.set()
    streams.answer(begun[-1])
    until(lambda: served.server.stats()["active_requests"] == 0)
    stats = served.server.stats()
    assert (stats["requests"], stats["responses"]["2xx"], stats["aborted"]) == (3, 3, 0)
    assert stats["received_bytes"] > 0 and stats["sent_bytes"] > 0
    streams.peer.close()


def test_probes_are_answered(serve: Any) -> None:
    served = serve(facts, health_path="/healthz", ready_path="/readyz")
    streams = Streams(served.server.address)
    assert streams.get("/healthz") == ("200", b"200 OK\n")
    served.server.ready = False
    assert streams.get("/readyz") == ("503", b"503 Service Unavailable\n")
    streams.peer.close()


def test_trusted_proxy_is_believed_for_each_stream(serve: Any) -> None:
    records: list[Any] = []
    served = serve(facts, trusted_proxies=["127.0.0.1"], access_log=records.append)
    streams = Streams(served.server.address)
    claims = [("x-forwarded-for", "192.0.2.1"), ("x-forwarded-proto", "https")]
    assert streams.get("/", *claims) == ("200", b"192.0.2.1 https a.example")
    assert streams.get("/") == ("200", b"127.0.0.1 http a.example")
    assert streams.get("/", ("x-forwarded-for", "nonsense"))[0] == "400"
    assert [(each.client, each.status, each.protocol) for each in records] == [
        ("192.0.2.1", 200, "HTTP/2.0"),
        ("127.0.0.1", 200, "HTTP/2.0"),
        ("127.0.0.1", 400, "HTTP/2.0"),
    ]
    streams.peer.close()


def test_proxy_header_comes_before_the_preface(serve: Any) -> None:
    served = serve(facts)
    served.server.listen(("127.0.0.1", 0), proxy_protocol=True)
    streams = Streams(served.server.addresses[1], b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
    assert streams.get("/") == ("200", b"192.0.2.1 http a.example")
    streams.peer.close()
