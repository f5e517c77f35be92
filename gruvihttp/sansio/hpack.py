"""HPACK: lists of fields to blocks and back (RFC 7541).

Both ends keep a table of fields that were sent, and a block says "entry 62 again" where it can. So a block can only be
read if all blocks before it were: a decoder has to finish each one, however large it is, and an encoder must not be
asked for what is not going to be sent. What breaks a block breaks the connection: `HpackError`.

Two things make it fast. What is to be known about a field is found out once, when it is spelled out, and stays beside
it in the table: `Classify` turns it into a number, a mark, and the marks of all fields of a block come added up. And
how a public field is spelled is remembered across connections (`REPEATED`); the values of secrets never are.

Entries of the decoder's table lie in a list in the order of their coming; the newest is last, so an index counts from
the list's end. The encoder numbers its entries as they come, and finds the number of a field in a dict. What a field
means in HTTP is not known here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import lru_cache

from gruvihttp.errors import FieldsTooLarge
from gruvihttp.sansio import huffman
from gruvihttp.sansio.headers import REPEATED, Field
from gruvihttp.sansio.hpacktable import ENTRY_OVERHEAD, FIRST_DYNAMIC, SECRETS, STATIC

__all__ = ["DEFAULT_TABLE_BYTES", "Classify", "Decoder", "Encoder", "HpackError"]

# What both sides begin with (RFC 9113 §6.5.2)
DEFAULT_TABLE_BYTES = 4096

# Name and value of a field that was received -> its mark
Classify = Callable[[bytes, bytes], int]
# Field, its size as RFC 7541 §4.1 counts it, its mark
_Entry = tuple[Field, int, int]

_LONGEST_CACHED = 128  # bytes: most user agents and accept lines
_MOST_CACHED = 2048
# 2**28 is more than any block or table of ours; it also bounds how long an integer can go on
_LARGEST_INTEGER = 1 << 28


class HpackError(ValueError):
    """A block that cannot be read. The tables are out of step from here on: COMPRESSION_ERROR (RFC 9113 §4.3)."""


_cached_decode = lru_cache(_MOST_CACHED)(huffman.decode)
_cached_encode = lru_cache(_MOST_CACHED)(huffman.encode)


@lru_cache(16)
def _static_entries(classify: Classify) -> tuple[_Entry, ...]:
    nothing: _Entry = ((b"", b""), 0, 0)  # at index 0, which must not be used
    return (nothing, *(_entry(name, value, classify) for name, value in STATIC))


def _entry(name: bytes, value: bytes, classify: Classify) -> _Entry:
    return (name, value), len(name) + len(value) + ENTRY_OVERHEAD, classify(name, value)


class Decoder:
    """Blocks to fields.

    `list_bytes` bounds the size of a list as RFC 9113 §6.5.2 counts it, `fields_count` its fields, `field_bytes` a
    single name or value.

    After `decode`, `repeatable` says that the block has changed nothing, and spelled out no secret: the same bytes
    mean the same, until a block comes that is not repeatable. `unfolded_bytes` is the size of a list that was larger
    than `list_bytes`, else 0.
    """

    __slots__ = (
        "_classify", "_entries", "_field_bytes", "_fields_count", "_limit", "_list_bytes", "_must_shrink", "_oversized",
        "_size", "_static", "_table_bytes", "repeatable", "unfolded_bytes",
    )  # fmt: skip

    def __init__(
        self, classify: Classify, *, list_bytes: int = 65536, fields_count: int = 128, field_bytes: int = 16384
    ) -> None:
        self._classify = classify
        self._static = _static_entries(classify)
        self._list_bytes = list_bytes
        self._fields_count = fields_count
        self._field_bytes = field_bytes
        self._entries: list[_Entry] = []
        self._size = 0
        self._table_bytes = self._limit = DEFAULT_TABLE_BYTES
        self._must_shrink = False
        self._oversized = False
        self.repeatable = True
        self.unfolded_bytes = 0

    def set_limit(self, table_bytes: int) -> None:
        """Our SETTINGS_HEADER_TABLE_SIZE, once the peer must follow it.

        If its table is larger, its next block has to begin by saying that it has made it smaller (RFC 7541 §4.2).
        """
        self._limit = table_bytes
        self._must_shrink = self._table_bytes > table_bytes

    def decode(self, block: bytes) -> tuple[list[Field], int]:
        """The fields of a block, and the sum of their marks.

        Raises FieldsTooLarge for a list beyond the bounds, with the table in step; HpackError if it cannot be.
        """
        self.repeatable = True
        self._oversized = False
        self.unfolded_bytes = 0
        try:
            pos = self._table_sizes(block)
            fields, marks = self._fields(block, pos)
        except IndexError:
            raise HpackError("a block that ends too early") from None
        except huffman.HuffmanError as exc:
            raise HpackError(str(exc)) from None
        if self._oversized or len(fields) > self._fields_count:
            raise FieldsTooLarge(f"a section of more than {self._list_bytes} bytes or {self._fields_count} fields")
        return fields, marks

    def _table_sizes(self, block: bytes) -> int:
        """Follow the changes of the table's size at the beginning; the index behind them (RFC 7541 §4.2)."""
        pos = 0
        while pos < len(block) and block[pos] & 0xE0 == 0x20:
            table_bytes, pos = _integer(block, pos + 1, block[pos] & 0x1F, 0x1F)
            if table_bytes > self._limit:
                raise HpackError("a dynamic table that is larger than allowed")
            self._table_bytes = table_bytes
            self._must_shrink = self.repeatable = False
            self._evict(table_bytes)
        if self._must_shrink:
            raise HpackError("a dynamic table that was not made smaller")
        return pos

    def _fields(self, block: bytes, pos: int) -> tuple[list[Field], int]:
        fields: list[Field] = []
        append = fields.append
        static = self._static
        entries = self._entries
        left = self._list_bytes
        marks = 0
        end = len(block)
        while pos < end:
            first = block[pos]
            pos += 1
            if first > 0x80:  # indexed (RFC 7541 §6.1); 0x80 names index 0
                if first == 0xFF:
                    index, pos = _integer(block, pos, 0x7F, 0x7F)
                else:
                    index = first & 0x7F
                if index < FIRST_DYNAMIC:
                    field, size, mark = static[index]
                else:
                    place = len(entries) + FIRST_DYNAMIC - 1 - index
                    if place < 0:
                        raise HpackError("an index beyond the table")
                    field, size, mark = entries[place]
            else:
                entry, pos = self._literal(block, pos, first)
                field, size, mark = entry
            left -= size
            if left >= 0:  # beyond the bounds it is read, for the table's sake, but not kept
                append(field)
            marks += mark
        if left < 0:
            self._oversized = True
            self.unfolded_bytes = self._list_bytes - left
        return fields, marks

    def _literal(self, block: bytes, pos: int, first: int) -> tuple[_Entry, int]:
        """A field that is spelled out (RFC 7541 §6.2), and the index behind it."""
        if first & 0x40:
            index, mask = first & 0x3F, 0x3F
        elif first & 0x20 or first == 0x80:
            raise HpackError("a change of the table's size amid fields, or index 0")
        else:
            index, mask = first & 0x0F, 0x0F
        if index == mask:
            index, pos = _integer(block, pos, mask, mask)
        if index:
            name = self._name(index)
        else:
            name, pos = self._string(block, pos, public=True)
        value, pos = self._string(block, pos, public=name in REPEATED)
        entry = _entry(name, value, self._classify)
        if first & 0x40:
            self._insert(entry)
        elif first & 0x10 or name in SECRETS:
            self.repeatable = False
        return entry, pos

    def _name(self, index: int) -> bytes:
        if index < FIRST_DYNAMIC:
            return STATIC[index - 1][0]
        place = len(self._entries) + FIRST_DYNAMIC - 1 - index
        if place < 0:
            raise HpackError("an index beyond the table")
        return self._entries[place][0][0]

    def _string(self, block: bytes, pos: int, *, public: bool) -> tuple[bytes, int]:
        first = block[pos]
        length = first & 0x7F
        pos += 1
        if length == 0x7F:
            length, pos = _integer(block, pos, 0x7F, 0x7F)
        end = pos + length
        if end > len(block):
            raise HpackError("a block that ends too early")
        text = block[pos:end]
        if first & 0x80:
            text = _cached_decode(text) if public and length <= _LONGEST_CACHED else huffman.decode(text)
        if len(text) > self._field_bytes:
            self._oversized = True
        return text, end

    def _insert(self, entry: _Entry) -> None:
        self.repeatable = False
        size = entry[1]
        self._evict(self._table_bytes - size)
        if size <= self._table_bytes:  # RFC 7541 §4.4: what is larger than the table only empties it
            self._entries.append(entry)
            self._size += size

    def _evict(self, target: int) -> None:
        """Let the oldest entries go until the rest has at most `target` bytes."""
        entries = self._entries
        size = self._size
        gone = 0
        while size > target and gone < len(entries):
            size -= entries[gone][1]
            gone += 1
        del entries[:gone]
        self._size = size


def _integer(block: bytes, pos: int, value: int, mask: int) -> tuple[int, int]:
    """An integer whose prefix is `value` (RFC 7541 §5.1), and the index behind it."""
    if value < mask:
        return value, pos
    shift = 0
    while True:
        byte = block[pos]
        pos += 1
        value += (byte & 0x7F) << shift
        if value >= _LARGEST_INTEGER or shift > 28:
            raise HpackError("an integer that is too large")
        if byte < 0x80:
            return value, pos
        shift += 7


def _prefixed(value: int, mask: int, flags: int) -> bytes:
    """An integer behind `flags` (RFC 7541 §5.1)."""
    if value < mask:
        return bytes((flags | value,))
    spelled = bytearray((flags | mask,))
    value -= mask
    while value >= 0x80:
        spelled.append(value & 0x7F | 0x80)
        value >>= 7
    spelled.append(value)
    return bytes(spelled)


# Fields that are worth a place in the table: those that come again with the same value. What differs each time, such
# as :path, etag or content-length, would only push them out.
_INDEXED = REPEATED | frozenset(
    b"""
    :authority :method :scheme :status access-control-allow-credentials access-control-allow-headers
    access-control-allow-methods access-control-allow-origin alt-svc content-security-policy cross-origin-opener-policy
    cross-origin-resource-policy origin permissions-policy referrer-policy strict-transport-security x-powered-by
    x-xss-protection
    """.split()
)
# A cookie that is shorter can be guessed, one value after another; a longer one cannot, and pays for its place most
_SHORTEST_INDEXED_COOKIE = 20
# Its spelling is remembered though it is not indexed
_CACHED = _INDEXED | {b"content-length"}

_STATIC_INDEX = {field: _prefixed(index, 0x7F, 0x80) for index, field in reversed(list(enumerate(STATIC, 1)))}
_NAME_INDEX = {field[0]: index for index, field in reversed(list(enumerate(STATIC, 1)))}
_INDEX = tuple(_prefixed(index, 0x7F, 0x80) for index in range(256))


class Encoder:
    """Fields to blocks. Each block has to be sent, in the order in which they were made."""

    __slots__ = ("_announced", "_entries", "_inserted", "_numbers", "_size", "_smallest", "_table_bytes")

    def __init__(self) -> None:
        self._numbers: dict[Field, int] = {}
        self._entries: deque[tuple[Field, int]] = deque()  # with their sizes, the oldest first
        self._inserted = 0
        self._size = 0
        self._table_bytes = self._announced = self._smallest = DEFAULT_TABLE_BYTES

    def set_limit(self, table_bytes: int) -> None:
        """The peer's SETTINGS_HEADER_TABLE_SIZE. We never use a larger table than the default."""
        self._table_bytes = min(table_bytes, DEFAULT_TABLE_BYTES)
        self._smallest = min(self._smallest, self._table_bytes)
        self._evict(self._table_bytes)

    def encode(self, fields: Iterable[Field]) -> bytes:
        """The block for these fields; their names are in lower case."""
        spelled: list[bytes] = []
        append = spelled.append
        if self._smallest < self._announced or self._table_bytes != self._announced:
            append(self._sizes())
        numbers = self._numbers
        for field in fields:
            known = _STATIC_INDEX.get(field)
            if known is None:
                number = numbers.get(field)
                if number is None:
                    known = self._literal(field)
                else:
                    known = _INDEX[self._inserted - number + FIRST_DYNAMIC]
            append(known)
        return b"".join(spelled)

    def _sizes(self) -> bytes:
        """Tell the peer's decoder to follow: the smallest size there was, then the present one (RFC 7541 §4.2)."""
        sizes = {self._smallest, self._table_bytes}
        self._announced = self._smallest = self._table_bytes
        return b"".join(_prefixed(size, 0x1F, 0x20) for size in sorted(sizes))

    def _literal(self, field: Field) -> bytes:
        name, value = field
        if name in _INDEXED or (name == b"cookie" and len(value) >= _SHORTEST_INDEXED_COOKIE):
            size = len(name) + len(value) + ENTRY_OVERHEAD
            if size <= self._table_bytes:
                self._insert(field, size)
                return self._spelled(field, 0x3F, 0x40)
        return self._spelled(field, 0x0F, 0x10 if name in SECRETS else 0x00)

    @staticmethod
    def _spelled(field: Field, mask: int, flags: int) -> bytes:
        name, value = field
        if name in _CACHED and len(value) <= _LONGEST_CACHED:
            return _cached_spelling(field, mask, flags)
        return _spelling(field, mask, flags)

    def _insert(self, field: Field, size: int) -> None:
        self._evict(self._table_bytes - size)
        self._inserted += 1
        self._numbers[field] = self._inserted
        self._entries.append((field, size))
        self._size += size

    def _evict(self, target: int) -> None:
        while self._size > target:
            field, size = self._entries.popleft()
            del self._numbers[field]
            self._size -= size


def _spelling(field: Field, mask: int, flags: int) -> bytes:
    """A field that is spelled out, its name by index where the static table has it (RFC 7541 §6.2)."""
    name, value = field
    index = _NAME_INDEX.get(name)
    if index is None:
        return b"%c%b%b" % (flags, _text(name, _cached_encode(name)), _text(value, huffman.encode(value)))
    return _prefixed(index, mask, flags) + _text(value, huffman.encode(value))


_cached_spelling = lru_cache(_MOST_CACHED)(_spelling)


def _text(text: bytes, short: bytes) -> bytes:
    """A text in the shorter one of its two spellings (RFC 7541 §5.2)."""
    if len(short) < len(text):
        return _prefixed(len(short), 0x7F, 0x80) + short
    return _prefixed(len(text), 0x7F, 0x00) + text
