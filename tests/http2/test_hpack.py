"""HPACK: the examples of RFC 7541, blocks that must be refused, and the hpack package as the other end."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gruvihttp.errors import FieldsTooLarge
from gruvihttp.sansio.hpack import Decoder, Encoder, HpackError

Pairs = list[tuple[bytes, bytes]]


def no_mark(name: bytes, value: bytes) -> int:
    return 0


def decoder(**bounds: int) -> Decoder:
    return Decoder(no_mark, **bounds)


def pairs(text: str) -> Pairs:
    """``name: value`` lines to fields."""
    found = []
    for line in text.strip().splitlines():
        name, _, value = line.strip().rpartition(": ")
        found.append((name.encode(), value.encode()))
    return found


REQUEST_1 = pairs(""":method: GET
    :scheme: http
    :path: /
    :authority: www.example.com""")
REQUEST_2 = [*REQUEST_1, (b"cache-control", b"no-cache")]
REQUEST_3 = pairs(""":method: GET
    :scheme: https
    :path: /index.html
    :authority: www.example.com
    custom-key: custom-value""")
DATE_21 = (b"date", b"Mon, 21 Oct 2013 20:13:21 GMT")
DATE_22 = (b"date", b"Mon, 21 Oct 2013 20:13:22 GMT")
LOCATION = (b"location", b"https://www.example.com")
PRIVATE = (b"cache-control", b"private")
RESPONSE_1 = [(b":status", b"302"), PRIVATE, DATE_21, LOCATION]
RESPONSE_2 = [(b":status", b"307"), PRIVATE, DATE_21, LOCATION]
COOKIE = (b"set-cookie", b"foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1")
RESPONSE_3 = [(b":status", b"200"), PRIVATE, DATE_22, LOCATION, (b"content-encoding", b"gzip"), COOKIE]

TO_256_BYTES = "3fe101"  # the examples of C.5 and C.6 begin with such a table

# RFC 7541 C.2 to C.6: blocks of one connection each, and what they say
EXAMPLES: dict[str, list[tuple[str, Pairs]]] = {
    "C.2.1": [("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572", pairs("custom-key: custom-header"))],
    "C.2.2": [("040c 2f73 616d 706c 652f 7061 7468", [(b":path", b"/sample/path")])],
    "C.2.3": [("1008 7061 7373 776f 7264 0673 6563 7265 74", [(b"password", b"secret")])],
    "C.2.4": [("82", [(b":method", b"GET")])],
    "C.3": [
        ("8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d", REQUEST_1),
        ("8286 84be 5808 6e6f 2d63 6163 6865", REQUEST_2),
        ("8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65", REQUEST_3),
    ],
    "C.4": [
        ("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff", REQUEST_1),
        ("8286 84be 5886 a8eb 1064 9cbf", REQUEST_2),
        ("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf", REQUEST_3),
    ],
    "C.5": [
        (
            f"{TO_256_BYTES} 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a"
            "3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            RESPONSE_1,
        ),
        ("4803 3330 37c1 c0bf", RESPONSE_2),
        (
            "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738"
            "666f 6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33"
            "3630 303b 2076 6572 7369 6f6e 3d31",
            RESPONSE_3,
        ),
    ],
    "C.6": [
        (
            f"{TO_256_BYTES} 4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e"
            "919d 29ad 1718 63c7 8f0b 97c8 e9ae 82ae 43d3",
            RESPONSE_1,
        ),
        ("4883 640e ffc1 c0bf", RESPONSE_2),
        (
            "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7"
            "b335 dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
            RESPONSE_3,
        ),
    ],
}


@pytest.mark.parametrize("section", EXAMPLES)
def test_blocks_of_the_rfc_are_read(section: str) -> None:
    reader = decoder()
    for block, fields in EXAMPLES[section]:
        assert reader.decode(bytes.fromhex(block))[0] == fields


def test_requests_are_spelled_as_the_rfc_has_them() -> None:
    writer = Encoder()
    for block, fields in EXAMPLES["C.4"][:2]:
        assert writer.encode(fields) == bytes.fromhex(block)


BROWSER = [
    *REQUEST_1,
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/115.0"),
    (b"accept", b"*/*"),
    (b"cookie", b"session=0123456789abcdef0123456789"),
]


def test_request_that_comes_again_takes_a_byte_for_each_field() -> None:
    writer = Encoder()
    writer.encode(BROWSER)
    assert len(writer.encode(BROWSER)) == len(BROWSER)


NOT_INDEXED = {
    "path": (b":path", b"/a/b"),
    "length": (b"content-length", b"13"),
    "etag": (b"etag", b'"abc"'),
    "location": (b"location", b"/elsewhere"),
    "unknown": (b"x-request-id", b"4711"),
}


@pytest.mark.parametrize("field", NOT_INDEXED.values(), ids=NOT_INDEXED)
def test_field_that_differs_each_time_leaves_the_table_alone(field: tuple[bytes, bytes]) -> None:
    writer = Encoder()
    first = writer.encode([field])
    assert first[0] & 0xF0 == 0x00
    assert writer.encode([field]) == first
    assert hpack.Decoder().decode(first, raw=True) == [field]


SECRETS = {
    "authorization": (b"authorization", b"Bearer " + b"x" * 40),
    "proxy-authorization": (b"proxy-authorization", b"Basic eHl6"),
    "short cookie": (b"cookie", b"a=1"),
    "set-cookie": (b"set-cookie", b"a=" + b"1" * 40),
}


@pytest.mark.parametrize("field", SECRETS.values(), ids=SECRETS)
def test_secret_is_sent_as_never_to_be_indexed(field: tuple[bytes, bytes]) -> None:
    writer = Encoder()
    block = writer.encode([field])
    assert block[0] & 0xF0 == 0x10
    assert writer.encode([field]) == block
    assert all(isinstance(read, hpack.NeverIndexedHeaderTuple) for read in hpack.Decoder().decode(block, raw=True))


def test_field_larger_than_the_table_is_spelled_out() -> None:
    field = (b"user-agent", b"x" * 5000)
    writer, reader = Encoder(), hpack.Decoder()
    for _ in range(2):
        assert reader.decode(writer.encode([field]), raw=True) == [field]


@pytest.mark.parametrize(("sizes", "spelled"), [([0], "20"), ([0, 100], "203f45"), ([100, 4096], "3f453fe11f"),
                                                ([4096], ""), ([1 << 20], ""), ([100, 0, 100], "203f45")])
def test_new_size_of_the_table_is_announced_in_the_next_block(sizes: list[int], spelled: str) -> None:
    writer = Encoder()
    writer.encode(BROWSER)
    for size in sizes:
        writer.set_limit(size)
    assert writer.encode([(b":method", b"GET")]) == bytes.fromhex(spelled) + b"\x82"
    assert writer.encode([(b":method", b"GET")]) == b"\x82"


# Names from a few, so that some repeat; values of any bytes
NAMES = st.sampled_from([b":path", b":authority", b"accept", b"user-agent", b"cookie", b"etag", b"x-a", b"server"])
VALUES = st.sampled_from([b"", b"a", b"GET", b"b" * 30]) | st.binary(max_size=40)
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=9)
BLOCKS = st.lists(FIELDS | st.sampled_from([0, 50, 200, 4096]), max_size=12)


@given(BLOCKS)
def test_what_we_encode_others_decode(blocks: list[Pairs | int]) -> None:
    writer, reader = Encoder(), hpack.Decoder()
    for block in blocks:
        if isinstance(block, int):
            reader.max_allowed_table_size = block
            writer.set_limit(block)
        else:
            assert reader.decode(writer.encode(block), raw=True) == block


@given(BLOCKS, st.booleans())
def test_what_others_encode_we_decode(blocks: list[Pairs | int], huffman: bool) -> None:
    writer, reader = hpack.Encoder(), decoder()
    for block in blocks:
        if isinstance(block, int):
            reader.set_limit(block)
            writer.header_table_size = block
            # at once, as the peer would otherwise announce sizes in between that are no longer allowed
            assert reader.decode(writer.encode([], huffman=huffman))[0] == []
        else:
            assert reader.decode(writer.encode(block, huffman=huffman))[0] == block


@given(BLOCKS)
def test_what_we_encode_we_decode(blocks: list[Pairs | int]) -> None:
    writer, reader = Encoder(), decoder()
    for block in blocks:
        if isinstance(block, int):
            reader.set_limit(block)
            writer.set_limit(block)
        else:
            assert reader.decode(writer.encode(block))[0] == block


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_any_bytes_are_read_or_refused(blocks: list[bytes]) -> None:
    reader, peer = decoder(), hpack.Decoder()
    for block in blocks:
        try:
            ours: Pairs | None = reader.decode(block)[0]
        except HpackError:
            ours = None
        try:
            theirs: Pairs | None = [(bytes(name), bytes(value)) for name, value in peer.decode(block, raw=True)]
        except Exception:  # of whatever kind; the package has several
            theirs = None
        if ours is None:
            return  # we may be stricter: the size of a table may change at a block's beginning only
        assert ours == theirs


REFUSED = {
    "index 0": "80",
    "index beyond the static table": "be",
    "large index beyond the table": "ff10",
    "name beyond the table": "7f00 0161",
    "index without an end": "ff",
    "integer without an end": "ffff ffff",
    "integer beyond all": "ffff ffff ff7f",
    "integer of many zeros": "ff80 8080 8080 8080 00",
    "literal without a value": "4001 61",
    "literal cut short": "4001 6105 6162",
    "literal without a name": "40",
    "Huffman text with too much filling": "0001 6181 ff",
    "table larger than allowed": "3fe2 1f",
    "change of size behind a field": "8220",
}


@pytest.mark.parametrize("block", REFUSED.values(), ids=REFUSED)
def test_block_that_cannot_be_read_is_an_error(block: str) -> None:
    with pytest.raises(HpackError):
        decoder().decode(bytes.fromhex(block))


def test_table_has_to_be_made_smaller_once_the_limit_is() -> None:
    reader = decoder()
    reader.set_limit(100)
    with pytest.raises(HpackError, match="not made smaller"):
        reader.decode(b"\x82")


def test_table_may_shrink_to_the_new_limit_or_below() -> None:
    reader = decoder()
    reader.set_limit(100)
    assert reader.decode(bytes.fromhex("20 82"))[0] == [(b":method", b"GET")]
    assert reader.decode(bytes.fromhex("3f45 82"))[0] == [(b":method", b"GET")]


def test_entry_larger_than_the_table_empties_it() -> None:
    reader, writer = decoder(), hpack.Encoder()
    reader.decode(writer.encode([(b"a", b"b")]))
    large = (b"a", b"c" * 5000)
    assert reader.decode(writer.encode([large]))[0] == [large]
    with pytest.raises(HpackError):
        reader.decode(b"\xbe")


BOUNDS = {
    "list": ({"list_bytes": 100}, [(b"a", b"x" * 40)] * 2),
    "count": ({"fields_count": 2}, [(b"a", b"b")] * 3),
    "name": ({"field_bytes": 10}, [(b"a" * 11, b"")]),
    "value": ({"field_bytes": 10}, [(b"a", b"b" * 11)]),
}


@pytest.mark.parametrize("bound", BOUNDS)
def test_list_beyond_a_bound_is_refused_and_the_table_stays_in_step(bound: str) -> None:
    bounds, fields = BOUNDS[bound]
    reader, writer = decoder(**bounds), hpack.Encoder()
    with pytest.raises(FieldsTooLarge):
        reader.decode(writer.encode([*fields, (b"n", b"v")]))
    assert reader.decode(writer.encode([(b"n", b"v")]))[0] == [(b"n", b"v")]


def test_bomb_is_not_unpacked() -> None:
    # one entry of 4,000 bytes, named 16,000 times: 64 MB
    bomb = b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * 16000
    with pytest.raises(FieldsTooLarge):
        decoder().decode(bomb)


REPEATABLE = {
    "indexed": ("8286", True),
    "literal": ("0f2e 026162", True),
    "inserted": ("4001 6101 62", False),
    "never indexed": ("1001 6101 62", False),
    "cookie": ("0f11 0161", False),
    "new size": ("3fe11f 82", False),
}


@pytest.mark.parametrize("block", REPEATABLE)
def test_only_blocks_without_effect_and_secrets_are_repeatable(block: str) -> None:
    spelled, repeatable = REPEATABLE[block]
    reader = decoder()
    reader.decode(bytes.fromhex(spelled))
    assert reader.repeatable is repeatable


def test_marks_of_all_fields_are_added_up() -> None:
    reader = Decoder(lambda name, value: 1 if name == b"a" else 100)
    writer = hpack.Encoder()
    fields = [(b"a", b"1"), (b"b", b"2"), (b"a", b"1"), (b":method", b"GET")]
    for _ in range(2):
        assert reader.decode(writer.encode(fields)) == (fields, 202)
