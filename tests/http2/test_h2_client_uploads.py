"""Uploads of the client's HTTP/2 driver: windows of streams and of the connection, early answers, broken promises."""

from __future__ import annotations

import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import gevent
import pytest
from frameserver import FrameServer, Heard
from gevent.event import Event

from gruvihttp import Http2Client, StreamError, Timeout, Timeouts
from gruvihttp.net.deadline import moment_after
from gruvihttp.sansio import frames as f
from gruvihttp.sansio.h2errors import ErrorCode
from gruvihttp.sansio.h2settings import INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE

GUARD = 10.0
Converse = Callable[..., Http2Client]
CONTENT = bytes(range(256)) * 1200  # 307,200 bytes: several windows


def spawn(function: Callable[..., Any], *arguments: Any) -> gevent.Greenlet[..., Any]:
    """A greenlet that runs until it waits."""
    greenlet = gevent.spawn(function, *arguments)
    gevent.sleep(0)
    return greenlet


class Upload:
    """A script: takes one request with its content and answers it. `frames` are its DATA, `head` its fields."""

    def __init__(self, answers: int = 1) -> None:
        self.contents: list[bytes] = []
        self.heads: list[Heard] = []
        self.server: Any = None
        self._answers = answers

    def __call__(self, server: FrameServer) -> None:
        self.server = server
        for _ in range(self._answers):
            request = server.request()
            self.heads.append(request)
            self.contents.append(b"" if request.ends else server.content(request.stream))
            server.answer(request.stream, b"thanks")
        server.rest()

    @property
    def data(self) -> list[Heard]:
        frames: list[Heard] = self.server.of_kind("Data")
        return frames

    @property
    def fields(self) -> dict[str, str]:
        return dict(self.heads[-1].fields)


class Unsized:
    """A file-like object that cannot say how much it has."""

    def __init__(self, content: bytes) -> None:
        self._file = io.BytesIO(content)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)


def in_pieces() -> Iterator[bytes]:
    for start in range(0, len(CONTENT), 100000):
        yield CONTENT[start : start + 100000]


BODIES: dict[str, tuple[Callable[[], Any], bool]] = {
    "bytes": (lambda: CONTENT, True),
    "bytearray": (lambda: bytearray(CONTENT), True),
    "memoryview": (lambda: memoryview(CONTENT), True),
    "file": (lambda: Unsized(CONTENT), False),
    "generator": (in_pieces, False),
}


@pytest.mark.parametrize("kind", BODIES)
def test_body_of_any_kind_arrives_whole(converse: Converse, kind: str) -> None:  # T8, T10
    body, announced = BODIES[kind]
    upload = Upload()
    client = converse(upload)
    assert client.request("POST", "/", [], body()).getresponse().read() == b"thanks"
    assert upload.contents == [CONTENT]
    assert upload.fields.get("content-length") == (str(len(CONTENT)) if announced else None)
    assert "transfer-encoding" not in upload.fields
    assert sum(frame.ends for frame in upload.data) == 1
    assert all(len(frame.content) <= 16384 for frame in upload.data)
    if kind == "bytes":
        assert upload.data[-1].content  # no empty frame for the end


def test_empty_body_ends_with_its_head(converse: Converse) -> None:  # T10
    upload = Upload(2)
    client = converse(upload)
    client.request("POST", "/", [], b"").getresponse().read()
    client.upload("POST", "/", io.BytesIO()).getresponse().read()
    assert [head.ends for head in upload.heads] == [True, True]
    assert [dict(head.fields)["content-length"] for head in upload.heads] == ["0", "0"]
    assert upload.data == []


@pytest.mark.parametrize("window", [1, 7, 100, 65535])
def test_upload_never_exceeds_the_streams_window(converse: Converse, window: int) -> None:  # T8
    content = CONTENT[: 200 if window < 100 else 5000 if window == 100 else 300000]
    upload = Upload()
    client = converse(upload, settings=((INITIAL_WINDOW_SIZE, window),))
    client.request("POST", "/", [], content).getresponse().read()
    assert upload.contents == [content]
    assert all(len(frame.content) <= window for frame in upload.data)
    assert upload.data[-1].ends


@pytest.mark.parametrize(
    ("window", "more", "allowed"),
    [
        pytest.param(1 << 20, 0, 65535, id="connection"),
        pytest.param(1 << 20, 7, 65542, id="connection, a little wider"),
        pytest.param(1, 1 << 20, 1, id="stream, a byte"),
        pytest.param(40000, 1 << 20, 40000, id="stream"),
        pytest.param(65535, 0, 65535, id="both"),
    ],
)
def test_upload_stops_where_the_smaller_window_ends(
    converse: Converse, window: int, more: int, allowed: int
) -> None:  # T8
    def script(server: FrameServer) -> None:
        if more:
            server.say(f.window_update(0, more))
        stream = server.request().stream
        got = b""
        while len(got) < allowed:
            got += server.hear("Data").content
        server.sync()
        assert sum(len(frame.content) for frame in server.of_kind("Data")) == len(got) == allowed
        server.say(f.window_update(stream, 1 << 20), f.window_update(0, 1 << 20))
        whole.append(got + server.content(stream))
        server.answer(stream)
        server.rest()

    whole: list[bytes] = []
    client = converse(script, settings=((INITIAL_WINDOW_SIZE, window),))
    client.ping()  # so that the windows are known before anything is asked
    assert client.request("PUT", "/", [], CONTENT).getresponse().status == 200
    assert whole == [CONTENT]


def test_frames_may_be_as_large_as_the_server_allows(converse: Converse) -> None:
    upload = Upload()
    client = converse(upload, settings=((MAX_FRAME_SIZE, 32768), (INITIAL_WINDOW_SIZE, 1 << 20)))
    client.ping()
    client.request("POST", "/", [], CONTENT).getresponse().read()
    assert upload.contents == [CONTENT]
    assert 16384 < max(len(frame.content) for frame in upload.data) <= 32768


def test_no_content_leaves_before_the_servers_settings(converse: Converse) -> None:  # T4
    def script(server: FrameServer) -> None:
        request = server.request()
        server.hear("Headers")  # of a second request, behind which content would have come
        early.extend(server.of_kind("Data"))
        server.say(f.settings([(INITIAL_WINDOW_SIZE, 4)]))
        content.append(server.content(request.stream))
        server.answer(request.stream)
        server.rest()

    early: list[Heard] = []
    content: list[bytes] = []
    client = converse(script, settings=None)
    asking = spawn(lambda: client.request("POST", "/", [], b"content").getresponse().status)
    gevent.sleep(0)
    client.request("GET", "/2")
    assert asking.get(timeout=GUARD) == 200
    assert (early, content) == ([], [b"content"])


@pytest.mark.parametrize("order", ["stream first", "connection first"])
def test_blocked_upload_goes_on_when_both_windows_are_open(converse: Converse, order: str) -> None:  # T9
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        got = b""
        while len(got) < 65535:
            got += server.hear("Data").content
        for _ in range(10):  # in steps of a byte
            updates = [f.window_update(stream, 1), f.window_update(0, 1)]
            if order == "connection first":
                updates.reverse()
            server.say(updates[0])
            server.sync()
            assert sum(len(frame.content) for frame in server.of_kind("Data")) == len(got)
            server.say(updates[1])
            got += server.hear("Data").content
        server.say(f.window_update(stream, 1 << 20), f.window_update(0, 1 << 20))
        while not (frame := server.hear("Data")).ends:
            got += frame.content
        whole.append(got + frame.content)
        server.answer(stream)
        server.rest()

    whole: list[bytes] = []
    client = converse(script)
    assert client.request("PUT", "/", [], CONTENT).getresponse().status == 200
    assert whole == [CONTENT]


def test_settings_that_shrink_the_window_are_respected(converse: Converse) -> None:  # T9: a negative window
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        got = b""
        while len(got) < 65535:
            got += server.hear("Data").content
        server.say(f.window_update(0, 1 << 20), f.settings([(INITIAL_WINDOW_SIZE, 1000)]))  # now at -64,535
        server.say(f.window_update(stream, 64535))  # at 0
        server.sync()
        assert sum(len(frame.content) for frame in server.of_kind("Data")) == len(got)
        server.say(f.window_update(stream, 5))
        got += server.hear("Data").content
        sizes.append(len(got))
        server.say(f.window_update(stream, 1 << 20))
        while not (frame := server.hear("Data")).ends:
            got += frame.content
        sizes.append(len(got) + len(frame.content))
        server.answer(stream)
        server.rest()

    sizes: list[int] = []
    client = converse(script)
    assert client.request("PUT", "/", [], CONTENT).getresponse().status == 200
    assert sizes == [65540, len(CONTENT)]


def test_settings_that_widen_the_window_let_uploads_go_on(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.sync()
        assert server.of_kind("Data") == []
        server.say(f.settings([(INITIAL_WINDOW_SIZE, 100)]))
        server.answer(stream, server.content(stream))
        server.rest()

    client = converse(script, settings=((INITIAL_WINDOW_SIZE, 0),))
    assert client.request("PUT", "/", [], b"content").getresponse().read() == b"content"


def test_uploads_side_by_side_share_the_connections_window(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        got: dict[int, bytes] = {}
        ended = 0
        while ended < 10:
            frame = server.hear()
            if frame.kind == "Data":
                got[frame.stream] = got.get(frame.stream, b"") + frame.content
                ended += frame.ends
                order.append(frame.stream)
                if frame.content:
                    size = len(frame.content)
                    server.say(f.window_update(frame.stream, size), f.window_update(0, size))
        for stream, content in got.items():
            server.answer(stream, b"%d" % len(content))
        server.rest()

    def upload(number: int) -> bytes:
        return client.request("PUT", "/", [], CONTENT[: 50000 + number]).getresponse().read()

    order: list[int] = []
    client = converse(script)
    greenlets = [gevent.spawn(upload, number) for number in range(10)]
    gevent.joinall(greenlets, GUARD, raise_error=True)
    assert [int(one.value) for one in greenlets] == [50000 + number for number in range(10)]
    assert len(set(order[:10])) > 3  # they take turns


# bodies in several steps


def test_body_in_steps_with_trailers(converse: Converse) -> None:  # T16
    upload = Upload()

    def script(server: FrameServer) -> None:
        upload.server = server
        stream = server.request().stream
        frames = [server.hear(kind) for kind in ("Data", "Headers")]
        seen.extend((one.kind, one.content or one.fields, one.ends) for one in frames)
        server.answer(stream)
        server.rest()

    seen: list[Any] = []
    client = converse(script)
    request = client.request("POST", "/", [("Content-Length", "7")], body=None)
    request.write("con")
    request.write(b"tent")
    request.end_request([("X-Sum", "7")])
    assert request.getresponse().status == 200
    contents = [frame.content for frame in upload.server.of_kind("Data")]
    assert b"".join(contents) == b"content"
    assert seen[1] == ("Headers", [("x-sum", "7")], True)


def test_requests_in_several_steps_may_be_open_side_by_side(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        while len(ended) < 2:
            frame = server.hear("Data")
            contents[frame.stream] = contents.get(frame.stream, b"") + frame.content
            if frame.ends:
                ended.append(frame.stream)
                server.answer(frame.stream)
        server.rest()

    ended: list[int] = []
    contents: dict[int, bytes] = {}
    client = converse(script)
    one, two = client.request("POST", "/1", body=None), client.request("POST", "/2", body=None)
    two.write(b"second")
    one.write(b"first")
    two.end_request()
    assert two.getresponse().status == 200
    one.end_request()
    assert one.getresponse().status == 200
    assert contents == {1: b"first", 3: b"second"}


@pytest.mark.parametrize(
    ("act", "match"),
    [
        (lambda request: request.write(b"12345678"), "more content"),
        (lambda request: (request.write(b"1234"), request.write(b"5678")), "more content"),
        (lambda request: (request.write(b"123"), request.end_request()), "less content"),
    ],
    ids=["too much at once", "too much in all", "too little"],
)
def test_broken_promise_about_the_length_is_an_error_and_no_lie(
    converse: Converse, act: Callable[[Any], object], match: str
) -> None:  # T5
    client = converse(lambda server: server.rest())
    request = client.request("POST", "/", [("Content-Length", "7")], body=None)
    with pytest.raises(RuntimeError, match=match):
        act(request)
    assert client.ping() > 0


def test_file_that_shrinks_resets_its_stream_alone(converse: Converse, tmp_path: Path) -> None:  # T5
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            return b"" if self.tell() > 1000000 else super().read(size)

    def script(server: FrameServer) -> None:
        request = server.request()
        server.say(f.window_update(0, 1 << 30))
        lengths.append(dict(request.fields)["content-length"])
        reset = server.hear("RstStream")
        assert not any(frame.ends for frame in server.of_kind("Data"))
        codes.append(reset.code)
        server.answer(server.request().stream)
        server.rest()

    lengths: list[str] = []
    codes: list[Any] = []
    client = converse(script, settings=((INITIAL_WINDOW_SIZE, 1 << 30),))
    with pytest.raises(RuntimeError, match="shorter"):
        client.upload("POST", "/", Shrinking(bytes(4000000)))
    assert client.request("GET", "/").getresponse().status == 200
    assert (lengths, codes) == (["4000000"], [ErrorCode.CANCEL])


@pytest.mark.parametrize(
    ("name", "kind", "coding"),
    [
        ("page.html", "text/html", None),
        ("all.tar.gz", "application/x-tar", "gzip"),
        ("some.gz", None, "gzip"),
        ("plain", None, None),
    ],
)
def test_upload_tells_size_type_and_coding(
    converse: Converse, tmp_path: Path, name: str, kind: str | None, coding: str | None
) -> None:  # T5, T6
    path = tmp_path / name
    path.write_bytes(b"content of a file")
    upload = Upload()
    client = converse(upload)
    assert client.upload("POST", "/", path).getresponse().status == 200
    told = [upload.fields.get(field) for field in ("content-length", "content-type", "content-encoding")]
    assert told == ["17", kind, coding]
    assert upload.contents == [b"content of a file"]


@pytest.mark.parametrize("size", [1, 65536, 262144, 300000, 524288])
def test_last_frame_of_a_file_ends_its_stream(converse: Converse, size: int) -> None:  # T10
    upload = Upload()
    client = converse(upload, settings=((INITIAL_WINDOW_SIZE, 100000),))
    assert client.upload("POST", "/", io.BytesIO(CONTENT[:size] if size <= len(CONTENT) else bytes(size))).getresponse()
    assert sum(len(content) for content in upload.contents) == size
    assert upload.data[-1].content


def test_second_greenlet_cannot_write_the_same_body(converse: Converse) -> None:
    client = converse(lambda server: server.rest(), settings=((INITIAL_WINDOW_SIZE, 0),))
    request = client.request("POST", "/", body=None)
    writing = spawn(request.write, bytes(100000))
    with pytest.raises(RuntimeError, match="another greenlet"):
        request.write(b"more")
    writing.kill()


def test_more_cannot_be_written_behind_the_end(converse: Converse) -> None:
    upload = Upload()
    request = converse(upload).request("POST", "/", body=None)
    request.end_request()
    for act in (lambda: request.write(b""), request.end_request):
        with pytest.raises(RuntimeError, match="has ended"):
            act()


# expectations


@pytest.mark.parametrize("answer", ["continue", "silence", "final"])
def test_expectation_makes_the_body_wait(converse: Converse, answer: str) -> None:
    def script(server: FrameServer) -> None:
        request = server.request()
        expected.append(dict(request.fields).get("expect"))
        if answer == "final":
            server.answer(request.stream, b"no", 417)
            server.hear("RstStream")
            assert server.of_kind("Data") == []
        else:
            if answer == "continue":
                server.say(server.head(request.stream, 100))
            server.answer(request.stream, server.content(request.stream))
        server.rest()

    expected: list[str | None] = []
    client = converse(script)
    seconds = 0.05 if answer == "silence" else GUARD
    response = client.request("PUT", "/", [], b"content", expect=seconds).getresponse()
    assert (response.status, response.read()) == ((417, b"no") if answer == "final" else (200, b"content"))
    assert expected == ["100-continue"]


# early answers


@pytest.mark.parametrize("reset", [None, ErrorCode.NO_ERROR], ids=["end", "end and RST_STREAM(NO_ERROR)"])
@pytest.mark.parametrize("how", ["whole", "steps"])
def test_early_answer_stops_a_blocked_upload(converse: Converse, piecewise: bool, how: str, reset: int | None) -> None:
    def script(server: FrameServer) -> None:  # T16
        stream = server.request().stream
        server.hear("Data")
        server.answer(stream, b"too large", 413)
        if reset is not None:
            server.say(f.reset(stream, reset))
        server.answer(server.request().stream, b"next")
        server.rest()

    client = converse(script, piecewise=piecewise)
    if how == "whole":
        request = client.request("POST", "/", [], CONTENT)
    else:
        request = client.request("POST", "/", body=None)
        for _ in range(10):
            request.write(CONTENT[:65536])
        request.end_request()
    response = request.getresponse()
    assert (response.status, response.read()) == (413, b"too large")
    assert client.request("GET", "/").getresponse().read() == b"next"
    assert client.protocol.connection.engine.streams == []  # type: ignore[union-attr]


def test_answer_that_has_begun_does_not_stop_the_upload(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream, 400))
        server.say(server.data(stream, server.content(stream)[-5:], end=True))
        server.rest()

    response = converse(script).request("POST", "/", [], CONTENT).getresponse()
    assert (response.status, response.read()) == (400, CONTENT[-5:])


def test_reset_without_error_and_without_answer_is_an_error(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.say(f.reset(server.request().stream, ErrorCode.NO_ERROR))
        server.rest()

    client = converse(script)
    request = client.request("POST", "/", [], CONTENT)
    with pytest.raises(StreamError) as caught:
        request.getresponse()
    assert caught.value.error_code == ErrorCode.NO_ERROR


@pytest.mark.parametrize("how", ["whole", "steps"])
def test_reset_of_a_blocked_upload_raises_its_code(converse: Converse, how: str) -> None:  # curl#986, urllib3
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.hear("Data")
        server.say(f.reset(stream, ErrorCode.INTERNAL_ERROR))
        server.answer(server.request().stream, b"next")
        server.rest()

    def upload() -> None:
        if how == "whole":
            client.request("POST", "/", [], CONTENT)
        else:
            request = client.request("POST", "/", body=None)
            while True:
                request.write(CONTENT[:65536])

    client = converse(script)
    with pytest.raises(StreamError) as caught:
        upload()
    assert caught.value.error_code == ErrorCode.INTERNAL_ERROR
    assert client.request("GET", "/").getresponse().read() == b"next"


# stalls


@pytest.mark.parametrize("window", ["stream", "connection"])
def test_window_that_never_opens_times_out_and_costs_the_stream_alone(converse: Converse, window: str) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        if window == "connection":
            server.say(f.window_update(stream, 1 << 20))
        codes.append(server.hear("RstStream").code)
        server.answer(server.request().stream, b"next")
        server.rest()

    codes: list[Any] = []
    client = converse(script)
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", [], CONTENT, timeout=Timeouts(write=0.05))
    assert caught.value.phase == "write"
    assert client.request("GET", "/").getresponse().read() == b"next"
    assert codes == [ErrorCode.CANCEL]


def test_slow_progress_is_no_stall(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        stream = server.request().stream
        got = len(server.hear("Data").content)
        while got < 10:
            gevent.sleep(0.03)  # the time that passes is what this is about
            server.say(f.window_update(stream, 1))
            got += len(server.hear("Data").content)
        server.answer(stream)
        server.rest()

    client = converse(script, settings=((INITIAL_WINDOW_SIZE, 1),))
    timeouts = Timeouts(read=GUARD, write=0.1)
    assert client.request("POST", "/", [], b"ten bytes.", timeout=timeouts).getresponse().status == 200


def test_server_that_reads_nothing_times_out(converse: Converse) -> None:
    def script(server: FrameServer) -> None:
        server.say(f.window_update(0, 1 << 30))
        server.request()
        assert over.wait(GUARD)

    over = Event()
    client = converse(script, settings=((INITIAL_WINDOW_SIZE, 1 << 30),), timeout=Timeouts(write=0.1))
    waiting = spawn(lambda: client.request("GET", "/").getresponse())
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", [], bytes(64 << 20))
    assert caught.value.phase == "write"
    with pytest.raises((Timeout, OSError)):
        waiting.get(timeout=GUARD)
    over.set()


def test_server_that_reads_slowly_is_waited_for(converse: Converse) -> None:
    """It takes some bytes every now and then, too little for our system to say that there is room."""

    def script(server: FrameServer) -> None:
        channel = server.peer.channel
        channel.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
        server.say(f.window_update(0, 1 << 30))
        server.request()
        end = monotonic() + 4 * stall
        while monotonic() < end:
            assert channel.receive(moment_after(GUARD), size=8192)
            gevent.sleep(0.02)
        slow.set()
        assert over.wait(GUARD)

    stall = 0.4
    slow, over = Event(), Event()
    client = converse(script, settings=((INITIAL_WINDOW_SIZE, 1 << 30),))
    upload = spawn(lambda: client.request("POST", "/", [], bytes(64 << 20), timeout=Timeouts(read=GUARD, write=stall)))
    assert slow.wait(GUARD)
    assert not upload.ready()
    upload.kill()
    over.set()


def test_total_time_covers_a_blocked_upload(converse: Converse) -> None:
    client = converse(lambda server: server.rest())
    with pytest.raises(Timeout) as caught:
        client.request("POST", "/", [], CONTENT, timeout=Timeouts(total=0.05, write=GUARD))
    assert caught.value.phase == "total"
    assert client.ping() > 0


def test_neither_side_reading_ends_nowhere_but_in_timeouts(converse: Converse) -> None:
    """Application and server both stop reading: nothing is held but windows, and others go on."""

    def script(server: FrameServer) -> None:
        stream = server.request().stream
        server.say(server.head(stream), *(server.data(stream, bytes(13107)) for _ in range(5)))  # all of its window
        server.answer(server.request().stream, b"through")
        server.rest()

    client = converse(script, window=65535)
    request = client.request("POST", "/", body=None, timeout=Timeouts(read=0.05, write=0.05))
    response = request.getresponse(GUARD)
    with pytest.raises(Timeout):
        while True:
            request.write(CONTENT)
    assert client.request("GET", "/").getresponse().read() == b"through"
    del response
