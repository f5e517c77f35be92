"""Health and readiness: answered by the server, whatever the application does."""

from __future__ import annotations

from typing import Any

import gevent
import pytest
from gevent.event import Event

PROBES = {"health_path": "/healthz", "ready_path": "/readyz"}


def failing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    raise ZeroDivisionError(environ["PATH_INFO"])


def naming(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [f"application {environ['REQUEST_METHOD']} {environ['PATH_INFO']}".encode()]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose"])
def test_probe_is_answered_without_the_application(serve: Any, delivery: None, path: str) -> None:
    answer = serve(failing, **PROBES).get(path)
    assert (answer.status, answer.content, answer["Cache-Control"]) == (200, b"200 OK\n", "no-store")


def test_probe_by_head_has_no_content(serve: Any) -> None:
    talk = serve(failing, **PROBES).connect()
    assert talk.ask(b"HEAD /healthz HTTP/1.1\r\nHost: a\r\n\r\n").status == 200
    assert talk.get("/healthz").status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        pytest.param("GET", "/", id="other-path"),
        pytest.param("GET", "/healthz/", id="longer-path"),
        pytest.param("GET", "/Healthz", id="other-case"),
        pytest.param("DELETE", "/healthz", id="other-method"),
    ],
)
def test_all_else_goes_to_the_application(serve: Any, method: str, path: str) -> None:
    answer = serve(naming, **PROBES).ask(f"{method} {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.content == f"application {method} {path}".encode()


def test_application_gets_those_paths_by_default(serve: Any) -> None:
    assert serve(naming).get("/healthz").content == b"application GET /healthz"


def test_server_can_be_said_not_to_be_ready(serve: Any) -> None:
    served = serve(failing, **PROBES)
    served.server.ready = False
    assert served.get("/readyz").status == 503
    assert served.get("/healthz").status == 200
    served.server.ready = True
    assert served.get("/readyz").status == 200


def test_closing_server_is_not_ready(serve: Any, until: Any) -> None:
    going_on = Event()

    def waiting(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        going_on.wait(10)
        start_response("200 OK", [])
        return []

    served = serve(waiting, **PROBES)
    talk = served.connect()
    talk.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: served.server.stats()["active_requests"])
    assert served.server.stats()["ready"]
    closing = gevent.spawn(served.server.close)
    until(lambda: served.server.closed)
    assert not served.server.stats()["ready"]
    going_on.set()
    assert talk.answer().closes
    talk.close()
    closing.join(10)


def test_probes_are_not_logged(serve: Any) -> None:
    records: list[Any] = []
    talk = serve(naming, access_log=records.append, **PROBES).connect()
    for path in ("/healthz", "/readyz", "/"):
        talk.get(path)
    assert [record.target for record in records] == ["/"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param({"health_path": "healthz"}, "must look like /healthz", id="no-slash"),
        pytest.param({"ready_path": "/ready?x"}, "must look like /healthz", id="query"),
        pytest.param({"ready_path": "/r\xe9"}, "must look like /healthz", id="not-ascii"),
        pytest.param({"health_path": "/a", "ready_path": "/a"}, "are the same", id="twice"),
    ],
)
def test_mistaken_path_is_refused(serve: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        serve(naming, **options)
