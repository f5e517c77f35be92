"""The server's HTTP/2 driver over real sockets, with the h2 package as the client: streams, windows, ends.

Each claim is about what a client sees; the engine has tests of its own.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import gevent
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.settings
import hyperframe.frame
import pytest
from gevent.event import Event
from hub_reports import nothing_is_reported  # noqa: F401  # a fixture

from gruvihttp.errors import TransportError
from gruvihttp.limits import H2Limits, Limits, Timeouts
from gruvihttp.server import HttpServer
from gruvihttp.testing import RawPeer

GUARD = 10.0
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL = 0, 1, 2, 8


class Site:
    """An application with a path for each claim."""

    def __init__(self) -> None:
        self.entered = Event()
        self.opened = Event()
        self.seen: list[Any] = []
        self.done = Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        handler = getattr(self, environ["PATH_INFO"].strip("/") or "index")
        return handler(environ, start_response)

    def index(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"index"]

    def slow(self, environ: Any, start_response: Any) -> Any:
        self.entered.set()
        assert self.opened.wait(GUARD)
        start_response("200 OK", [])
        return [b"slow"]

    def environ(self, environ: Any, start_response: Any) -> Any:
        self.seen.append(environ)
        return self.index(environ, start_response)

    def echo(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        content = environ["wsgi.input"]
        while piece := content.read1():
            yield piece
        environ["gruvihttp.trailers"].extend(environ["gruvihttp.request_trailers"])

    def count(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"%d" % len(environ["wsgi.input"].read())]

    def large(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        for number in range(40):
            self.seen.append(number)
            yield bytes([number]) * 50_000

    def whole(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        return [b"w" * 500_000]

    def empty(self, environ: Any, start_response: Any) -> Any:
        start_response("204 No Content", [])
        return []

    def same(self, environ: Any, start_response: Any) -> Any:
        start_response("304 Not Modified", [("ETag", '"x"')])
        return []

    def fail(self, environ: Any, start_response: Any) -> Any:
        raise ValueError("the application's own")

    def fail_late(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"some"
        raise ValueError("the application's own")

    def too_little(self, environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [("Content-Length", "10")])
        yield b"some"

    def unread(self, environ: Any, start_response: Any) -> Any:
        return self.index(environ, start_response)

    def hints(self, environ: Any, start_response: Any) -> Any:
        environ["wsgi.early_hints"]([("Link", "</a.css>; rel=preload")])
        return self.index(environ, start_response)

    def read(self, environ: Any, start_response: Any) -> Any:
        self.entered.set()
        try:
            environ["wsgi.input"].read()
        except OSError as exc:
            self.seen += [exc, environ["gruvihttp.client_disconnected"]()]
            raise
        finally:
            self.done.set()

    def write(self, environ: Any, start_response: Any) -> Any:
        write = start_response("200 OK", [])
        try:
            while True:
                write(b"x" * 60_000)
        except OSError as exc:
            self.seen.append(exc)
            raise
        finally:
            self.done.set()


@pytest.fixture
def site() -> Site:
    return Site()


Connect = Callable[..., Any]


@pytest.fixture
def running(site: Site, start_server: Callable[..., HttpServer]) -> Callable[..., HttpServer]:
    return partial(start_server, site)


@pytest.fixture
def connect(running: Callable[..., HttpServer], talking: Any) -> Connect:
    """A client's connection to a server of its own, with options of `Talk`."""

    def connect(window: int | None = None, **options: Any) -> Any:
        return talking(running(**options).address, window=window)

    return connect


# requests


def test_fast_requests_are_answered_while_a_slow_one_runs(connect: Connect, site: Site) -> None:
    talk = connect()
    slow = talk.begin("/slow")
    assert [talk.get() for _ in range(20)] == [("200", b"index")] * 20
    assert slow not in talk.heads
    site.opened.set()
    assert talk.answer(slow) == ("200", b"slow")


def test_environ_names_the_version_and_has_no_length_that_was_not_sent(connect: Connect, site: Site) -> None:
    connect().get("/environ?a=b")
    environ = site.seen[0]
    assert environ["SERVER_PROTOCOL"] == "HTTP/2"
    assert (environ["HTTP_HOST"], environ["QUERY_STRING"]) == ("a.example", "a=b")
    assert "CONTENT_LENGTH" not in environ
    assert environ["wsgi.input"].read() == b""


def test_preface_that_comes_byte_by_byte_is_understood(running: Any) -> None:
    peer = RawPeer.connect(running().address)
    settings = hyperframe.frame.SettingsFrame(0).serialize()
    peer.send_in_pieces(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
    assert peer.read(4)[3] == 4  # SETTINGS


@pytest.mark.parametrize("start", [b"PRI / HTTP/2.0\r\n\r\n", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n"])
def test_what_only_resembles_a_preface_is_refused_in_the_old_version(running: Any, start: bytes) -> None:
    peer = RawPeer.connect(running().address)
    peer.send(start)
    assert peer.read_until(b"\r\n").startswith(b"HTTP/1.1 505 ")


def test_preface_behind_a_request_is_refused(running: Any) -> None:
    peer = RawPeer.connect(running().address)
    peer.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert b"HTTP/1.1 505 " in peer.read_to_end()


def test_preface_is_refused_where_http2_is_not_spoken(running: Any) -> None:
    peer = RawPeer.connect(running(http2=False).address)
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert peer.read_until(b"\r\n").startswith(b"HTTP/1.1 505 ")


def test_settings_tell_a_client_the_bounds(running: Any, talking: Any) -> None:
    bounds = H2Limits(concurrent_streams=7, window_bytes=1000, header_table_bytes=100, frame_bytes=20_000)
    talk = talking(running(h2_limits=bounds, limits=Limits(fields_bytes=5000)).address)
    assert talk.get() == ("200", b"index")
    told = talk.h2.remote_settings
    assert (told.max_concurrent_streams, told.initial_window_size, told.max_header_list_size) == (7, 1000, 5000)
    assert (told.header_table_size, told.max_frame_size) == (100, 20_000)


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"


@pytest.mark.parametrize(
    ("request_line", "rest", "answer"),
    [
        (b"GET / HTTP/1.1", b"\r\n", b"index"),
        (b"POST /echo HTTP/1.1", b"Content-Length: 7\r\n\r\ncontent", b"content"),
        (b"POST /echo HTTP/1.1", b"Transfer-Encoding: chunked\r\n\r\n7\r\ncontent\r\n0\r\n\r\n", b"content"),
        (b"POST / HTTP/1.1", b"Content-Length: 7\r\n\r\ncontent", b"index"),
    ],
    ids=["none", "length", "chunks", "unread"],
)
def test_upgrade_to_h2c_is_ignored_and_the_connection_persists(
    running: Any, request_line: bytes, rest: bytes, answer: bytes
) -> None:
    """gevent#2035."""
    peer = RawPeer.connect(running().address)
    for _ in range(2):
        peer.send(b"%b\r\nHost: a\r\n%b%b" % (request_line, UPGRADE, rest))
        head = peer.read_until()
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"pgrade" not in head
        framed = answer if b"Content-Length" in head else b"%x\r\n%b\r\n0\r\n\r\n" % (len(answer), answer)
        assert peer.read(len(framed)) == framed


# content


def test_upload_larger_than_the_windows_comes_back_whole(connect: Connect) -> None:
    content = bytes(range(256)) * 12_000
    talk = connect()
    stream = talk.begin("/echo", method="POST", end=False)
    talk.upload(stream, content)
    assert talk.answer(stream) == ("200", content)


def test_uploads_side_by_side_all_arrive(connect: Connect) -> None:
    talk = connect()
    streams = [talk.begin("/count", method="POST", end=False) for _ in range(20)]
    for stream in streams:
        talk.data(stream, b"x" * 2000)
    for stream in streams:
        talk.upload(stream, b"x" * 100_000)
    assert [talk.answer(stream) for stream in streams] == [("200", b"102000")] * 20


@pytest.mark.parametrize("path", ["/large", "/whole"])
def test_download_larger_than_the_windows_arrives_whole(connect: Connect, path: str) -> None:
    _, content = connect(window=1000).get(path)
    assert len(content) == (2_000_000 if path == "/large" else 500_000)


def test_handler_waits_for_a_client_that_does_not_read(connect: Connect, site: Site) -> None:
    talk = connect()
    talk.credits = False
    stream = talk.begin("/large")
    talk.hear_until(lambda: len(talk.content.get(stream, b"")) == 65535)
    assert len(site.seen) < 5
    talk.h2.increment_flow_control_window(1 << 20)  # the connection's: others are not held up
    assert talk.get() == ("200", b"index")
    talk.h2.increment_flow_control_window(2_000_000)
    talk.h2.increment_flow_control_window(2_000_000, stream)
    talk.flush()
    assert len(talk.answer(stream)[1]) == 2_000_000


def test_continue_is_sent_when_content_is_wanted(connect: Connect) -> None:
    talk = connect()
    stream = talk.begin("/echo", ("expect", "100-continue"), method="POST", end=False)
    talk.hear_until(lambda: stream in talk.informational)
    assert talk.informational[stream] == [{":status": "100"}]
    talk.data(stream, b"now", end=True)
    assert talk.answer(stream) == ("200", b"now")


def test_trailers_go_both_ways(connect: Connect) -> None:
    talk = connect()
    stream = talk.begin("/echo", method="POST", end=False)
    talk.data(stream, b"abc")
    talk.h2.send_headers(stream, [("x-sum", "6")], end_stream=True)
    talk.flush()
    assert talk.answer(stream) == ("200", b"abc")
    assert talk.trailers[stream] == [("x-sum", "6")]


def test_early_hints_come_before_the_answer_of_their_own_stream(connect: Connect) -> None:
    talk = connect()
    stream, other = talk.begin("/hints"), talk.begin("/")
    assert talk.answer(stream) == ("200", b"index")
    assert talk.informational[stream] == [{":status": "103", "link": "</a.css>; rel=preload"}]
    talk.answer(other)
    assert other not in talk.informational


@pytest.mark.parametrize(
    ("method", "path", "status", "length"),
    [("HEAD", "/", "200", "5"), ("GET", "/empty", "204", None), ("GET", "/same", "304", None)],
    ids=["HEAD", "204", "304"],
)
def test_response_without_content_ends_with_its_head(
    connect: Connect, method: str, path: str, status: str, length: str | None
) -> None:
    talk = connect()
    stream = talk.begin(path, method=method)
    assert talk.answer(stream) == (status, b"")
    assert stream not in talk.content
    assert talk.heads[stream].get("content-length") == length


# ends


def test_content_that_nobody_reads_is_given_up_after_the_answer(connect: Connect) -> None:
    talk = connect()
    stream = talk.begin("/unread", method="POST", end=False)
    assert talk.answer(stream) == ("200", b"index")
    talk.hear_until(lambda: stream in talk.resets)
    assert talk.resets[stream] == NO_ERROR
    assert talk.get() == ("200", b"index")


def test_failing_application_is_answered_on_its_stream_only(connect: Connect, caplog: Any) -> None:
    talk = connect()
    assert talk.get("/fail")[0] == "500"
    assert talk.get() == ("200", b"index")
    assert [record.getMessage() for record in caplog.records] == ["GET /fail failed"]


@pytest.mark.parametrize("path", ["/fail_late", "/too_little"])
def test_response_that_breaks_off_is_reset(connect: Connect, path: str) -> None:
    talk = connect()
    stream = talk.begin(path)
    talk.hear_until(lambda: stream in talk.resets)
    assert talk.resets[stream] == INTERNAL_ERROR
    assert stream not in talk.ended
    assert talk.get() == ("200", b"index")


@pytest.mark.parametrize("path", ["/read", "/write"])
@pytest.mark.parametrize("how", ["reset", "close"])
def test_client_that_gives_up_is_an_error_in_the_application(
    connect: Connect, site: Site, caplog: Any, path: str, how: str
) -> None:
    caplog.set_level(logging.WARNING)
    talk = connect()
    stream = talk.begin(path, method="POST", end=False)
    if path == "/read":
        assert site.entered.wait(GUARD)
    else:
        talk.credits = False
        talk.hear_until(lambda: len(talk.content.get(stream, b"")) == 65535)
    if how == "reset":
        talk.reset(stream)
    else:
        talk.peer.close()
    assert site.done.wait(GUARD)
    assert isinstance(site.seen[0], TransportError)
    assert site.seen[0].errno == errno.ECONNRESET
    assert site.seen[1:] in ([], [True])
    if how == "reset":
        talk.h2.increment_flow_control_window(1 << 20)  # the connection's
        assert talk.get() == ("200", b"index")
    assert caplog.records == []


def test_slot_stays_taken_until_the_handler_has_ended(connect: Connect, site: Site) -> None:
    talk = connect()
    streams = [talk.begin("/slow") for _ in range(100)]
    for stream in streams:
        talk.reset(stream)
    late = talk.begin()
    talk.hear_until(lambda: late in talk.resets)
    assert talk.resets[late] == h2.errors.ErrorCodes.REFUSED_STREAM
    site.opened.set()
    assert talk.get() == ("200", b"index")


@pytest.mark.parametrize(
    ("fields", "limits", "status"),
    [
        pytest.param([("expect", "magic")], Limits(), "417", id="expectation"),
        pytest.param([("content-length", "2000")], Limits(content_bytes=1000), "413", id="announced"),
        pytest.param([("x", "y" * 5000)], Limits(fields_bytes=4000), "431", id="fields"),
    ],
)
def test_refused_request_gets_its_status(connect: Connect, fields: Any, limits: Limits, status: str) -> None:
    talk = connect(limits=limits)
    stream = talk.begin("/", *fields, method="POST", end=False)
    assert talk.answer(stream)[0] == status
    assert talk.get() == ("200", b"index")


@pytest.mark.parametrize("first", [False, True], ids=["later", "with the preface"])
def test_refused_request_that_is_reset_at_once_concerns_no_other(
    running: Any, talking: Any, monkeypatch: pytest.MonkeyPatch, first: bool
) -> None:
    with monkeypatch.context() as patch:
        if first:
            patch.setattr(talking, "flush", lambda talk: None)  # what it says first leaves with the rest
        talk = talking(running(h2_limits=H2Limits(concurrent_streams=2)).address)
    pseudo = [(":method", "POST"), (":authority", "a.example"), (":scheme", "http"), (":path", "/")]
    for _ in range(3):  # none of them keeps its slot
        stream = talk.h2.get_next_available_stream_id()
        talk.h2.send_headers(stream, [*pseudo, ("expect", "magic")])
        talk.h2.reset_stream(stream)
        talk.flush()
        assert talk.get() == ("200", b"index")


def test_content_that_grows_too_large_is_refused_where_it_is_read(connect: Connect) -> None:
    talk = connect(limits=Limits(content_bytes=1000))
    stream = talk.begin("/count", method="POST", end=False)
    talk.data(stream, b"x" * 1001)
    assert talk.answer(stream)[0] == "413"


def test_malformed_request_ends_its_stream_only(connect: Connect) -> None:
    talk = connect()
    stream = talk.begin("/", ("connection", "close"))
    talk.hear_until(lambda: stream in talk.resets)
    assert talk.resets[stream] == PROTOCOL_ERROR
    assert talk.get() == ("200", b"index")


def test_broken_protocol_ends_the_connection_with_a_reason(connect: Connect) -> None:
    talk = connect()
    talk.get()
    talk.peer.send(hyperframe.frame.WindowUpdateFrame(0, window_increment=0).serialize()[:9] + bytes(4))
    talk.hear_until(lambda: talk.goaways)
    assert talk.goaways == [PROTOCOL_ERROR]
    talk.hear_until(lambda: talk.over)


def test_running_streams_finish_when_the_server_closes(running: Any, talking: Any, site: Site) -> None:
    server = running()
    talk = talking(server.address)
    slow = talk.begin("/slow")
    assert site.entered.wait(GUARD)
    closing = gevent.spawn(server.close, GUARD)
    talk.hear_until(lambda: talk.goaways)
    assert not closing.ready()
    site.opened.set()
    assert talk.answer(slow) == ("200", b"slow")
    while not talk.over:
        talk.hear()
    talk.peer.close()
    closing.get(timeout=GUARD)
    assert server.stats()["active_requests"] == 0


def test_idle_connection_ends_with_goaway(connect: Connect) -> None:
    talk = connect(timeouts=Timeouts(idle=0.05))
    assert talk.get() == ("200", b"index")
    talk.hear_until(lambda: talk.goaways)
    while not talk.over:
        talk.hear()


def test_preface_that_never_ends_is_not_waited_for(running: Any) -> None:
    peer = RawPeer.connect(running(timeouts=Timeouts(head=0.05)).address)
    peer.send(b"PRI * HTTP/2.0\r\n\r\nSM")
    with pytest.raises(TransportError):
        peer.read_to_end()


def test_client_that_takes_nothing_is_given_up(connect: Connect, site: Site) -> None:
    talk = connect(timeouts=Timeouts(write=0.05))
    talk.credits = False
    stream = talk.begin("/whole")
    talk.hear_until(lambda: stream in talk.resets)
    assert stream not in talk.ended
    assert talk.resets[stream] == CANCEL


def test_every_request_is_counted_once(running: Any, talking: Any) -> None:
    server = running()
    talk = talking(server.address)
    streams = {talk.begin(path) for path in ("/", "/fail_late", "/empty")}
    talk.hear_until(lambda: streams == {*talk.ended, *talk.resets})
    with gevent.Timeout(GUARD):
        while server.stats()["active_requests"]:
            gevent.idle()
    stats = server.stats()
    assert (stats["requests"], stats["aborted"], stats["responses"]["2xx"]) == (3, 1, 2)


def test_access_log_has_a_record_for_each_stream_and_each_refusal(running: Any, talking: Any) -> None:
    records: list[Any] = []
    talk = talking(running(access_log=records.append, limits=Limits(fields_bytes=4000)).address)
    streams = [talk.begin("/"), talk.begin("/large"), talk.begin("/", ("expect", "magic"))]
    streams.append(talk.begin("/", ("x", "y" * 5000)))
    for stream in streams:
        talk.answer(stream)
    with gevent.Timeout(GUARD):
        while len(records) < 4:  # a handler may end a moment after its response
            gevent.idle()
    seen = sorted((record.status, record.content_bytes) for record in records)
    assert [status for status, _ in seen] == [200, 200, 417, 431]
    assert [size for _, size in seen[:2]] == [5, 2_000_000]
    assert sorted(record.connection_requests for record in records) == [1, 2, 3, 4]


def test_client_whose_preface_meets_a_closing_server_is_told_so(running: Any, talking: Any) -> None:
    server = running()
    talk = talking(server.address)  # nothing was read of it yet
    closing = gevent.spawn(server.close, GUARD)
    talk.hear_until(lambda: talk.goaways)
    while not talk.over:
        talk.hear()
    talk.peer.close()
    closing.get(timeout=GUARD)
