"""What a user may give as a body, turned into bytes: all at once, or piece by piece.

A body is complete (bytes, bytearray, memoryview, str), or it comes in pieces: from an object with ``read``, or from
an iterable, each piece being bytes or str. str is encoded with a charset that the caller knows. How the content is
framed is not known here.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping
from typing import Any

from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader

__all__ = ["PieceEncoder", "content_of", "pieces_of"]

READ_BYTES = 65536  # at a time, from a file; the hub rests while the disk is asked


def content_of(body: Any, charset: str) -> BytesLike | None:  # Any: a body of any kind, as the user gave it
    """The content, if `body` is complete; None if it comes in pieces, or later.

    Raises TypeError for what is no body, UnicodeEncodeError for a str that `charset` cannot express, ValueError for
    a charset that does not exist.
    """
    if isinstance(body, str):
        return _encode(body, charset) if body else b""
    if isinstance(body, (bytes, bytearray, memoryview)):
        return _flat(body)
    if body is not None:
        _check_kind(body)
    return None


def pieces_of(body: Any, encoder: PieceEncoder) -> Iterator[BytesLike]:
    """The pieces of a body that is not complete, each when it is asked for. Raises what the body raises."""
    for piece in _read_pieces(body) if hasattr(body, "read") else body:
        if content := encoder(piece):
            yield content
    if rest := encoder.finish():
        yield rest


class PieceEncoder:
    """Encodes the str among the pieces of one body. A charset with a state, or a mark at the start, keeps it."""

    __slots__ = ("_charset", "_encoder")

    def __init__(self, charset: str) -> None:
        self._charset = charset
        self._encoder: codecs.IncrementalEncoder | None = None

    def __call__(self, piece: Any) -> BytesLike:  # Any: whatever the user's body yields
        """The bytes of a piece. TypeError if it is neither bytes-like nor str, UnicodeEncodeError, ValueError."""
        if isinstance(piece, (bytes, bytearray, memoryview)):
            return _flat(piece)
        if not isinstance(piece, str):
            raise TypeError(f"a piece of a body must be bytes or str, not {type(piece).__name__}")
        if self._encoder is None:
            try:
                self._encoder = codecs.getincrementalencoder(self._charset)()
            except LookupError:
                raise ValueError(f"unknown charset {self._charset!r}") from None
        return self._encoder.encode(piece)

    def finish(self) -> bytes:
        """What the charset wants at the end."""
        return b"" if self._encoder is None else self._encoder.encode("", True)


def _flat(content: BytesLike) -> BytesLike:
    """`content`, with a length that counts bytes."""
    if isinstance(content, memoryview):
        return content.cast("B") if content.c_contiguous else content.tobytes()
    return content


def _encode(text: str, charset: str) -> bytes:
    try:
        return text.encode(charset)
    except LookupError:
        raise ValueError(f"unknown charset {charset!r}") from None


def _read_pieces(file: Any) -> Iterator[Any]:
    # a stream of ours passes on what it has; a file would give small pieces that way
    read = file.read1 if isinstance(file, StreamReader) else file.read
    while piece := read(READ_BYTES):
        yield piece


def _check_kind(body: Any) -> None:
    is_pairs = isinstance(body, (list, tuple)) and body and all(isinstance(item, tuple) for item in body)
    if is_pairs or isinstance(body, Mapping):
        raise TypeError(
            f"a {'list of pairs' if is_pairs else type(body).__name__} is not a body; headers come before the body: "
            "request(method, url, headers, body), or by name: request(method, url, body=..., headers=...)"
        )
    if not hasattr(body, "read") and not hasattr(body, "__iter__"):
        raise TypeError(f"a body must be bytes, str, a file, an iterable of these, or None; not {type(body).__name__}")
