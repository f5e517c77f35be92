"""`Headers`: the fields of a message, and the sets of field names that have rules.

A field is kept twice: with its name as it was written, which is what goes on the wire, and with the name in lower
case, by which it is found. Start lines and framing are not known here; what Content-Length and Transfer-Encoding may
look like is, because no section may be made that contradicts itself (RFC 9112 §6.3).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

from gruvihttp.errors import LocalProtocolError
from gruvihttp.sansio.grammar import CONTENT_LENGTH_RE, FIELD_NAME_RE, FIELD_VALUE_RE

__all__ = [
    "FORBIDDEN_IN_TRAILERS",
    "HOP_BY_HOP",
    "REPEATED",
    "Field",
    "Headers",
    "combined",
    "list_members",
    "merged_content_length",
    "to_bytes",
]

Field = tuple[bytes, bytes]
Text = bytes | str

# RFC 9110 §7.6.1: fields meant for one connection only. Trailer is not among them: it may be forwarded.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    )
)

# RFC 9110 §6.5.1: what frames, routes, authenticates, controls or describes the message cannot come after it
FORBIDDEN_IN_TRAILERS = HOP_BY_HOP | frozenset(
    (
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"expect",
        b"host",
        b"max-forwards",
        b"pragma",
        b"range",
        b"set-cookie",
        b"trailer",
        b"www-authenticate",
    )
)

# Fields that are sent again and again with one value. What was found out about them may be remembered, for their
# values are no secrets: how long a field takes must not tell whether somebody else has sent the same cookie.
REPEATED = frozenset(
    b"""
    accept accept-charset accept-encoding accept-language accept-ranges cache-control connection content-encoding
    content-language content-type date dnt host keep-alive pragma priority sec-ch-ua sec-ch-ua-mobile
    sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site sec-fetch-user sec-gpc server te transfer-encoding
    upgrade-insecure-requests user-agent vary via x-content-type-options x-forwarded-port x-forwarded-proto
    x-frame-options x-requested-with
    """.split()
)

_FRAMING = frozenset((b"content-length", b"transfer-encoding"))


class Headers(Sequence[Field]):
    """Field lines of one section, in their order; a sequence of (lower-case name, value) pairs of bytes.

    Equal to any sequence of the same pairs. `raw_items()` has the names as they were written.
    """

    __slots__ = ("_raw", "_section", "fields")

    fields: list[Field]
    _raw: list[Field] | None
    _section: bytes  # what `_raw` is made of when somebody asks for it

    def __init__(self, raw: Iterable[Field] = ()) -> None:
        """`raw` are (name as written, value) pairs that the grammar has accepted, values without outer blanks."""
        self._raw = list(raw)
        self._section = b""
        self.fields = [(name.lower(), value) for name, value in self._raw]

    @property
    def raw(self) -> list[Field]:
        """The (name as written, value) pairs; not to be changed."""
        if self._raw is None:
            parts = [line.partition(b":") for line in self._section.splitlines()]
            self._raw = [(name, value.strip(b" \t")) for name, _, value in parts]
        return self._raw

    @classmethod
    def of(cls, fields: Headers | Iterable[tuple[Text, Text]] | None) -> Headers:
        """Check and convert what a caller gives: pairs of str (ASCII) or bytes; None is no field; Headers pass.

        Raises LocalProtocolError for a name that is no token, a value with controls or outer blanks, and a
        Content-Length or Transfer-Encoding section that no framing can follow (RFC 9112 §6).
        """
        if type(fields) is cls:
            return fields
        return _checked_headers(fields) if fields else EMPTY

    @overload
    def __getitem__(self, index: int) -> Field: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Field]: ...
    def __getitem__(self, index: int | slice) -> Field | Sequence[Field]:
        return self.fields[index]

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return self.fields == list(other)

    __hash__ = None  # type: ignore[assignment]  # a list of fields compares by content, as lists do

    def __repr__(self) -> str:
        return f"<Headers({self.fields!r})>"

    def raw_items(self) -> list[Field]:
        """The (name as written, value) pairs."""
        return list(self.raw)

    def combined(self) -> dict[bytes, bytes]:
        """One value for each name; the values of repeated fields joined by a comma (RFC 9110 §5.3)."""
        return combined(self.fields)


EMPTY = Headers()
_new = object.__new__


def parsed_headers(section: bytes, fields: list[Field]) -> Headers:
    """`Headers` of field lines that the grammar has accepted; `fields` are what they mean, with lower-case names."""
    headers = _new(Headers)
    headers._section = section
    headers._raw = None
    headers.fields = fields
    return headers


def combined(fields: Sequence[Field]) -> dict[bytes, bytes]:
    """One value for each lower-case name of `fields`, repeated ones joined by a comma (RFC 9110 §5.3)."""
    values = dict(fields)
    if len(values) == len(fields):
        return values
    gathered: dict[bytes, list[bytes]] = {}
    for name, value in fields:
        gathered.setdefault(name, []).append(value)
    return {name: b", ".join(several) for name, several in gathered.items()}


def list_members(value: bytes) -> list[bytes]:
    """The members of a list-based field in lower case, empty ones dropped (RFC 9110 §5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def merged_content_length(value: bytes) -> bytes | None:
    """The one length that a Content-Length value announces, or None if it is no length or several (RFC 9110 §8.6)."""
    if CONTENT_LENGTH_RE.fullmatch(value):
        return value
    lengths = {member.strip(b" \t") for member in value.split(b",")}
    if len(lengths) != 1:
        return None
    (length,) = lengths
    return length if CONTENT_LENGTH_RE.fullmatch(length) else None


def to_bytes(text: Any) -> bytes:  # Any: whatever a caller passes; what is refused here is a TypeError
    """`text` as bytes; str must be ASCII (UnicodeEncodeError otherwise). Anything but str and bytes-like: TypeError."""
    if type(text) is bytes:
        return text
    if isinstance(text, str):
        return text.encode("ascii")
    if isinstance(text, int):
        raise TypeError("expected bytes-like object, not int")
    return bytes(text)


class _KnownPairs(dict[tuple[Text, Text], tuple[Field, Field]]):
    """What a caller gives -> the field as written and with its name in lower case; both checked, both bytes."""

    MOST_PAIRS = 4096
    LONGEST_VALUE = 256

    def __missing__(self, given: tuple[Text, Text]) -> tuple[Field, Field]:
        pair = _checked(given)
        name, value = pair[1]
        if name in REPEATED and len(value) <= self.LONGEST_VALUE:
            if len(self) >= self.MOST_PAIRS:
                self.clear()
            self[given] = pair
        return pair


_known_pairs = _KnownPairs()


def _checked(given: tuple[Text, Text]) -> tuple[Field, Field]:
    given_name, given_value = given
    name, value = to_bytes(given_name), to_bytes(given_value)
    if not FIELD_NAME_RE.fullmatch(name):
        raise LocalProtocolError(f"Illegal header name {name!r}")
    if not FIELD_VALUE_RE.fullmatch(value):
        raise LocalProtocolError(f"Illegal header value for {name!r}")
    return (name, value), (name.lower(), value)


def _checked_headers(given: Iterable[tuple[Text, Text]]) -> Headers:
    raw: list[Field] = []
    fields: list[Field] = []
    agreed: dict[bytes, bytes] = {}
    for pair in given:
        try:
            written, field = _known_pairs[pair]
        except TypeError:  # not hashable: a list, a bytearray; or refused by to_bytes, which will say so again
            written, field = _checked(pair)
        if field[0] in _FRAMING:
            name, value = field
            earlier = agreed.get(name)
            agreed[name] = value = _framing_value(name, value, earlier)
            if earlier is not None:
                continue  # Content-Length again, with the same value
            written, field = (written[0], value), (name, value)
        raw.append(written)
        fields.append(field)
    headers = _new(Headers)
    headers._section = b""
    headers._raw = raw
    headers.fields = fields
    return headers


def _framing_value(name: bytes, value: bytes, earlier: bytes | None) -> bytes:
    """The value as it may be sent, when a field of this name with the `earlier` value, if any, goes before it."""
    if name == b"transfer-encoding":
        if earlier is not None:
            raise LocalProtocolError("multiple Transfer-Encoding headers", error_status_hint=501)
        if value.lower() != b"chunked":
            raise LocalProtocolError("Only Transfer-Encoding: chunked is supported", error_status_hint=501)
        return b"chunked"
    length = merged_content_length(value)
    if length is None:
        raise LocalProtocolError("bad Content-Length")
    if earlier is not None and earlier != length:
        raise LocalProtocolError("conflicting Content-Length headers")
    return length
