"""What watches a server over HTTP/1 watches it over HTTP/2 as well: counts, probes, proxies and PROXY headers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gevent.event import Event

Until = Callable[[Callable[[], object]], None]


def facts(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    told = [environ[name] for name in ("REMOTE_ADDR", "wsgi.url_scheme", "HTTP_HOST")]
    return [" ".join(told).encode()]


def test_each_stream_is_an_active_request(serve: Any, speak_http2: Any, until: Until) -> None:
    going_on = Event()

    def waiting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        going_on.wait(10)
        return facts(environ, start_response)

    served = serve(waiting)
    streams = speak_http2(served.server.address)
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


def test_probes_are_answered(serve: Any, speak_http2: Any) -> None:
    served = serve(facts, health_path="/healthz", ready_path="/readyz")
    streams = speak_http2(served.server.address)
    assert streams.get("/healthz") == ("200", b"200 OK\n")
    served.server.ready = False
    assert streams.get("/readyz") == ("503", b"503 Service Unavailable\n")
    streams.peer.close()


def test_trusted_proxy_is_believed_for_each_stream(serve: Any, speak_http2: Any) -> None:
    records: list[Any] = []
    served = serve(facts, trusted_proxies=["127.0.0.1"], access_log=records.append)
    streams = speak_http2(served.server.address)
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


def test_proxy_header_comes_before_the_preface(serve: Any, speak_http2: Any) -> None:
    served = serve(facts)
    served.server.listen(("127.0.0.1", 0), proxy_protocol=True)
    streams = speak_http2(served.server.addresses[1], b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n")
    assert streams.get("/") == ("200", b"192.0.2.1 http a.example")
    streams.peer.close()
