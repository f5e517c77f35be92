"""`Admission`: how many requests are served at once, and in which order the others wait.

Connections cost little and requests may cost much, so requests are bounded, and not the clients that are connected. A
request that finds as many being served as allowed waits in line; one that has waited too long gets 503, since its
client has probably given up or is about to. What serving means is not known here.
"""

from __future__ import annotations

from collections import deque
from math import ceil

from gevent.event import Event

from gruvihttp.exchanges.base import Handler, ServerExchange
from gruvihttp.exchanges.response import plain_error

__all__ = ["Admission"]


class Admission:
    """Lets `most` requests be served at once; each of the others has `patience` seconds to wait, None for ever.

    `waiting` is how many wait now, `turned_away` how many have waited in vain so far.
    """

    def __init__(self, most: int, patience: float | None) -> None:
        self.turned_away = 0
        self._free = most
        self._patience = patience
        self._line: deque[Event] = deque()

    @property
    def waiting(self) -> int:
        """How many requests wait for their turn."""
        return len(self._line)

    def admitting(self, handler: Handler) -> Handler:
        """A handler that calls `handler` when it is an exchange's turn, and answers 503 if its turn does not come."""

        def handle(exchange: ServerExchange) -> None:
            if not self._enter():
                self._turn_away(exchange)
                return
            try:
                handler(exchange)
            finally:
                self._leave()

        return handle

    def _enter(self) -> bool:
        if self._free:
            self._free -= 1
            return True
        turn = Event()
        self._line.append(turn)
        has_turn = False
        try:
            has_turn = turn.wait(self._patience) or turn.is_set()
        finally:
            if not has_turn:
                self._give_up(turn)
        return has_turn

    def _give_up(self, turn: Event) -> None:
        """The greenlet that waited for this turn has given up, or was killed when its turn had just come."""
        if turn.is_set():
            self._leave()
        else:
            self._line.remove(turn)  # the first one, or nearly so: all have the same patience

    def _leave(self) -> None:
        """A place is free. It goes to the first in line, so that no newcomer overtakes."""
        if self._line:
            self._line.popleft().set()
        else:
            self._free += 1

    def _turn_away(self, exchange: ServerExchange) -> None:
        self.turned_away += 1
        head, content = plain_error(503)
        head.fields.append((b"Retry-After", b"%d" % max(ceil(self._patience or 0), 1)))
        exchange.send_head(head)
        exchange.finish(content)
