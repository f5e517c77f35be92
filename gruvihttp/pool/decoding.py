"""Content codings undone: gzip and deflate always, br and zstd where their packages are installed (RFC 9110 §8.4.1).

The theory. A few bytes may stand for gigabytes, so a decoder never makes more than a piece at a time, and makes the
next one only on demand: memory stays flat, however content expands. A caller that collects the pieces could still be
flooded; so a `Decoder` counts, and refuses what expands more than `max_ratio` times once it is larger than
`FREE_BYTES`. Honest content does not: text shrinks to a tenth, a table of zeros to a hundredth.

Content that ends before its coding does is an error, as is what follows after its end.

A decoder pulls: it calls its source for coded bytes and returns decoded ones, ``b""`` at the end. When the source
raises, nothing is lost, and the next pull goes on. HTTP is not known here.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any, Protocol

from gruvihttp.errors import DecodingError

__all__ = ["FREE_BYTES", "MAX_RATIO", "Decoder", "accepted_codings", "codings_of"]

FREE_BYTES = 10 << 20
MAX_RATIO = 100

_PIECE_BYTES = 65536
# A block of zstd has at least four bytes and at most 128 KiB of content, and the library has no bound for its output:
# what is shown to it at once can therefore not become more than 16 MiB
_ZSTD_SHOWN_BYTES = 512
# zlib copies what it has been shown and does not need; with many small members that would be all of it for each
_INFLATED_AT_ONCE_BYTES = 8192

Source = Callable[[], bytes]


class Stage(Protocol):
    """One coding. `ended` says that nothing more can come: the coded content is complete."""

    ended: bool

    def decode(self, coded: bytes) -> bytes:
        """Decode: at most about a piece comes back. The rest comes with further calls, for ``b""``.

        Returns ``b""`` when more input is needed. Raises what `errors` has.
        """

    errors: tuple[type[Exception], ...]


class Decoder:
    """Undoes the codings of one content, which are named in the order in which they were applied.

    `source()` returns the next coded bytes, ``b""`` at the end. `max_ratio` None means no bound.
    Raises DecodingError for a coding that is not known here.
    """

    def __init__(self, codings: Iterable[str], source: Source, max_ratio: float | None = MAX_RATIO) -> None:
        self._source = source
        self._max_ratio = max_ratio
        self._coded_bytes = 0
        self._pull: Source = self._pull_coded
        for coding in reversed(list(codings)):
            self._pull = _Puller(coding, self._pull, self._count).pull

    def pull(self) -> bytes:
        """The next piece of content, ``b""`` at the end. Raises DecodingError, and what the source raises."""
        return self._pull()

    def _pull_coded(self) -> bytes:
        coded = self._source()
        self._coded_bytes += len(coded)
        return coded

    def _count(self, stage_bytes: int) -> None:
        """Each stage counts by itself: what is small at the end may have been large in between."""
        if self._max_ratio is None or stage_bytes <= FREE_BYTES:
            return
        if stage_bytes > self._coded_bytes * self._max_ratio:
            raise DecodingError(
                f"the content expands more than {self._max_ratio:g} times: "
                f"{self._coded_bytes} bytes are {stage_bytes} already; see max_ratio"
            )


class _Puller:
    """A stage with its input."""

    def __init__(self, coding: str, source: Source, count: Callable[[int], None]) -> None:
        make = _stages().get(coding)
        if make is None:
            raise DecodingError(f"the content coding {coding!r} is not known: decode=False leaves it as it comes")
        self._coding = coding
        self._source = source
        self._count = count
        self._stage = make()
        self._decoded_bytes = 0
        self._begun = False

    def pull(self) -> bytes:
        coded = b""  # what the stage has not used it holds itself
        while True:
            try:
                decoded = self._stage.decode(coded)
            except self._stage.errors as exc:
                raise DecodingError(f"the content is corrupted: {self._coding}: {exc}") from exc
            if decoded:
                self._decoded_bytes += len(decoded)
                self._count(self._decoded_bytes)
                return decoded
            coded = self._source()
            if not coded:
                # no content at all is what HEAD and many a 304 have; it needs no coding
                if self._begun and not self._stage.ended:
                    raise DecodingError(f"the content is incomplete: it ends in the middle of its {self._coding}")
                return b""
            self._begun = True


class _Corrupted(Exception):
    """What our own stages find."""


class _Inflating:
    """zlib's decoder, which hands back what it has not looked at."""

    errors: tuple[type[Exception], ...] = (zlib.error, _Corrupted)

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._inflater = zlib.decompressobj(wbits)
        self._coded = memoryview(b"")
        self.ended = False

    def decode(self, coded: bytes) -> bytes:
        if coded:
            self._coded = memoryview(bytes(self._coded) + coded)
        while True:
            if self._inflater.eof and not self._goes_on():
                return b""
            # also for no input: zlib may hold back output although it has seen all there is
            shown = self._coded[:_INFLATED_AT_ONCE_BYTES]
            decoded = self._inflater.decompress(shown, _PIECE_BYTES)
            self.ended = self._inflater.eof
            left = self._inflater.unused_data if self.ended else self._inflater.unconsumed_tail
            self._coded = self._coded[len(shown) - len(left) :]
            if decoded or not self._coded:
                return decoded

    def _goes_on(self) -> bool:
        """What follows the end, if anything: does it belong to the content?"""
        if self._coded:
            raise _Corrupted("something follows its end")
        return False


class _Gzip(_Inflating):
    """RFC 1952: members may follow each other; some writers pad with zeros."""

    def __init__(self) -> None:
        super().__init__(16 + zlib.MAX_WBITS)

    def _goes_on(self) -> bool:
        while self._coded and not (shown := bytes(self._coded[:_INFLATED_AT_ONCE_BYTES])).strip(b"\0"):
            self._coded = self._coded[len(shown) :]
        if self._coded:
            self._coded = self._coded[len(shown) - len(shown.lstrip(b"\0")) :]
            self._inflater = zlib.decompressobj(self._wbits)
        return bool(self._coded)


class _Deflate(_Inflating):
    """RFC 9110 §8.4.1.2: the zlib format; but there are servers that leave its two bytes of head out."""

    def __init__(self) -> None:
        super().__init__(zlib.MAX_WBITS)
        self._first = True

    def decode(self, coded: bytes) -> bytes:
        if self._first and coded:
            self._first = False
            if coded[0] & 0x0F != 8 or coded[0] >> 4 > 7:  # RFC 1950 §2.2: method 8, window up to 32 KiB
                self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        return super().decode(coded)


class _Brotli:
    """RFC 7932, by the package of its authors."""

    def __init__(self, brotli: Any) -> None:
        self.errors: tuple[type[Exception], ...] = (brotli.error,)
        self._decompressor = brotli.Decompressor()
        self._waiting = b""
        self.ended = False

    def decode(self, coded: bytes) -> bytes:
        self._waiting += coded
        shown = b""
        if self._decompressor.can_accept_more_data():
            shown, self._waiting = self._waiting, b""
        decoded: bytes = self._decompressor.process(shown, output_buffer_limit=_PIECE_BYTES)
        self.ended = self._decompressor.is_finished()
        return decoded


class _Zstd:
    """RFC 8878, by the package ``zstandard``. It has no bound for its output, so it gets little input at a time."""

    def __init__(self, zstandard: Any) -> None:
        self.errors: tuple[type[Exception], ...] = (zstandard.ZstdError,)
        # RFC 9659: a window of 8 MiB is the most that the coding may ask for
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=8 << 20)
        self._frame = self._decompressor.decompressobj()
        self._waiting = memoryview(b"")
        self.ended = False

    def decode(self, coded: bytes) -> bytes:
        if coded:
            self._waiting = memoryview(bytes(self._waiting) + coded)
        while self._waiting:
            if self._frame.eof:  # frames may follow each other
                self._frame = self._decompressor.decompressobj()
            shown = self._waiting[:_ZSTD_SHOWN_BYTES]
            decoded: bytes = self._frame.decompress(shown)
            self.ended = self._frame.eof
            unused_bytes = len(self._frame.unused_data) if self.ended else 0
            self._waiting = self._waiting[len(shown) - unused_bytes :]
            if decoded:
                return decoded
        return b""


@cache
def _stages() -> dict[str, Callable[[], Stage]]:
    """The codings that can be undone here, by name."""
    stages: dict[str, Callable[[], Stage]] = {"gzip": _Gzip, "x-gzip": _Gzip, "deflate": _Deflate}
    try:
        import brotli

        if hasattr(brotli.Decompressor, "can_accept_more_data"):  # older ones have no bound for their output
            stages["br"] = lambda: _Brotli(brotli)
    except ImportError:
        pass
    try:
        import zstandard

        stages["zstd"] = lambda: _Zstd(zstandard)
    except ImportError:
        pass
    return stages


def accepted_codings() -> str:
    """What Accept-Encoding may say here, best known first."""
    return ", ".join(coding for coding in _stages() if coding != "x-gzip")


def codings_of(value: str) -> list[str]:
    """The codings in a Content-Encoding field that are to be undone, in lower case."""
    names = [name.strip().lower() for name in value.split(",")]
    return [name for name in names if name and name != "identity"]
