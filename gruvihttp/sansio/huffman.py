"""The Huffman code of HPACK (RFC 7541 §5.2 and Appendix B): bytes to their short spelling and back.

The code is canonical: codes of one length follow each other in the order of the symbols, and longer ones continue
where shorter ones ended. So the 257 lengths are the whole of Appendix B, and everything else is made from them.

Encoding joins the bits of the symbols as text and converts them in one step. Decoding goes by half bytes: a state is
an inner node of the code tree, and a table tells for each half byte the next state and the symbol that it completes,
which is one at most, as the shortest code has five bits. What the text means is not known here.
"""

from __future__ import annotations

from functools import cache

__all__ = ["HuffmanError", "decode", "encode"]

EOS = 256
# Bits of the code of each symbol, 0 to 255 and EOS
LENGTHS = tuple(map(int, """
    13 23 28 28 28 28 28 28 28 24 30 28 28 30 28 28   28 28 28 28 28 28 30 28 28 28 28 28 28 28 28 28
    6 10 10 12 13 6 8 11 10 10 8 11 8 6 6 6           5 5 5 6 6 6 6 6 6 6 7 8 15 6 12 10
    13 6 7 7 7 7 7 7 7 7 7 7 7 7 7 7                  7 7 7 7 7 7 7 7 8 7 8 13 19 13 14 6
    15 5 6 5 6 5 6 6 6 5 7 7 6 6 6 5                  6 7 6 5 5 6 7 7 7 7 7 15 11 14 13 28
    20 22 20 20 22 22 22 23 22 23 23 23 23 23 24 23   24 24 22 23 24 23 23 23 23 21 22 23 22 23 23 24
    22 21 20 22 22 23 23 21 23 22 22 24 21 22 23 23   21 21 22 21 23 22 23 23 20 22 22 22 23 22 22 23
    26 26 20 19 22 23 22 25 26 26 26 27 27 26 24 25   19 21 26 27 27 26 27 24 21 21 26 26 28 27 27 27
    20 24 20 21 22 21 21 23 22 22 25 25 24 24 26 23   26 27 26 26 27 27 27 27 27 28 27 27 27 27 27 26
    30
""".split()))  # fmt: skip


class HuffmanError(ValueError):
    """The bits are no text: EOS inside, or an end that is not the beginning of EOS (RFC 7541 §5.2)."""


def encode(text: bytes) -> bytes:
    """The short spelling of `text`, filled up with ones to a whole byte."""
    bits = "".join([_BITS[symbol] for symbol in text])
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big") if bits else b""


def decode(short: bytes) -> bytes:
    """The text of a short spelling. Raises HuffmanError."""
    state, ends = _states()
    completed: list[bytes] = []
    append = completed.append
    for byte in short:
        state, symbol = state[byte >> 4]
        append(symbol)
        state, symbol = state[byte & 15]
        append(symbol)
    if id(state) not in ends:
        raise HuffmanError("bits that are no Huffman text")
    return b"".join(completed)


def _codes() -> list[str]:
    """The code of each symbol, as a text of bits."""
    codes = [""] * len(LENGTHS)
    code = length = 0
    for symbol in sorted(range(len(LENGTHS)), key=lambda symbol: (LENGTHS[symbol], symbol)):
        code <<= LENGTHS[symbol] - length
        length = LENGTHS[symbol]
        codes[symbol] = f"{code:0{length}b}"
        code += 1
    return codes


# A state: for each half byte the next state and the symbol that is complete, or b"". It is a list, so that it can be
# filled when all states exist.
_State = list[tuple["_State", bytes]]


@cache  # made when HTTP/2 is spoken for the first time: most programs do not
def _states() -> tuple[_State, frozenset[int]]:
    """The state at the beginning, and the `id` of those states in which a text may end."""
    symbols = {code: symbol for symbol, code in enumerate(_BITS)}
    inner = {code[:depth] for code in _BITS for depth in range(len(code))}
    states: dict[str, _State] = {path: [] for path in inner}
    nowhere: _State = []  # after EOS, where nothing is valid
    nowhere.extend([(nowhere, b"")] * 16)
    for path, state in states.items():
        for half in range(16):
            state.append(_step(f"{path}{half:04b}", symbols, states, nowhere))
    # at most seven ones may fill up the last byte: more could have been left out
    return states[""], frozenset(id(states["1" * depth]) for depth in range(8))


def _step(bits: str, symbols: dict[str, int], states: dict[str, _State], nowhere: _State) -> tuple[_State, bytes]:
    for end in range(1, len(bits) + 1):
        symbol = symbols.get(bits[:end])
        if symbol == EOS:
            return nowhere, b""
        if symbol is not None:
            return states[bits[end:]], bytes([symbol])
    return states[bits], b""


_BITS = _codes()
