"""How much trouble a peer may make: one bucket of tokens for a connection, and what each kind of trouble costs.

Frames that cost us something and achieve nothing are paid from the bucket. It fills with time, with each request
that is finished, or that we have cancelled, and with the content that we send, as that has to be acknowledged. So a
busy honest peer never runs dry, whatever its frames are, and a flood of any kind does. What happens then, and the time
itself, are not known here.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gruvihttp.sansio.h2errors import Defence

__all__ = ["Allowance", "Cost"]


class Cost(NamedTuple):
    """What one frame costs, and which defence is counted when a peer cannot pay."""

    tokens: int
    defence: Defence


PING: Final = Cost(1, Defence.PING_FLOOD)
SETTINGS: Final = Cost(2, Defence.SETTINGS_FLOOD)
GOAWAY: Final = Cost(2, Defence.GOAWAY_FLOOD)
PRIORITY: Final = Cost(1, Defence.PRIORITY_FLOOD)
EMPTY_DATA: Final = Cost(1, Defence.EMPTY_DATA_FLOOD)
UNKNOWN_FRAME: Final = Cost(1, Defence.UNKNOWN_FLOOD)
IDLE_UPDATE: Final = Cost(1, Defence.UPDATE_FLOOD)  # WINDOW_UPDATE where nothing waits for it
INFORMATIONAL: Final = Cost(1, Defence.INFORMATIONAL_FLOOD)
LATE_FRAME: Final = Cost(1, Defence.LATE_FLOOD)  # for a stream that is over
# What costs a server work: streams that are begun and ended early, by either side
RESET: Final = Cost(5, Defence.RAPID_RESET)
FAULT: Final = Cost(5, Defence.FAULT_FLOOD)
REFUSED: Final = Cost(2, Defence.STREAM_FLOOD)

FINISHED: Final = 5  # given back for each request that came to its end


class Allowance:
    """The bucket. `spend` says whether there was enough; `tick` lets it fill with time."""

    __slots__ = ("_at", "_most", "_per_second", "tokens")

    def __init__(self, most: int, per_second: int) -> None:
        self.tokens = float(most)
        self._most = float(most)
        self._per_second = per_second
        self._at: float | None = None

    def tick(self, now: float) -> None:
        """Let the bucket fill up to the moment `now`, in seconds on any clock that does not go back."""
        if self._at is not None and self.tokens < self._most:
            self.give((now - self._at) * self._per_second)
        self._at = now

    def give(self, tokens: float) -> None:
        """Put in tokens, as far as there is room."""
        self.tokens = min(self.tokens + tokens, self._most)

    def spend(self, tokens: int) -> bool:
        """Take out tokens. False if there are not enough."""
        self.tokens -= tokens
        return self.tokens >= 0
