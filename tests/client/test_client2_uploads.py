"""`HttpClient.upload`: a file with its length, type and coding, and never another file than was promised."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import gevent
import pytest

from gruvihttp import HttpClient, HttpError
from gruvihttp.filebody import FileBody
from gruvihttp.testing import RawPeer

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def receive(peer: RawPeer) -> None:
    head = peer.read_until()
    if b"chunked" in head:
        peer.read_until(b"0\r\n\r\n")
    else:
        peer.read(int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]))
    peer.send(OK)


def test_descriptor_is_no_file(connect: Any, tmp_path: Path) -> None:
    """It would be closed at the end, though somebody else has opened it. True is one, too: standard output."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with open(path, "rb") as file:
        with pytest.raises(TypeError, match="PathLike"):
            connect(receive).upload("PUT", "/file", file.fileno())
        assert file.read() == b"content"


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 1_000_000])
def test_t5_length_is_the_files(serve: Any, connect: Any, tmp_path: Path, size: int) -> None:
    path = tmp_path / "file.html"
    path.write_bytes(b"x" * size)
    peer = serve(receive)
    client = connect(peer)
    client.upload("PUT", "/file", path)
    assert client.getresponse().read() == b"ok"
    head, _, body = bytes(peer.received).partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /file HTTP/1.1\r\n")
    assert b"\r\nContent-Length: %d\r\n" % size in head + b"\r\n"
    assert b"Transfer-Encoding" not in head
    assert body == b"x" * size


@pytest.mark.parametrize(("name", "fields"), [
    ("a.html", [("Content-Type", "text/html")]),
    ("a.tar.gz", [("Content-Type", "application/x-tar"), ("Content-Encoding", "gzip")]),
    ("a.gz", [("Content-Encoding", "gzip")]),
    ("a.tar.bz2", [("Content-Type", "application/x-bzip2")]),
    ("a.unknown-extension", []),
    ("no-extension", []),
])  # fmt: skip
def test_t6_type_and_encoding_are_guessed(tmp_path: Path, name: str, fields: list[tuple[str, str]]) -> None:
    path = tmp_path / name
    path.write_bytes(b"x")
    with FileBody(path) as body:
        assert body.fields() == [("Content-Length", "1"), *fields]


def test_t6_given_fields_are_not_guessed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"x")
    with FileBody(path) as body:
        assert body.fields([("content-type", "application/gzip")]) == [("Content-Length", "1")]
        assert body.fields([("Content-Length", "1"), ("Content-Encoding", "gzip")]) == []


class Changing(io.FileIO):
    """A file that somebody else changes as soon as it is read."""

    def __init__(self, path: Path, change: int) -> None:
        super().__init__(path)
        self.change: int | None = change

    def read(self, size: int | None = -1) -> bytes:
        if self.change is not None:
            os.truncate(self.name, os.path.getsize(self.name) + self.change)
            self.change = None
        return super().read(size) or b""


@pytest.mark.parametrize("size", [1, 65536, 300_000])
@pytest.mark.parametrize("change", [-1, 1, 100_000])
def test_t5_file_that_changes_is_an_error_and_no_lie(
    serve: Any, connect: Any, tmp_path: Path, size: int, change: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * size)
    peer = serve(RawPeer.read_to_end)
    client = connect(peer)
    with Changing(path, change) as file, pytest.raises(RuntimeError, match="longer" if change > 0 else "shorter"):
        client.upload("PUT", "/", file)
    gevent.idle()
    body = bytes(peer.received).partition(b"\r\n\r\n")[2]
    assert len(body) < size
    if peer.received:
        with pytest.raises(HttpError, match="connect again"):
            client.request("GET", "/")


def test_open_file_is_sent_from_where_it_stands_and_stays_open(serve: Any, connect: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    peer = serve(receive)
    client = connect(peer)
    with path.open("rb") as file:
        file.seek(4)
        client.upload("PUT", "/", file)
        assert not file.closed
    assert client.getresponse().read() == b"ok"
    assert bytes(peer.received).endswith(b"\r\n\r\n456789")


def test_file_in_memory_has_a_length(serve: Any, connect: Any) -> None:
    peer = serve(receive)
    client = connect(peer)
    client.upload("PUT", "/", io.BytesIO(b"12345"))
    assert client.getresponse().read() == b"ok"
    assert b"Content-Length: 5\r\n" in peer.received


def test_pipe_is_sent_in_chunks(serve: Any, connect: Any) -> None:
    peer = serve(receive)
    client = connect(peer)
    reading, writing = os.pipe()
    os.write(writing, b"piped")
    os.close(writing)
    with open(reading, "rb") as file:
        client.upload("PUT", "/", file)
    assert client.getresponse().read() == b"ok"
    assert b"5\r\npiped\r\n0\r\n\r\n" in peer.received


@pytest.mark.parametrize(("what", "error"), [
    pytest.param(io.StringIO("text"), TypeError, id="text"),
    pytest.param("/no/such/file", FileNotFoundError, id="missing"),
])  # fmt: skip
def test_what_is_no_file_is_refused_and_nothing_is_sent(wire: Any, what: Any, error: type[Exception]) -> None:
    def act(client: HttpClient) -> None:
        with pytest.raises(error):
            client.upload("PUT", "/", what)

    assert wire(act) == b""


def test_file_in_text_mode_is_refused(wire: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("text")

    def act(client: HttpClient) -> None:
        with path.open() as file, pytest.raises(TypeError, match="binary"):
            client.upload("PUT", "/", file)

    assert wire(act) == b""


def test_upload_may_expect_permission(connect: Any, say: Any, tmp_path: Path) -> None:
    def script(peer: RawPeer) -> None:
        assert b"Expect: 100-continue" in peer.read_until()
        say(peer, b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")

    path = tmp_path / "file"
    path.write_bytes(b"x" * 1_000_000)
    client = connect(script)
    client.upload("PUT", "/", path, expect=9.0)
    assert client.getresponse().status == 413
