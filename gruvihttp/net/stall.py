"""`Stall`: how long a peer may read too little, as far as the system tells.

That a socket has room again is no measure. Over TCP the system says so when a third of a buffer of up to 4 MiB has been
taken; a peer that reads 20 KB a second, and never pauses, needs more than a minute for that. So when the time is over,
the system is asked how much it still holds. And a byte now and then is no progress either: it would hold us for ever.
"""

from __future__ import annotations

from time import monotonic

from gruvihttp.net.deadline import Alarm, moment_after
from gruvihttp.net.sockets import RawSocket, unread_bytes

__all__ = ["Stall"]


class Stall:
    """Periods of `seconds`, in each of which a peer has to take something, and `least_rate` bytes a second.

    `deadline` is the end of the present one; None is never. It begins anew as soon as enough has been taken.
    """

    __slots__ = ("_accepted", "_held", "_least", "_seconds", "_sock", "deadline")

    def __init__(self, sock: RawSocket, seconds: float | None, least_rate: int) -> None:
        self.deadline: float | None = None
        self._sock = sock
        self._seconds = seconds
        if seconds is not None:
            self._least = max(least_rate * seconds, 1)
            self._renew()

    def accept(self, size: int) -> None:
        """Our system has accepted so many bytes more."""
        if self._seconds is not None:
            self._accepted += size
            if self._accepted >= self._least:
                self._renew()

    def goes_on(self) -> bool:
        """Is the peer's time not over, or has it taken enough? Then it has another period."""
        if self.deadline is None or monotonic() < self.deadline:
            return True
        if self._accepted + self._held - unread_bytes(self._sock) < self._least:
            return False
        self._renew()
        return True

    def extend(self, alarm: Alarm) -> bool:
        """Whether it `goes_on`. If so, `alarm`, which has gone off at a deadline, is set for the next one."""
        if not self.goes_on():
            return False
        if self.deadline is not None:
            alarm.set(self.deadline)
        return True

    def _renew(self) -> None:
        self.deadline = moment_after(self._seconds)
        self._accepted = 0
        self._held = unread_bytes(self._sock)
