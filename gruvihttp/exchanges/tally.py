"""`Tally`: what the connections of a server have done, in numbers that only grow."""

from __future__ import annotations

from gruvihttp.sansio.h2errors import Defence

__all__ = ["Tally"]


class Tally:
    """Counts of exchanges and bytes.

    Each request that came is counted once: in `statuses`, by the status of its complete response, or in `aborted`.
    `refused` are those among the former that never got to a handler. Bytes are those of HTTP, before TLS. `defences`
    are those of HTTP/2, by what a peer was stopped from doing.
    """

    __slots__ = ("aborted", "defences", "received_bytes", "refused", "sent_bytes", "statuses")

    def __init__(self) -> None:
        self.statuses = [0] * 1000  # a list, as counting in one costs the least
        self.aborted = 0
        self.defences = dict.fromkeys(Defence, 0)
        self.refused = 0
        self.received_bytes = 0
        self.sent_bytes = 0
