"""Content codings: whole, in pieces, cut, corrupted, and made to burst."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gruvihttp import DecodingError, HttpPool
from gruvihttp.pool import decoding as module
from gruvihttp.pool.decoding import Decoder, accepted_codings, codings_of
from gruvihttp.testing import replies

CONTENT = b"".join(b"line %d of it\n" % number for number in range(20_000))


def raw_deflate(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(content) + compressor.flush()


def brotli(content: bytes) -> bytes:
    coded: bytes = pytest.importorskip("brotli").compress(content, quality=4)
    return coded


def zstd(content: bytes) -> bytes:
    coded: bytes = pytest.importorskip("zstandard").compress(content)
    return coded


CODERS: list[Any] = [
    pytest.param("gzip", gzip.compress, id="gzip"),
    pytest.param("x-gzip", gzip.compress, id="x-gzip"),
    pytest.param("deflate", zlib.compress, id="deflate"),
    pytest.param("deflate", raw_deflate, id="deflate-without-head"),
    pytest.param("br", brotli, id="br"),
    pytest.param("zstd", zstd, id="zstd"),
]

Coder = Callable[[bytes], bytes]


def decode(codings: str, coded: bytes, size: int = 0, max_ratio: float | None = 100) -> Iterator[bytes]:
    """Decode, shown `size` bytes at a time."""
    size = size or len(coded) or 1
    pieces = iter([coded[start : start + size] for start in range(0, len(coded), size)])
    decoder = Decoder(codings_of(codings), lambda: next(pieces, b""), max_ratio)
    while piece := decoder.pull():
        yield piece
    assert decoder.pull() == b""


@pytest.mark.parametrize("size", [0, 1, 7, 1000, 65536])
@pytest.mark.parametrize(("coding", "coder"), CODERS)
def test_content_is_decoded_however_it_arrives(coding: str, coder: Coder, size: int) -> None:
    content = CONTENT if size != 1 else CONTENT[:3000]
    pieces = list(decode(coding, coder(content), size))
    assert b"".join(pieces) == content


@pytest.mark.parametrize(("coding", "coder"), CODERS)
def test_empty_content_is_decoded(coding: str, coder: Coder) -> None:
    assert list(decode(coding, coder(b""))) == []
    assert list(decode(coding, b"")) == []


@pytest.mark.parametrize("size", [0, 13])
@pytest.mark.parametrize(("coding", "coder"), CODERS)
def test_cut_content_is_an_error_after_what_came(coding: str, coder: Coder, size: int) -> None:
    coded = coder(CONTENT)
    for cut in {1, 5, len(coded) // 2, len(coded) - 9, len(coded) - 1}:
        seen = b""
        with pytest.raises(DecodingError, match="the content is incomplete"):
            for piece in decode(coding, coded[:cut], size):
                seen += piece
        assert CONTENT.startswith(seen)


@pytest.mark.parametrize(("coding", "coder"), CODERS)
def test_corrupted_content_is_an_error(coding: str, coder: Coder) -> None:
    coded = bytearray(coder(CONTENT))
    coded[len(coded) // 2 :] = bytes(byte ^ 0x55 for byte in coded[len(coded) // 2 :])
    with pytest.raises(DecodingError, match="the content is (corrupted|incomplete)"):
        b"".join(decode(coding, bytes(coded)))


@pytest.mark.parametrize(
    ("coding", "coder", "behind"),
    [
        pytest.param("gzip", gzip.compress, b"garbage", id="gzip"),
        pytest.param("deflate", zlib.compress, b"garbage", id="deflate"),
        pytest.param("zstd", zstd, b"garbage", id="zstd"),
        pytest.param("br", brotli, b"garbage", id="br"),
    ],
)
@pytest.mark.parametrize("size", [0, 1])
def test_garbage_behind_the_end_is_an_error(coding: str, coder: Coder, behind: bytes, size: int) -> None:
    with pytest.raises(DecodingError, match="the content is (corrupted|incomplete)"):
        list(decode(coding, coder(b"content") + behind, size))


@pytest.mark.parametrize("size", [0, 1, 10])
@pytest.mark.parametrize(("coding", "coder"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_members_may_follow_each_other(coding: str, coder: Coder, size: int) -> None:
    assert b"".join(decode(coding, coder(b"one ") + coder(b"two"), size)) == b"one two"


@pytest.mark.parametrize("size", [0, 1000, 8192])
@pytest.mark.parametrize(("coding", "coder"), [("gzip", gzip.compress), ("zstd", zstd)])
def test_members_may_be_many_and_empty(coding: str, coder: Coder, size: int) -> None:
    """A megabyte of them, which takes seconds if each costs what is left of it."""
    empty = coder(b"") * 1000
    coded = coder(b"one ") + empty * (1_000_000 // len(empty)) + coder(b"two")
    assert b"".join(decode(coding, coded, size)) == b"one two"


@pytest.mark.parametrize("zeros", [1, 8191, 8192, 8193, 50_000])
def test_zeros_may_stand_between_the_members_of_gzip(zeros: int) -> None:
    assert b"".join(decode("gzip", gzip.compress(b"one ") + b"\0" * zeros + gzip.compress(b"two"))) == b"one two"


@pytest.mark.parametrize("size", [0, 1])
def test_gzip_may_be_padded_with_zeros(size: int) -> None:
    assert b"".join(decode("gzip", gzip.compress(b"one") + b"\0" * 20, size)) == b"one"


@pytest.mark.parametrize("coder", [brotli, zstd])
@pytest.mark.parametrize("size", [0, 100])
def test_codings_are_undone_in_reverse(coder: Coder, size: int) -> None:
    coding = {"brotli": "br", "zstd": "zstd"}[coder.__name__]
    assert b"".join(decode(f"gzip , {coding}", coder(gzip.compress(CONTENT)), size)) == CONTENT


def test_unknown_coding_is_an_error() -> None:
    with pytest.raises(DecodingError, match="'compress' is not known"):
        list(decode("compress", b"x"))


BOMBS = [*CODERS, pytest.param("gzip, gzip", lambda content: gzip.compress(gzip.compress(content)), id="twice")]


@pytest.mark.parametrize(("coding", "coder"), BOMBS)
def test_bomb_is_refused_soon_and_in_little_memory(coding: str, coder: Coder) -> None:
    coded = coder(b"\0" * (100 << 20))
    seen_bytes = 0
    with pytest.raises(DecodingError, match="expands more than 100 times"):
        for piece in decode(coding, coded):
            assert len(piece) <= 16 << 20
            seen_bytes += len(piece)
    assert seen_bytes <= module.FREE_BYTES + 16 * (1 << 20)


@pytest.mark.parametrize(("coding", "coder"), CODERS)
def test_what_expands_a_lot_and_is_small_passes(coding: str, coder: Coder) -> None:
    assert sum(map(len, decode(coding, coder(b"\0" * (8 << 20))))) == 8 << 20


def test_bound_is_the_users() -> None:
    coded = gzip.compress(b"\0" * (20 << 20))
    assert sum(map(len, decode("gzip", coded, max_ratio=None))) == 20 << 20
    with pytest.raises(DecodingError, match="expands more than 2 times"):
        list(decode("gzip", gzip.compress(CONTENT * 60), max_ratio=2))


def test_source_that_raises_loses_nothing() -> None:
    coded = gzip.compress(CONTENT)
    answers: list[Any] = [coded[:100], TimeoutError(), coded[100:], b""]

    def source() -> bytes:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bytes(answer)

    decoder = Decoder(["gzip"], source)
    seen = b""
    with pytest.raises(TimeoutError):
        while True:
            seen += decoder.pull()
    while piece := decoder.pull():
        seen += piece
    assert seen == CONTENT


def test_accepted_codings_are_those_that_can_be_undone() -> None:
    names = accepted_codings().split(", ")
    assert names[:2] == ["gzip", "deflate"]
    assert set(names) <= {"gzip", "deflate", "br", "zstd"}


@pytest.mark.parametrize(
    ("value", "codings"),
    [("gzip", ["gzip"]), (" GZip , identity,", ["gzip"]), ("identity", []), ("", []), ("gzip, br", ["gzip", "br"])],
)
def test_codings_of_a_field(value: str, codings: list[str]) -> None:
    assert codings_of(value) == codings


# through the pool


def response_with(coded: bytes, coding: bytes = b"gzip") -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    return head % (coding, len(coded)) + coded


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("coding", "coder"), CODERS)
def test_pool_decodes(serve: Any, pool: HttpPool, coding: str, coder: Coder, stream: bool) -> None:
    peer = serve(replies(response_with(coder(CONTENT), coding.encode())))
    response = pool.get(f"http://127.0.0.1:{peer.port}/", stream=stream)
    assert response.readline() == b"line 0 of it\n"
    assert response.content == CONTENT[13:]
    assert response.get_header("Content-Encoding") == coding
    assert pool.counts == (0, 1, 0)


def test_pool_leaves_it_alone_if_told(serve: Any, pool: HttpPool) -> None:
    coded = gzip.compress(CONTENT)
    peer = serve(replies(response_with(coded)))
    assert pool.get(f"http://127.0.0.1:{peer.port}/", decode=False).content == coded


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "coded",
    [
        pytest.param(gzip.compress(CONTENT)[:-5], id="cut"),
        pytest.param(b"not gzip at all", id="corrupted"),
        pytest.param(gzip.compress(b"\0" * (50 << 20)), id="bomb"),
    ],
)
def test_broken_content_is_an_error_and_costs_no_room(
    serve: Any, make_pool: Any, coded: bytes, stream: bool, settled: Callable[..., None]
) -> None:
    pool = make_pool(1)
    peer = serve(replies(response_with(coded), response_with(gzip.compress(b"good"))))
    url = f"http://127.0.0.1:{peer.port}/"
    with pytest.raises(DecodingError):
        pool.get(url, stream=stream).read()
    settled(pool, (0, pool.counts.idle, 0))
    assert pool.counts.taken == 0


def test_ratio_of_the_pool_can_be_changed(serve: Any, make_pool: Any) -> None:
    coded = gzip.compress(b"\0" * (20 << 20))
    peer = serve(replies(response_with(coded)))
    assert len(make_pool(max_ratio=None).get(f"http://127.0.0.1:{peer.port}/").content) == 20 << 20
