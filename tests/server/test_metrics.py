"""What a server counts, and how it tells."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.metrics import Stats, by_class, exposition
from gruvihttp.sansio.h2errors import Defence
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

Until = Callable[[Callable[[], object]], None]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def answering(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    """Answers with the status that the path names."""
    status = environ["PATH_INFO"].strip("/") or "200"
    start_response(f"{status} Some", [])
    return [] if status in ("204", "304") else [b"content"]


def test_new_server_has_counted_nothing() -> None:
    with HttpServer(answering) as server:
        assert server.stats() == {
            "ready": False,  # it does not listen
            "connections": 0,
            "handshakes": 0,
            "active_requests": 0,
            "waiting_requests": 0,
            "accepted": 0,
            "evicted": 0,
            "handshake_failures": 0,
            "proxy_failures": 0,
            "requests": 0,
            "responses": {"1xx": 0, "2xx": 0, "3xx": 0, "4xx": 0, "5xx": 0},
            "refused": 0,
            "aborted": 0,
            "received_bytes": 0,
            "sent_bytes": 0,
            "http2_defences": {str(defence): 0 for defence in Defence},
        }


def test_responses_are_counted_by_class(serve: Any, delivery: None) -> None:
    served = serve(answering)
    talk = served.connect()
    for status in ("200", "204", "301", "304", "404", "503", "200"):
        assert talk.get(f"/{status}").status == int(status)
    stats = served.server.stats()
    assert stats["responses"] == {"1xx": 0, "2xx": 3, "3xx": 2, "4xx": 1, "5xx": 1}
    assert (stats["requests"], stats["refused"], stats["aborted"]) == (7, 0, 0)
    assert (stats["accepted"], stats["connections"]) == (1, 1)


def test_refused_requests_are_counted_among_the_responses(serve: Any, delivery: None) -> None:
    served = serve(answering)
    served.hear(b"nonsense\r\n\r\n")
    stats = served.server.stats()
    assert (stats["requests"], stats["responses"]["4xx"], stats["refused"], stats["aborted"]) == (1, 1, 1, 0)


def test_pipelined_requests_are_counted_each(serve: Any) -> None:
    served = serve(answering)
    talk = served.connect()
    talk.say(GET * 5)
    assert [talk.answer().status for _ in range(5)] == [200] * 5
    assert served.server.stats()["requests"] == 5


def broken_off(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"some"
    gevent.sleep(0)
    raise ZeroDivisionError


def too_short(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "10")])
    return [b"five!"]


def killed(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    raise gevent.GreenletExit


@pytest.mark.parametrize("application", [broken_off, too_short, killed])
def test_incomplete_responses_are_counted_as_aborted(serve: Any, until: Until, application: Any) -> None:
    served = serve(application)
    talk = served.connect()
    talk.say(GET)
    talk.is_cut()
    talk.close()
    until(lambda: not served.server.connections)
    stats = served.server.stats()
    assert (stats["requests"], stats["aborted"], sum(stats["responses"].values())) == (1, 1, 0)


def test_client_that_goes_is_counted_as_aborted(serve: Any, until: Until) -> None:
    gone = Event()

    def slow(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        gone.wait(10)
        for _ in range(100):
            yield b"x" * 65536

    served = serve(slow)
    talk = served.connect()
    talk.say(GET)
    until(lambda: served.server.stats()["active_requests"] == 1)
    talk.reset()
    gone.set()
    until(lambda: not served.server.connections)
    stats = served.server.stats()
    assert (stats["requests"], stats["aborted"], stats["active_requests"]) == (1, 1, 0)


def test_bytes_are_those_of_the_connection(serve: Any, delivery: None) -> None:
    served = serve(answering)
    talk = served.connect()
    talk.post(b"x" * 1000, "/200")  # which nobody reads
    talk.get("/404")
    stats = served.server.stats()
    assert stats["sent_bytes"] == len(talk.received)
    assert stats["received_bytes"] > 1000


def test_bytes_of_a_stream_are_counted(serve: Any) -> None:
    def echo(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        while piece := environ["wsgi.input"].read1(10_000):
            yield piece
            gevent.sleep(0)

    served = serve(echo)
    talk = served.connect()
    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)
    sending = gevent.spawn(talk.say, request)
    assert len(talk.answer().content) == 300_000
    sending.join(10)
    stats = served.server.stats()
    assert (stats["received_bytes"], stats["sent_bytes"]) == (len(request), len(talk.received))


def test_bytes_are_counted_before_tls(serve: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext) -> None:
    served = serve(answering, ssl=server_tls)
    talk = served.connect(client_tls)
    talk.get("/")
    assert served.server.stats()["sent_bytes"] == len(talk.received)


def test_failed_handshakes_are_counted(serve: Any, until: Until, server_tls: ssl.SSLContext) -> None:
    served = serve(answering, ssl=server_tls)
    talk = served.connect()
    talk.say(GET)
    talk.is_cut()
    until(lambda: served.server.stats()["handshake_failures"])
    stats = served.server.stats()
    assert (stats["accepted"], stats["handshake_failures"], stats["requests"]) == (1, 1, 0)


def test_connection_that_shakes_hands_is_no_connection_yet(
    serve: Any, until: Until, server_tls: ssl.SSLContext
) -> None:
    served = serve(answering, ssl=server_tls)
    served.connect()
    until(lambda: served.server.stats()["handshakes"] == 1)
    assert served.server.stats()["connections"] == 0


# Prometheus


def stats_of(**facts: Any) -> Stats:
    with HttpServer(answering) as server:
        return {**server.stats(), **facts}  # type: ignore[typeddict-item]


def test_every_number_is_told_with_its_type_and_meaning() -> None:
    lines = exposition(stats_of(requests=3, responses=by_class([0] * 200 + [2] + [0] * 300 + [1]))).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    for sample in samples:
        match = re.fullmatch(r'(gruvihttp_[a-z0-9_]+)(\{(?:class="\dxx"|defence="[a-z_]+")\})? \d+', sample)
        assert match is not None
        assert any(line.startswith(f"# HELP {match[1]} ") for line in lines)
        kind = "counter" if match[1].endswith("_total") else "gauge"
        assert f"# TYPE {match[1]} {kind}" in lines
    assert "gruvihttp_requests_total 3" in samples
    assert 'gruvihttp_responses_total{class="2xx"} 2' in samples
    assert 'gruvihttp_http2_defences_total{defence="rapid_reset"} 0' in samples
    assert len(samples) == len(Stats.__annotations__) - 2 + 5 + len(Defence)
    assert len(set(samples)) == len(samples)


def test_metrics_are_told_at_an_address_of_their_own(serve: Any) -> None:
    served = serve(answering, health_path="/healthz", ready_path="/readyz", access_log=lambda record: None)
    served.server.listen_metrics(("127.0.0.1", 0))
    [address] = served.server.metrics_addresses
    assert address not in served.server.addresses
    served.get("/404")
    talk = served.connect(address=address)
    answer = talk.get("/metrics")
    assert (answer.status, answer["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b'gruvihttp_responses_total{class="4xx"} 1\n' in answer.content
    assert b"gruvihttp_ready 1\n" in answer.content
    assert [talk.get(path).status for path in ("/healthz", "/readyz", "/", "/metrics/")] == [200, 200, 404, 404]
    assert talk.ask(b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").status == 405
    assert served.server.stats()["requests"] == 1


def test_metrics_go_on_while_the_server_drains(serve: Any, until: Until) -> None:
    going_on = Event()

    def waiting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        going_on.wait(10)
        start_response("200 OK", [])
        return []

    served = serve(waiting, health_path="/healthz", ready_path="/readyz")
    served.server.listen_metrics(("127.0.0.1", 0))
    [address] = served.server.metrics_addresses
    talk = served.connect()
    talk.say(GET)
    until(lambda: served.server.stats()["active_requests"])
    closing = gevent.spawn(served.server.close)
    until(lambda: served.server.closed)
    watching = served.connect(address=address)
    assert [watching.get(path).status for path in ("/readyz", "/healthz")] == [503, 200]
    assert b"\ngruvihttp_active_requests 1\n" in watching.get("/metrics").content
    going_on.set()
    assert talk.answer().status == 200
    talk.close()
    closing.join(10)
    assert served.server.metrics_addresses == []
    assert watching.ends()


def test_metrics_end_with_a_server_that_stops(serve: Any) -> None:
    served = serve(answering)
    served.server.listen_metrics(("127.0.0.1", 0))
    [address] = served.server.metrics_addresses
    served.server.stop()
    with pytest.raises(OSError):
        RawPeer.connect(address)
