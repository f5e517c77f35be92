"""Messages are what they were, however they are cut into frames and frames into pieces, whatever comes between them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gruvihttp.websocket import WebSocket

MESSAGES = st.lists(st.one_of(st.text(max_size=40), st.binary(max_size=40)), max_size=6)
CUTS = st.lists(st.integers(0, 300), max_size=12)


class Wire:
    """A connection that says what it was given, in pieces, and remembers what is sent."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.sent = b""
        self.ended = 0

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def receive(self, size: int, deadline: float | None) -> bytes:
        return next(self._pieces, b"")

    def close(self) -> None:
        self.ended += 1

    abort = close


def frame(first: int, payload: bytes, mask: bytes) -> bytes:
    """A frame as RFC 6455 section 5.2 has it; with a mask it is a client's."""
    size = len(payload)
    bit = 0x80 if mask else 0
    length = bytes((size | bit,)) if size < 126 else bytes((126 | bit,)) + size.to_bytes(2, "big")
    masked = bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload)) if mask else payload
    return bytes((first,)) + length + mask + masked


def frames_of(message: str | bytes, cuts: list[int], mask: bytes, pings: bool) -> Iterator[bytes]:
    """A message in fragments, with a ping before each of them if that is wanted."""
    content = message.encode() if isinstance(message, str) else message
    places = sorted({cut for cut in cuts if cut < len(content)} | {0}) + [len(content)]
    for number, (start, end) in enumerate(zip(places, places[1:], strict=False)):
        if pings:
            yield frame(0x89, b"%d" % number, mask)
        opcode = 0 if number else 1 if isinstance(message, str) else 2
        yield frame(opcode | (0x80 if end == len(content) else 0), content[start:end], mask)


def split(content: bytes, cuts: list[int]) -> Iterator[bytes]:
    start = 0
    for cut in cuts:
        if piece := content[start : start + cut]:
            yield piece
        start += cut
    if content[start:]:
        yield content[start:]


@pytest.mark.parametrize("is_client", [True, False], ids=["client", "server"])
@given(messages=MESSAGES, fragments=CUTS, pieces=CUTS, mask=st.binary(min_size=4, max_size=4), pings=st.booleans())
def test_messages_are_what_they_were(
    is_client: bool, messages: list[Any], fragments: list[int], pieces: list[int], mask: bytes, pings: bool
) -> None:
    key = b"" if is_client else mask
    said = [one for message in messages for one in frames_of(message, fragments, key, pings)]
    wire = Wire(split(b"".join(said) + frame(0x88, (4000).to_bytes(2, "big") + b"end", key), pieces))
    ws = WebSocket(wire, is_client=is_client)
    assert list(ws) == messages
    assert (ws.code, ws.reason, ws.receive(), wire.ended) == (4000, "end", None, 1)
    if not is_client:
        answers = [frame(0x8A, one[6:], b"") for one in map(unmask, said) if one[0] == 0x89]
        assert wire.sent == b"".join(answers) + frame(0x88, (4000).to_bytes(2, "big") + b"end", b"")


def unmask(one: bytes) -> bytes:
    """A short masked frame with its payload bare; others as they are."""
    size = one[1] & 0x7F
    if size > 125:
        return one
    mask, payload = one[2:6], one[6:]
    return one[:6] + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


@pytest.mark.parametrize("is_client", [True, False], ids=["client", "server"])
@given(noise=st.binary(max_size=200), pieces=CUTS)
def test_noise_ends_with_a_code_and_nothing_else(is_client: bool, noise: bytes, pieces: list[int]) -> None:
    wire = Wire(split(noise, pieces))
    ws = WebSocket(wire, is_client=is_client, max_message_size=100)
    for message in ws:
        assert len(message) <= 100
    assert ws.closed and wire.ended == 1
    assert ws.code is not None and 1000 <= ws.code < 5000
