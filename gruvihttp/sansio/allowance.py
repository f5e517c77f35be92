"""How much trouble a peer may make: one bucket of tokens for a connection, and what each kind of trouble costs.

Frames that cost us something and bring nobody forward are paid from the bucket. It fills with time, with each request
that is finished, and with the content that we send, as that has to be acknowledged. So a busy honest peer never runs
dry, whatever its frames are, and a flood of any kind does. What happens then, and the time itself, are not known here.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Allowance"]

PING: Final = 1
SETTINGS: Final = 2
PRIORITY: Final = 1
EMPTY_DATA: Final = 1
UNKNOWN_FRAME: Final = 1
IDLE_UPDATE: Final = 1  # WINDOW_UPDATE where nothing waits for it
INFORMATIONAL: Final = 1
LATE_FRAME: Final = 1  # for a stream that is over
# What a server pays for in work: streams that are begun and do not come to an end (CVE-2023-44487), whoever ends
# them (CVE-2025-8671)
RESET: Final = 5
FAULT: Final = 5
REFUSED: Final = 2

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
        """It is `now`, in seconds on any clock that does not go back."""
        if self._at is not None and self.tokens < self._most:
            self.give((now - self._at) * self._per_second)
        self._at = now

    def give(self, tokens: float) -> None:
        """Put tokens in, as far as there is room."""
        self.tokens = min(self.tokens + tokens, self._most)

    def spend(self, tokens: int) -> bool:
        """Take tokens out. False: there were not enough."""
        self.tokens -= tokens
        return self.tokens >= 0
