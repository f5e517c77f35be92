"""A section of field lines to `Headers`, for lines that the grammar has accepted.

The same client sends the same Accept, User-Agent and Connection with each request, so what such a line means is
remembered; `REPEATED` says for which fields. What is remembered is bounded, as peers choose it.
"""

from __future__ import annotations

from gruvihttp.sansio.headers import REPEATED, Field, Headers, parsed_headers

__all__ = ["headers_of_usual_lines"]

class _Known(dict[bytes, Field]):
    """Line -> field, for usual lines: ``name: value``."""

    MOST_LINES = 4096
    LONGEST_LINE = 256  # most of a user agent's lines, and 1 MiB in all

    def __missing__(self, line: bytes) -> Field:
        name, _, value = line.partition(b": ")
        name = name.lower()
        field = (name, value)
        if name in REPEATED and len(line) <= self.LONGEST_LINE:
            if len(self) >= self.MOST_LINES:
                self.clear()  # start over: cheaper than to keep an order, and rare
            self[line] = field
        return field


_field_of = _Known().__getitem__


def headers_of_usual_lines(section: bytes) -> Headers:
    """The fields of lines of the form ``name: value``, with one blank after the colon and none at the end."""
    lines = section.splitlines()  # there is no CR and no LF but at the ends: the grammar has seen to that
    return parsed_headers(lines, list(map(_field_of, lines)))  # no bytecode for each line: a third faster
