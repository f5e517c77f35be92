"""What `StreamReader` promises, whoever feeds it and however the bytes are cut.

Each claim about reading runs over every way in which bytes can get into a reader; what only some of them can do, and
what is not about bytes, follows behind.
"""

from __future__ import annotations

import gc
import io
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import cycle
from typing import Any
from wsgiref.validate import InputWrapper

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gruvihttp.errors import ContentTooLarge, RemoteProtocolError, Timeout, TransportError
from gruvihttp.reader import StreamReader

# --- ways in which bytes get into a reader


def cut(content: bytes, sizes: Iterable[int]) -> Iterator[bytes]:
    start = 0
    for size in sizes:
        if start >= len(content):
            return
        yield content[start : start + size]
        start += size


def source_of(chunks: Iterable[bytes | None]) -> Callable[[], bytes | None]:
    """Make a source that gives the chunks, then the end, once: being asked again is an error of the reader."""
    return iter([*chunks, b""]).__next__


def fed(chunks: Iterable[bytes]) -> StreamReader:
    reader = StreamReader()
    for chunk in chunks:
        reader.feed(chunk)
    reader.feed_eof()
    return reader


def half_fed(content: bytes) -> StreamReader:
    middle = len(content) // 2
    reader = StreamReader(source=source_of(cut(content[middle:], cycle([2]))))
    reader.feed(content[:middle])
    return reader


def fed_while_waiting(content: bytes) -> StreamReader:
    """Imitate a waiting source: a callback feeds the reader meanwhile, sometimes with nothing."""
    chunks = cut(content, cycle([1, 4]))
    awake = cycle([True, False])

    def wait() -> None:
        if next(awake):
            chunk = next(chunks, None)
            reader.feed_eof() if chunk is None else reader.feed(chunk)

    reader = StreamReader(source=wait)
    return reader


FEEDINGS: dict[str, Callable[[bytes], StreamReader]] = {
    "complete": StreamReader.complete,
    "fed whole": lambda content: fed([content]),
    "fed by bytes": lambda content: fed(cut(content, cycle([1]))),
    "source whole": lambda content: StreamReader(source=source_of([content] if content else [])),
    "source by bytes": lambda content: StreamReader(source=source_of(cut(content, cycle([1])))),
    "source ragged": lambda content: StreamReader(source=source_of(cut(content, cycle([3, 1, 5, 2])))),
    "half fed, half source": half_fed,
    "fed while the source waits": fed_while_waiting,
}


@pytest.fixture(params=FEEDINGS.values(), ids=FEEDINGS)
def feeding(request: pytest.FixtureRequest) -> Callable[[bytes], StreamReader]:
    return request.param


# --- the same claims over all of them

LINES = b"foo\nbar\n"
# content, the calls, what they return
CALLS: dict[str, tuple[bytes, list[tuple[Any, ...]], list[Any]]] = {
    "read gives all, then nothing": (LINES, [("read",), ("read",)], [LINES, b""]),
    "read of nothing": (b"", [("read",), ("read", 3)], [b"", b""]),
    "read(None) gives all": (LINES, [("read", None)], [LINES]),
    "read(n) gives n, at the end the rest": (LINES, [("read", 3), ("read", 100)], [b"foo", b"\nbar\n"]),
    "read of exactly everything": (LINES, [("read", 8), ("read", 8)], [LINES, b""]),
    "read(0) gives nothing, anywhere": (b"a", [("read", 0), ("read",), ("read", 0)], [b"", b"a", b""]),
    "read1(0) gives nothing": (b"a", [("read1", 0), ("read1",)], [b"", b"a"]),
    "read1 at the end gives nothing": (b"a", [("read",), ("read1",), ("read1", 5)], [b"a", b"", b""]),
    "read1 keeps to its size": (b"abc", [("read1", 1), ("read",)], [b"a", b"bc"]),
    "lines": (b"a\nb", [("readline",)] * 3, [b"a\n", b"b", b""]),
    "empty lines": (b"\n\n", [("readline",)] * 3, [b"\n", b"\n", b""]),
    "line with limit": (b"foobar\n", [("readline", 3), ("readline", None)], [b"foo", b"bar\n"]),
    "limit at the newline": (LINES, [("readline", 4), ("readline", 3)], [b"foo\n", b"bar"]),
    "limit above the line": (LINES, [("readline", 5), ("readline", 99)], [b"foo\n", b"bar\n"]),
    "limit of nothing": (LINES, [("readline", 0), ("readline",)], [b"", b"foo\n"]),
    "limit above the rest": (b"ab", [("readline", 9), ("readline", 9)], [b"ab", b""]),
    "CRLF": (b"a\r\nb\r\r\nc\r", [("readline", -1, b"\r\n")] * 4, [b"a\r\n", b"b\r\r\n", b"c\r", b""]),
    "long delimiter": (b"a--x--xx-", [("readline", -1, b"--xx")] * 2, [b"a--x--xx", b"-"]),
    "delimiter that begins like itself": (b"aabaabaaabc", [("readline", -1, b"aabaaa")] * 2, [b"aabaabaaa", b"bc"]),
    "limit inside a delimiter": (b"ab\r\nc", [("readline", 3, b"\r\n"), ("readline", -1, b"\r\n")], [b"ab\r", b"\nc"]),
    "limit behind a delimiter": (b"ab\r\nc", [("readline", 4, b"\r\n"), ("read",)], [b"ab\r\n", b"c"]),
    "bytes that were read are no part of a delimiter": (
        b"\r\n\r\na",
        [("read", 1), ("readline", -1, b"\r\n"), ("read",)],
        [b"\r", b"\n\r\n", b"a"],
    ),
    "readlines": (LINES, [("readlines",), ("readlines",)], [[b"foo\n", b"bar\n"], []]),
    "readlines without a last newline": (b"a\rb\nc", [("readlines", None)], [[b"a\rb\n", b"c"]]),
    "readlines until the total exceeds the hint": (
        b"foo\nbar\nbaz\nq",
        [("readlines", 4), ("readlines", 3), ("readlines", 3), ("readlines", 3)],
        [[b"foo\n", b"bar\n"], [b"baz\n"], [b"q"], []],
    ),
    "readlines with a hint of 0 is without": (LINES, [("readlines", 0)], [[b"foo\n", b"bar\n"]]),
    "iteration over lines": (b"a\nb", [("__iter__",)], [[b"a\n", b"b"]]),
    "iteration begins where reading ended": (LINES, [("read", 2), ("__iter__",)], [b"fo", [b"o\n", b"bar\n"]]),
    "drain": (LINES, [("read", 1), ("drain",), ("read",)], [b"f", True, b""]),
    "drain of nothing": (b"", [("drain",), ("drain", 0)], [True, True]),
    "drain of exactly the limit": (LINES, [("drain", 8), ("drain", 0)], [True, True]),
    "drain of more than the limit": (LINES, [("drain", 7)], [False]),
}


@pytest.mark.parametrize(("content", "calls", "expected"), CALLS.values(), ids=CALLS)
def test_call_returns(feeding, content, calls, expected):
    reader = feeding(content)
    answers = [getattr(reader, name)(*arguments) for name, *arguments in calls]
    assert [list(answer) if isinstance(answer, StreamReader) else answer for answer in answers] == expected


def test_eof_is_true_only_when_all_is_read(feeding):
    reader = feeding(b"ab")
    assert not reader.eof
    assert reader.read(1) == b"a"
    assert not reader.eof
    assert reader.read() == b"b"
    assert reader.eof
    assert not reader.closed


def test_read1_gives_the_content_piece_by_piece(feeding):
    assert b"".join(iter(feeding(b"abcdefghijkl").read1, b"")) == b"abcdefghijkl"


def test_peek_shows_what_read1_then_gives(feeding):
    reader = feeding(b"abcdef")
    assert reader.read(1) == b"a"
    seen = reader.peek()
    assert seen
    assert reader.peek(1) == b"b"
    assert reader.read1() == seen
    reader.read()
    assert reader.peek() == b""


def test_readinto_fills_the_buffer_or_ends(feeding):
    reader, buffer = feeding(b"abcdef"), bytearray(4)
    assert (reader.readinto(buffer), buffer) == (4, b"abcd")
    assert (reader.readinto(buffer), buffer) == (2, b"efcd")
    assert reader.readinto(buffer) == 0


def test_readinto1_takes_from_one_chunk(feeding):
    reader, buffer = feeding(b"ab"), bytearray(1)
    assert (reader.readinto1(buffer), buffer) == (1, b"a")


def test_text_is_whole_although_characters_are_cut(feeding):
    text = "20 €\nund 𝄞\n"
    assert io.TextIOWrapper(feeding(text.encode()), "utf-8").read() == text
    assert list(io.TextIOWrapper(feeding(text.encode()), "utf-8")) == ["20 €\n", "und 𝄞\n"]


def test_text_that_ends_inside_a_character_is_an_error(feeding):
    with pytest.raises(UnicodeDecodeError):
        io.TextIOWrapper(feeding("20 €".encode()[:-1]), "utf-8").read(4)


def test_wsgi_validator_is_content(feeding):
    wsgi_input = InputWrapper(feeding(b"a\nb\nc\nd\ne\nf"))
    assert wsgi_input.read(1) == b"a"
    assert wsgi_input.readline() == b"\n"
    assert wsgi_input.readline(1) == b"b"
    assert wsgi_input.readlines(2) == [b"\n", b"c\n"]
    assert next(iter(wsgi_input)) == b"d\n"
    assert wsgi_input.readlines() == [b"e\n", b"f"]


# --- against io.BytesIO: random content, random cuts, random calls

sizes = st.integers(-2, 12) | st.none()
call = st.one_of(
    st.tuples(st.just("read"), sizes),
    st.tuples(st.just("readline"), sizes),
    st.tuples(st.just("readline"), sizes, st.sampled_from([b"\n", b"\r\n", b"aa", b"aba", b"\nab\n"])),
    st.tuples(st.just("readlines"), sizes),
    st.tuples(st.just("read1"), sizes),
    st.tuples(st.just("peek"), st.integers(0, 4)),
    st.tuples(st.just("__next__")),
)


class Model(io.BytesIO):
    """What is expected, in terms of the standard library, with the bytes in one piece."""

    def readline(self, limit: int | None = -1, delim: bytes = b"\n") -> bytes:  # type: ignore[override]
        rest = self.getvalue()[self.tell() :]
        line = rest.split(delim)[0]
        line += delim if len(line) < len(rest) else b""
        return self.read(min(len(line), len(line) if limit is None or limit < 0 else limit))

    def readlines(self, hint: int | None = -1) -> list[bytes]:  # type: ignore[override]
        return io.IOBase.readlines(self, -1 if hint is None else hint)  # BytesIO's own stops at the hint, not above


@given(
    content=st.text("ab\r\n", max_size=60).map(str.encode),
    cuts=st.lists(st.integers(1, 9), min_size=1),
    fed_count=st.integers(0, 8),
    calls=st.lists(call, max_size=12),
)
def test_any_calls_return_what_bytesio_returns(content, cuts, fed_count, calls):
    chunks = [*cut(content, cycle(cuts))]
    reported = 0

    def note(who: StreamReader, previous_bytes: int, now_bytes: int) -> None:
        nonlocal reported
        assert reported == previous_bytes != now_bytes == who.buffer_size
        reported = now_bytes

    reader = StreamReader(note, source=source_of(chunks[fed_count:]))
    for chunk in chunks[:fed_count]:
        reader.feed(chunk)
    model = Model(content)
    for name, *arguments in calls:
        if name in ("read1", "peek"):  # which piece is a matter of the cuts; that it is the next one is not
            piece = getattr(reader, name)(*arguments)
            assert content[model.tell() :].startswith(piece)
            assert len(piece) <= (arguments[0] or len(piece)) or arguments[0] < 0
            assert piece or arguments[0] == 0 or model.tell() == len(content)
            model.seek(len(piece) if name == "read1" else 0, io.SEEK_CUR)
        elif name == "__next__":
            assert next(reader, b"") == model.readline()
        else:
            assert getattr(reader, name)(*arguments) == getattr(model, name)(*arguments)
        assert reported == reader.buffer_size
    assert reader.read() == model.read()
    assert (reader.eof, reported) == (True, 0)


# --- what fails in the middle costs nothing

READS: dict[str, Callable[[StreamReader], object]] = {
    "read": StreamReader.read,
    "read(n)": lambda reader: reader.read(8),
    "readline": StreamReader.readline,
    "readline, long delimiter": lambda reader: reader.readline(-1, b"\r\n"),
    "readlines": StreamReader.readlines,
    "readlines(hint)": lambda reader: reader.readlines(3),
    "next": lambda reader: next(reader, b""),
    "readinto": lambda reader: reader.readinto(bytearray(8)),
}
reads = pytest.mark.parametrize("read", READS.values(), ids=READS)
reads_and_more = pytest.mark.parametrize(
    "read",
    [*READS.values(), StreamReader.read1, StreamReader.peek, StreamReader.drain],
    ids=[*READS, "read1", "peek", "drain"],
)


@reads
def test_read_without_enough_bytes_keeps_them_and_says_so(read):
    reader = StreamReader()
    reader.feed(b"ab\n")
    reader.feed(b"\r")
    reader.read(3)
    for _ in range(2):
        with pytest.raises(BlockingIOError, match="feed more"):
            read(reader)
    assert reader.buffer_size == 1
    reader.feed(b"\ncd")
    reader.feed_eof()
    assert reader.read() == b"\r\ncd"


@reads_and_more
def test_read_of_nothing_yet_would_block(read):
    with pytest.raises(BlockingIOError):
        read(StreamReader())


class Impatience(BaseException):
    """Stands for gevent.Timeout, which is not an Exception."""


@reads
@pytest.mark.parametrize("error", [Timeout("too slow"), RemoteProtocolError("bad chunk"), Impatience()], ids=repr)
def test_error_of_the_source_passes_and_the_next_read_goes_on(read, error):
    script: Iterator[bytes | BaseException] = iter([b"ab\n", b"c\r", error, error, b"\nd\n", b""])

    def source() -> bytes:
        step = next(script)
        if isinstance(step, BaseException):
            raise step
        return step

    whole = StreamReader.complete(b"b\nc\r\nd\n")
    reader = StreamReader(source=source)
    assert reader.read(1) == b"a"
    answers = []
    while not reader.eof:
        try:
            answers.append(read(reader))
        except type(error) as caught:
            assert caught is error  # not a copy: gevent.Timeout is known by identity
    expected = []
    while not whole.eof:
        expected.append(read(whole))
    assert [answer for answer in answers if answer] == expected


def test_lines_are_not_lost_when_the_source_fails_behind_them():
    steps = iter([b"one\ntwo\nthr", Timeout(), b"ee\nfour\n"])

    def source() -> bytes:
        step = next(steps)
        if isinstance(step, Exception):
            raise step
        return step

    reader = StreamReader(source=source)
    with pytest.raises(Timeout):
        reader.readlines(10)
    assert reader.readlines(10) == [b"one\n", b"two\n", b"three\n"]


@pytest.mark.parametrize("limit", [3, 5, 6, 7])
def test_search_that_failed_does_not_mislead_one_with_another_limit_or_delimiter(limit):
    for delim in (b"\n", b"\r\n", b"cd"):
        reader = StreamReader()
        reader.feed(b"abc")
        reader.feed(b"de\r")
        with pytest.raises(BlockingIOError):
            reader.readline(-1, b"\r\n")
        reader.feed(b"\nf")
        assert reader.readline(limit, delim) == Model(b"abcde\r\nf").readline(limit, delim)


def test_search_for_many_lines_that_failed_does_not_mislead_one_for_a_single_line():
    reader = StreamReader()
    reader.feed(b"a\nbcd")
    with pytest.raises(BlockingIOError):
        reader.readlines(3)
    assert reader.readline() == b"a\n"


def test_search_goes_on_after_a_failed_one():
    reader = StreamReader()
    reader.feed(b"xx")
    reader.read(1)
    for piece in (b"a\r", b"b\r"):
        reader.feed(piece)
        with pytest.raises(BlockingIOError):
            reader.readline(-1, b"\r\n")
    reader.feed(b"\nc")
    assert reader.readline(-1, b"\r\n") == b"xa\rb\r\n"


# --- the end: EOF or an error, and the first one stands


@pytest.mark.parametrize(
    ("read", "first"),
    [
        (StreamReader.read, b"a\nb\n"),
        (lambda reader: reader.read(100), b"a\nb\n"),
        (StreamReader.read1, b"a\nb\n"),
        (lambda reader: reader.readline(-1, b"x"), b"a\nb\n"),
        (StreamReader.readlines, [b"a\n", b"b\n"]),
        (lambda reader: reader.readlines(100), [b"a\n", b"b\n"]),
    ],
    ids=["read", "read(n)", "read1", "readline", "readlines", "readlines(hint)"],
)
def test_fed_error_comes_after_the_bytes_and_then_every_time(read, first):
    reader = StreamReader()
    reader.feed(b"a\nb\n")
    reader.feed_error(RemoteProtocolError("broken"))
    assert read(reader) == first
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match="broken"):
            read(reader)
    assert not reader.eof


def test_iteration_gives_the_lines_then_the_error():
    reader = StreamReader()
    reader.feed(b"a\nb")
    reader.feed_error(RuntimeError)  # a class will do, as in gruvi
    lines = iter(reader)
    assert [next(lines), next(lines)] == [b"a\n", b"b"]
    with pytest.raises(RuntimeError):
        next(lines)


def test_drain_raises_the_error_behind_the_bytes():
    reader = StreamReader()
    reader.feed(b"abc")
    reader.feed_error(Timeout("late"))
    with pytest.raises(Timeout):
        reader.drain()
    assert reader.buffer_size == 0


class Particular(Exception):
    def __init__(self, code: int, *, detail: str = "none") -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code


class Reluctant(Exception):
    def __init__(self, one: str, *, needed: str) -> None:
        super().__init__(one)


class OneOfAKind(Exception):
    def __copy__(self) -> OneOfAKind:
        return self


class Disguised(Exception):
    def __reduce__(self) -> tuple[type[ValueError], tuple[()]]:
        return ValueError, ()


COPYABLE = [
    RuntimeError("x"),
    ContentTooLarge("too much", 413, offset=7),
    Timeout("late", phase="content"),
    TransportError(104, "reset"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    Particular(7, detail="why"),
]


@pytest.mark.parametrize("error", COPYABLE, ids=repr)
def test_error_is_raised_as_a_fresh_copy_that_names_the_original(error):
    reader = StreamReader()
    reader.feed_error(error)
    caught = []
    for _ in range(2):
        with pytest.raises(type(error)) as info:
            reader.read()
        caught.append(info.value)
    assert len({id(each) for each in [error, *caught]}) == 3
    for each in caught:
        assert each.__cause__ is error
        assert (str(each), each.args, vars(each)) == (str(error), error.args, vars(error))
    assert error.__traceback__ is None


@pytest.mark.parametrize("error", [Reluctant("x", needed="y"), OneOfAKind("x"), Disguised("x")], ids=repr)
def test_error_that_cannot_be_copied_is_raised_itself_with_a_traceback_that_does_not_grow(error):
    reader = StreamReader()
    reader.feed_error(error)
    depths = []
    for _ in range(3):
        with pytest.raises(type(error)) as info:
            reader.read()
        assert info.value is error
        assert error.__cause__ is None
        depths.append(len(info.traceback))
    assert len(set(depths)) == 1


def test_error_keeps_no_frame_of_a_reader_alive():
    class Local:
        pass

    def read_and_fail() -> weakref.ref[Local]:
        local = Local()
        with pytest.raises(Timeout):
            reader.read()
        return weakref.ref(local)

    reader = StreamReader()
    reader.feed_error(Timeout())
    gone = read_and_fail()
    gc.collect()
    assert gone() is None


ENDS: dict[str, tuple[list[Callable[[StreamReader], None]], type[Exception] | None]] = {
    "EOF, error": ([StreamReader.feed_eof, lambda reader: reader.feed_error(Timeout())], None),
    "error, EOF": ([lambda reader: reader.feed_error(Timeout()), StreamReader.feed_eof], Timeout),
    "EOF, EOF": ([StreamReader.feed_eof, StreamReader.feed_eof], None),
    "error, error": ([lambda reader: reader.feed_error(Timeout()), lambda r: r.feed_error(OSError())], Timeout),
}


@pytest.mark.parametrize(("ends", "error"), ENDS.values(), ids=ENDS)
def test_first_end_stands(ends, error):
    reader = StreamReader(source=source_of([]))
    reader.feed(b"foo")
    for end in ends:
        end(reader)
    assert reader.read() == b"foo"
    if error is None:
        assert reader.read() == b""
    else:
        with pytest.raises(error):
            reader.read()


def test_error_that_is_fed_while_the_source_waits_is_not_taken_for_the_end():
    def source() -> bytes:
        reader.feed_error(Timeout())
        return b""

    reader = StreamReader(source=source)
    with pytest.raises(Timeout):
        reader.read()


def test_source_may_feed_the_last_chunk_together_with_the_end():
    def source() -> None:
        reader.feed(b"last")
        reader.feed_eof()

    reader = StreamReader(source=source)
    assert reader.read(4) == b"last"
    assert reader.eof


def test_bytes_after_the_end_are_refused():
    for reader in (StreamReader.complete(), StreamReader.complete(b"x")):
        with pytest.raises(ValueError, match="after the end"):
            reader.feed(b"y")


def test_source_is_let_go_at_the_end():
    class Source:
        def __call__(self) -> bytes:
            return b""

    source = Source()
    gone, reader = weakref.ref(source), StreamReader(source=source)
    del source
    assert reader.read() == b""
    gc.collect()
    assert gone() is None


# --- when the source is asked


def counted(chunks: Iterable[bytes]) -> tuple[StreamReader, list[int]]:
    asked, rest = [0], source_of(chunks)

    def source() -> bytes | None:
        asked[0] += 1
        return rest()

    return StreamReader(source=source), asked


@pytest.mark.parametrize(
    ("read", "count"),
    [
        (lambda reader: reader.read(0), 0),
        (lambda reader: reader.read1(0), 0),
        (lambda reader: reader.readline(0), 0),
        (lambda reader: reader.read1(), 1),
        (lambda reader: reader.read1(100), 1),
        (lambda reader: reader.peek(), 1),
        (lambda reader: reader.read(3), 1),
        (lambda reader: reader.read(4), 2),
        (lambda reader: reader.readline(), 2),
        (lambda reader: reader.readline(3), 1),
        (lambda reader: reader.readlines(1), 2),
        (lambda reader: reader.drain(5), 2),
        (lambda reader: reader.drain(6), 3),
        (lambda reader: reader.read(), 3),
        (lambda reader: (reader.read(), reader.read(), reader.read1(), reader.readline(), reader.drain()), 3),
    ],
)
def test_source_is_asked_no_more_than_needed(read, count):
    reader, asked = counted([b"abc", b"d\ne"])
    read(reader)
    assert asked == [count]


def test_read1_does_not_ask_while_there_is_something():
    reader, asked = counted([b"more"])
    reader.feed(b"a")
    reader.feed(b"b")
    assert [reader.read1(), reader.read1(9)] == [b"a", b"b"]
    assert asked == [0]


# --- chunks: whose they are, and what they cost


def test_whole_chunk_is_handed_out_as_the_object_that_came():
    chunk = bytes(range(256))
    assert StreamReader(source=source_of([chunk])).read1() is chunk
    assert StreamReader.complete(chunk).read() is chunk
    assert fed([chunk, b"more"]).read1(256) is chunk


@pytest.mark.parametrize("wrap", [bytearray, lambda content: memoryview(bytearray(content))])
def test_buffer_that_is_fed_may_be_reused(wrap):
    buffer, reader = wrap(b"abc"), StreamReader()
    reader.feed(buffer)
    buffer[0] = 0
    assert reader.read1() == b"abc"


@pytest.mark.parametrize("wrong", [2.5, 2.0, "2"], ids=repr)
@pytest.mark.parametrize("name", ["read", "read1", "readline", "readlines", "peek", "drain"])
def test_size_is_a_whole_number_however_the_bytes_came(name, wrong):
    for chunks in ([b"abcdef"], [b"ab", b"cdef"], []):
        reader = StreamReader()
        for chunk in chunks:
            reader.feed(chunk)
        reader.feed_eof()
        with pytest.raises(TypeError):
            getattr(reader, name)(wrong)
        assert reader.read() == b"".join(chunks)


@pytest.mark.parametrize("wrong", ["text", 5, None, [1]])
def test_what_is_not_bytes_cannot_be_fed(wrong):
    with pytest.raises(TypeError):
        StreamReader().feed(wrong)


def test_empty_chunk_is_nothing():
    reader = StreamReader()
    reader.feed(b"")
    assert reader.buffer_size == 0
    with pytest.raises(BlockingIOError):
        reader.read1()


def calls_made(act: Callable[[], object]) -> int:
    """Count the calls, of Python and of C functions, that `act` takes: work in a unit that no load can change."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(None)
    return count


def poll_lines(count: int) -> None:
    reader = StreamReader()
    for _ in range(count):
        reader.feed(b"x")
        with pytest.raises(BlockingIOError):
            reader.readline(-1, b"\r\n")


MANY: dict[str, Callable[[int], object]] = {
    "read": lambda n: fed([b"x"] * n).read(),
    "read(1)": lambda n: [*iter(partial(fed([b"x"] * n).read, 1), b"")],
    "readline": lambda n: fed([b"x"] * n).readline(),
    "readline, long delimiter": lambda n: fed([b"x"] * n).readline(-1, b"\r\n"),
    "lines in one chunk": lambda n: [*fed([b"x\n" * n])],
    "lines in many chunks": lambda n: [*fed([b"x\n"] * n)],
    "readlines in steps": lambda n: [*iter(partial(fed([b"x\n"] * n).readlines, 20), [])],
    "line tried after each chunk": poll_lines,
    "drain": lambda n: fed([b"x"] * n).drain(),
}


@pytest.mark.parametrize("act", MANY.values(), ids=MANY)
def test_twice_the_chunks_cost_twice_the_calls(act):
    assert calls_made(lambda: act(2000)) < 2.2 * calls_made(lambda: act(1000))


@pytest.mark.parametrize(
    "act",
    [
        lambda: fed([b"x"] * (1 << 18)).read(),
        lambda: fed([b"x"] * (1 << 18)).readline(),
        lambda: len([*iter(partial(fed([b"x"] * (1 << 18)).read, 1), b"")]),
        lambda: len([*fed([b"some line of text\n" * 100_000])]),
    ],
    ids=[
        "read 256 KiB of single bytes",
        "readline over 256 KiB of single bytes",
        "256 KiB byte by byte",
        "100,000 lines in one chunk",
    ],
)
def test_large_number_of_pieces_is_finished_in_time(act):
    assert act()


def test_small_read_of_a_large_chunk_allocates_little():
    reader = fed([bytes(1 << 24)])
    tracemalloc.start()
    try:
        reader.read(10), reader.read1(10), reader.readline(10), reader.peek(10)
        assert tracemalloc.get_traced_memory()[1] < 1 << 16
    finally:
        tracemalloc.stop()


def test_spent_chunks_are_freed_although_others_wait_behind_them():
    tracemalloc.start()
    try:
        reader = fed(bytes(1 << 20) for _ in range(8))
        for left in range(7, -1, -1):
            reader.read(1 << 20)
            assert tracemalloc.get_traced_memory()[0] < (left << 20) + (1 << 19)
    finally:
        tracemalloc.stop()


def test_places_of_spent_chunks_are_freed_although_the_buffer_is_never_empty():
    reader = StreamReader()
    reader.feed(b"x")
    tracemalloc.start()
    try:
        for _ in range(10_000):
            reader.feed(b"x")
            reader.read(1)
        assert tracemalloc.get_traced_memory()[0] < 1 << 12
    finally:
        tracemalloc.stop()


# --- closing, and what else a file has


@reads_and_more
def test_reading_after_close_is_refused(read):
    reader = StreamReader.complete(b"abc")
    reader.close()
    if read is StreamReader.drain:
        assert read(reader)  # the connection's owner drops what nobody will read
    else:
        with pytest.raises(ValueError, match="closed"):
            read(reader)


def test_close_touches_neither_source_nor_buffer():
    reader, asked = counted([b"more"])
    with reader:
        reader.feed(b"abc")
    assert reader.closed
    assert (reader.buffer_size, asked) == (3, [0])
    reader.feed(b"d")
    reader.close()
    assert reader.drain()
    assert asked == [2]


def test_dying_touches_neither_source_nor_callback():
    touched: list[object] = []
    reader = StreamReader(lambda *report: touched.append(report), source=lambda: touched.append("source"))
    reader.feed(b"a")
    del touched[:], reader
    gc.collect()
    assert touched == []


def test_dead_text_wrapper_closes_the_reader_which_can_still_be_drained():
    reader = StreamReader.complete(b"abc")
    io.TextIOWrapper(reader, "utf-8")
    gc.collect()
    assert reader.closed
    assert reader.drain()


def test_text_of_what_has_arrived_needs_no_end():
    reader = StreamReader()
    reader.feed(b"foo")
    assert io.TextIOWrapper(reader, "utf-8").read(3) == "foo"


def test_it_is_a_readable_binary_file_and_nothing_more():
    reader = StreamReader()
    assert isinstance(reader, io.BufferedIOBase)
    assert (reader.readable(), reader.writable(), reader.seekable(), reader.isatty()) == (True, False, False, False)
    for refused in (lambda: reader.write(b""), reader.detach, reader.tell, lambda: reader.seek(0), reader.fileno):
        with pytest.raises(OSError):
            refused()


@pytest.mark.parametrize(
    ("delim", "error"), [(b"", ValueError), ("\n", TypeError), (None, TypeError), (bytearray(b"\n"), TypeError)]
)
def test_delimiter_must_be_bytes_and_not_empty(delim, error):
    reader = StreamReader.complete(b"a\n")
    with pytest.raises(error, match="delimiter"):
        reader.readline(-1, delim)
    assert reader.read() == b"a\n"


def test_size_changes_are_reported_with_previous_and_present_bytes():
    reports: list[tuple[StreamReader, int, int]] = []
    reader = StreamReader(lambda *report: reports.append(report), 2.5)
    reader.feed(b"abc")
    reader.feed(b"")
    reader.feed(b"de")
    reader.read1()
    reader.read(0)
    reader.feed_eof()
    reader.drain()
    assert reports == [(reader, 0, 3), (reader, 3, 5), (reader, 5, 2), (reader, 2, 0)]
    assert reader.timeout == 2.5


@pytest.mark.parametrize(
    ("prepare", "expected"),
    [
        (lambda reader: None, "<StreamReader open, 3 bytes held>"),
        (StreamReader.feed_eof, "<StreamReader ended, 3 bytes held>"),
        (StreamReader.close, "<StreamReader open, 3 bytes held, closed>"),
        (lambda reader: reader.feed_error(OSError("x")), "<StreamReader failed with OSError('x'), 3 bytes held>"),
    ],
)
def test_repr_prints_the_state(prepare, expected):
    reader = StreamReader()
    reader.feed(b"abc")
    prepare(reader)
    assert repr(reader) == expected
