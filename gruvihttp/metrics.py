"""What a server counts, as `Stats` and as text that Prometheus reads. What is counted where is not known here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypedDict

from gruvihttp.environ import Environ
from gruvihttp.wsgi import Application, StartResponse

__all__ = ["Stats", "by_class", "ended", "exposition", "metrics_application", "total"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"  # of Prometheus's text format


class Stats(TypedDict):
    """What a server is doing, and what it has done since it was made.

    Now: `ready` says whether it wants new requests; `connections` are open, `handshakes` are still being made;
    `active_requests` are being served, `waiting_requests` wait for their turn.

    So far: `accepted` connections; `evicted` ones, which were idle and closed for a newcomer; `handshake_failures` of
    TLS; `proxy_failures`, connections without the PROXY header that they should have begun with. Each of the `requests`
    has got a complete response, which `responses` counts by the class of its status, or was `aborted`. `refused` are
    those answered requests that never reached the application. Bytes are those of HTTP, before TLS. `http2_defences`
    are those of `gruvihttp.sansio.h2errors.Defence`, by name.
    """

    ready: bool
    connections: int
    handshakes: int
    active_requests: int
    waiting_requests: int
    accepted: int
    evicted: int
    handshake_failures: int
    proxy_failures: int
    requests: int
    responses: dict[str, int]
    refused: int
    aborted: int
    received_bytes: int
    sent_bytes: int
    http2_defences: dict[str, int]


def by_class(statuses: list[int]) -> dict[str, int]:
    """Counts by status as counts by class: ``{"2xx": 10, ...}``."""
    return {f"{first}xx": sum(statuses[first * 100 : first * 100 + 100]) for first in range(1, 6)}


_GAUGES = {
    "ready": "Whether the server wants new requests.",
    "connections": "Open connections.",
    "handshakes": "Connections that have not finished their TLS handshake or PROXY header.",
    "active_requests": "Requests that are being served.",
    "waiting_requests": "Requests that wait for their turn, as too many are being served.",
}
_COUNTERS = {
    "accepted": ("connections_total", "Connections that were accepted."),
    "evicted": ("connections_evicted_total", "Idle connections that had to go for a newcomer."),
    "handshake_failures": ("handshake_failures_total", "TLS handshakes that failed."),
    "proxy_failures": ("proxy_failures_total", "Connections that lacked the PROXY header they should begin with."),
    "requests": ("requests_total", "Requests, whatever became of them."),
    "refused": ("requests_refused_total", "Requests that were answered before they reached the application."),
    "aborted": ("requests_aborted_total", "Requests that got no complete response."),
    "received_bytes": ("received_bytes_total", "Bytes of HTTP that were received, before TLS."),
    "sent_bytes": ("sent_bytes_total", "Bytes of HTTP that were sent, before TLS."),
}


def ended(stats: Stats) -> Stats:
    """What remains of the counts of a server that has ended."""
    remaining: Any = {name: type(value)() if name in _GAUGES else value for name, value in stats.items()}
    kept: Stats = remaining
    return kept


def total(all_stats: Iterable[Stats]) -> Stats:
    """What several servers do and have done together. They are ready if one of them is."""
    sums: Any = Stats(
        ready=False,
        **dict.fromkeys((name for name in (*_GAUGES, *_COUNTERS) if name != "ready"), 0),  # type: ignore[typeddict-item]
        responses=dict.fromkeys(by_class([]), 0),
        http2_defences={},
    )
    for stats in all_stats:
        for name, value in stats.items():
            _add(sums, name, value)
    summed: Stats = sums
    return summed


def _add(sums: dict[str, Any], name: str, value: Any) -> None:
    """Add a count, or each of several by their names; of two answers, yes."""
    if isinstance(value, bool):
        sums[name] = sums.get(name, False) or value
    elif isinstance(value, dict):
        for key, count in value.items():
            _add(sums[name], key, count)
    else:
        sums[name] = sums.get(name, 0) + value


def exposition(stats: Stats) -> str:
    """The text that Prometheus reads."""
    return "".join(_lines(stats))


def _lines(stats: Stats) -> Iterator[str]:
    values: dict[str, int] = {name: int(value) for name, value in stats.items() if isinstance(value, int)}
    for name, meaning in _GAUGES.items():
        yield from _metric(name, "gauge", meaning, [("", values[name])])
    for name, (full, meaning) in _COUNTERS.items():
        yield from _metric(full, "counter", meaning, [("", values[name])])
    responses = [(f'{{class="{name}"}}', count) for name, count in stats["responses"].items()]
    yield from _metric("responses_total", "counter", "Complete responses, by the class of their status.", responses)
    defences = [(f'{{defence="{name}"}}', count) for name, count in stats["http2_defences"].items()]
    yield from _metric("http2_defences_total", "counter", "What peers were stopped from doing in HTTP/2.", defences)


def _metric(name: str, kind: str, meaning: str, samples: Iterable[tuple[str, int]]) -> Iterator[str]:
    yield f"# HELP gruvihttp_{name} {meaning}\n# TYPE gruvihttp_{name} {kind}\n"
    for labels, value in samples:
        yield f"gruvihttp_{name}{labels} {value}\n"


def metrics_application(
    stats: Callable[[], Stats], *, health_path: str | None = None, ready_path: str | None = None
) -> Application:
    """A WSGI application with ``/metrics``, and with the paths of probes, answered for the server of `stats`."""

    def application(environ: Environ, start_response: StartResponse) -> list[bytes]:
        path = environ["PATH_INFO"]
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _answer(start_response, "405 Method Not Allowed", [("Allow", "GET, HEAD")])
        if path == "/metrics":
            start_response("200 OK", [("Content-Type", CONTENT_TYPE)])
            return [exposition(stats()).encode("ascii")]
        if path == health_path or (path == ready_path and stats()["ready"]):
            return _answer(start_response, "200 OK")
        if path == ready_path:
            return _answer(start_response, "503 Service Unavailable")
        return _answer(start_response, "404 Not Found")

    return application


def _answer(
    start_response: StartResponse, status: str, headers: Iterable[tuple[str, str]] = ()
) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store"), *headers])
    return [f"{status}\n".encode("ascii")]
