"""Files that the system sends: `wsgi.file_wrapper`."""

from __future__ import annotations

import gzip
import io
import os
from pathlib import Path
from typing import Any

import pytest

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many bytes each call of os.sendfile has sent."""
    sizes: list[int] = []
    sendfile = os.sendfile

    def recorded(out: int, fd: int, offset: int, count: int) -> int:
        sizes.append(sendfile(out, fd, offset, count))
        return sizes[-1]

    monkeypatch.setattr(os, "sendfile", recorded)
    return sizes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(CONTENT)
    return path


def giving(make: Any, length: int | None = len(CONTENT)) -> Any:
    """An application that wraps the file that `make` opens."""

    def application(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"] != "/":
            start_response("200 OK", [])
            return [b""]
        start_response("200 OK", [] if length is None else [("Content-Length", str(length))])
        return environ["wsgi.file_wrapper"](make())

    return application


@pytest.mark.parametrize("buffering", [-1, 0], ids=["buffered", "unbuffered"])
def test_file_is_sent_by_the_system(serve: Any, sent: list[int], path: Path, buffering: int) -> None:
    talk = serve(giving(lambda: path.open("rb", buffering=buffering))).connect()
    for _ in range(2):
        assert talk.get().content == CONTENT
    assert sum(sent) == 2 * len(CONTENT)
    assert talk.is_open()


def test_file_is_sent_from_its_position_for_the_announced_length(serve: Any, sent: list[int], path: Path) -> None:
    def opened() -> Any:
        file = path.open("rb")
        file.read(1000)
        return file

    talk = serve(giving(opened, 100_000)).connect()
    assert talk.get().content == CONTENT[1000:101_000]
    assert sum(sent) == 100_000
    assert talk.is_open()


def test_file_is_closed_afterwards(serve: Any, path: Path, until: Any) -> None:
    files: list[Any] = []

    def opened() -> Any:
        files.append(path.open("rb"))
        return files[-1]

    assert serve(giving(opened)).get().content == CONTENT
    until(lambda: files[0].closed)


@pytest.mark.parametrize(
    ("make", "length"),
    [
        pytest.param(lambda path: io.BytesIO(CONTENT), len(CONTENT), id="no-file"),
        pytest.param(lambda path: path.open("rb"), None, id="no-length"),
        pytest.param(lambda path: path.open("r+b"), len(CONTENT), id="open-for-writing"),
    ],
)
def test_other_content_is_read_and_sent_as_ever(
    serve: Any, sent: list[int], path: Path, make: Any, length: int | None
) -> None:
    assert serve(giving(lambda: make(path), length)).get().content == CONTENT
    assert sent == []


def test_what_a_file_holds_is_not_sent_in_place_of_what_it_reads(serve: Any, sent: list[int], tmp_path: Path) -> None:
    packed = tmp_path / "packed.gz"
    packed.write_bytes(gzip.compress(CONTENT))
    assert serve(giving(lambda: gzip.open(packed))).get().content == CONTENT
    assert sent == []


def test_head_is_answered_without_the_file(serve: Any, sent: list[int], path: Path) -> None:
    talk = serve(giving(lambda: path.open("rb"))).connect()
    answer = talk.ask(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer["Content-Length"], answer.content) == (str(len(CONTENT)), b"")
    assert talk.is_open()
    assert sent == []


def test_tls_reads_the_file(serve: Any, sent: list[int], path: Path, server_tls: Any, client_tls: Any) -> None:
    talk = serve(giving(lambda: path.open("rb")), ssl=server_tls).connect(client_tls)
    assert talk.get().content == CONTENT
    assert sent == []


def test_client_that_does_not_read_is_cut_by_the_write_timeout(serve: Any, until: Any, tmp_path: Path) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    served = serve(giving(lambda: huge.open("rb"), 1 << 30), timeout=0.2)
    talk = served.connect()
    talk.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    until(lambda: served.server.connections)
    until(lambda: not served.server.connections)
    assert talk.is_cut()


def test_file_that_becomes_shorter_is_seen_by_the_client(
    serve: Any, errors: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sendfile = os.sendfile

    def shrinking(out: int, fd: int, offset: int, count: int) -> int:
        os.truncate(path, 200_000)
        return sendfile(out, fd, offset, count)

    monkeypatch.setattr(os, "sendfile", shrinking)
    heard = serve(giving(lambda: path.open("rb"))).hear(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert heard.partition(b"\r\n\r\n")[2] == CONTENT[:200_000]
    assert errors() == ["GET / failed: EOFError('the file has become shorter while it was sent')"]
