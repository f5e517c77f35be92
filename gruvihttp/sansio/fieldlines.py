"""A section of field lines to `Headers`, for lines that the grammar has accepted.

The same client sends the same Accept, User-Agent and Connection with each request, so what such a line means is
remembered; `REPEATED` says for which fields. What is remembered is bounded, since peers choose it. Content-Length is
remembered, too: its values recur, and they are visible to anybody who sees the traffic.
"""

from __future__ import annotations

from gruvihttp.sansio.headers import REPEATED, Field, Headers, parsed_headers

__all__ = ["field_of_line", "headers_of_lines"]


class _Known(dict[bytes, Field]):
    """Line -> field."""

    MOST_LINES = 4096
    LONGEST_LINE = 256  # most of a user agent's lines, and 1 MiB in all

    def __missing__(self, line: bytes) -> Field:
        name, _, value = line.partition(b":")
        name = name.lower()
        field = (name, value.strip(b" \t"))
        if (name in REPEATED or name == b"content-length") and len(line) <= self.LONGEST_LINE:
            if len(self) >= self.MOST_LINES:
                self.clear()  # start over: cheaper than to keep an order, and rare
            self[line] = field
        return field


field_of_line = _Known().__getitem__


def headers_of_lines(section: bytes) -> Headers:
    """The fields of a section's lines. There is no CR and no LF in it but at their ends."""
    # map, for this is half of reading a head: no bytecode for each line
    return parsed_headers(section, list(map(field_of_line, section.splitlines())))
