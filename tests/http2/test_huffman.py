"""The Huffman code: against the examples of RFC 7541 and against an independent implementation."""

from __future__ import annotations

import pytest
from hpack.huffman import HuffmanEncoder
from hpack.huffman_constants import REQUEST_CODES, REQUEST_CODES_LENGTH
from hypothesis import given
from hypothesis import strategies as st

from gruvihttp.sansio import huffman

PEER = HuffmanEncoder(REQUEST_CODES, REQUEST_CODES_LENGTH)

# RFC 7541 C.4 and C.6
EXAMPLES = {
    "www.example.com": "f1e3 c2e5 f23a 6ba0 ab90 f4ff",
    "no-cache": "a8eb 1064 9cbf",
    "custom-key": "25a8 49e9 5ba9 7d7f",
    "custom-value": "25a8 49e9 5bb8 e8b4 bf",
    "302": "6402",
    "private": "aec3 771a 4b",
    "Mon, 21 Oct 2013 20:13:21 GMT": "d07a be94 1054 d444 a820 0595 040b 8166 e082 a62d 1bff",
    "https://www.example.com": "9d29 ad17 1863 c78f 0b97 c8e9 ae82 ae43 d3",
    "": "",
}


@pytest.mark.parametrize("text", EXAMPLES)
def test_text_of_the_rfc_is_spelled_as_there(text: str) -> None:
    assert huffman.encode(text.encode()) == bytes.fromhex(EXAMPLES[text])


@pytest.mark.parametrize("text", EXAMPLES)
def test_spelling_of_the_rfc_is_read(text: str) -> None:
    assert huffman.decode(bytes.fromhex(EXAMPLES[text])) == text.encode()


@given(st.binary())
def test_any_text_is_spelled_as_by_others_and_comes_back(text: bytes) -> None:
    short = huffman.encode(text)
    assert short == PEER.encode(text)
    assert huffman.decode(short) == text


def spelled(bits: str) -> bytes:
    assert len(bits) % 8 == 0
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


REFUSED = {
    "a whole byte of filling": spelled("1" * 8),
    "a letter and eight bits of filling": spelled("1111000" + "1" + "1" * 8),
    "filling with a zero": spelled("00011" + "110"),
    "EOS": spelled("1" * 32),
    "EOS and a letter": spelled("1" * 30 + "00011" + "11111"),
    "a code cut short": spelled("11111110" + "00000000"),
}


@pytest.mark.parametrize("bits", REFUSED.values(), ids=REFUSED)
def test_bits_that_are_no_text_are_refused(bits: bytes) -> None:
    with pytest.raises(huffman.HuffmanError):
        huffman.decode(bits)


@pytest.mark.parametrize("filling", range(8))
def test_up_to_seven_ones_fill_the_last_byte(filling: int) -> None:
    text = (b"&", b"0!", b"A", b"0", b"!!", b"0A", b"!", b"0!!")[filling]
    bits = sum(huffman.LENGTHS[symbol] for symbol in text)
    assert -bits % 8 == filling
    assert huffman.decode(huffman.encode(text)) == text
