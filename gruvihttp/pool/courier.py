"""`Courier`: carries a call out, on a connection of the pool's, until the head of its response is here.

A connection is in the hands of exactly one exchange, and whatever interrupts that, it goes back to the slots or is
closed: every way out of here, and of a `Lease`, does one of the two.

The bytes on the wire are not known here, nor is what a response leads to.
"""

from __future__ import annotations

from time import monotonic

from gruvihttp.connecting import Connector, OriginConnection
from gruvihttp.errors import Error, IncompleteMessage, Timeout, TransportError
from gruvihttp.exchanges.base import ClientExchange
from gruvihttp.limits import Timeouts
from gruvihttp.messages import HttpRequest
from gruvihttp.pool.call import Call
from gruvihttp.pool.lease import Lease
from gruvihttp.pool.response import PoolResponse
from gruvihttp.pool.slots import Slot, Slots

__all__ = ["Courier"]


class Courier:
    """Makes exchanges on connections that `slots` keeps and `connector` opens."""

    def __init__(self, slots: Slots, connector: Connector) -> None:
        self._slots = slots
        self._connector = connector

    def carry(self, call: Call) -> PoolResponse:
        """Take a connection, send, and wait for the head of the response. Its content is still to be delivered."""
        started = monotonic()
        if call.deadline is None:
            return self._carry(call, started)
        try:
            return self._carry(call, started)
        except Timeout as exc:  # whatever runs out is called by its name
            if exc.phase == "total" or not call.is_overdue():
                raise
            message = f"timed out: the request as a whole has taken too long ({exc.phase})"
            timeout = Timeout(message, phase="total")
            timeout.retryable = exc.retryable
            raise timeout from exc

    def _carry(self, call: Call, started: float) -> PoolResponse:
        return self._carry_in(self._slots.take(call.origin, call.timeouts_now().pool), call, started)

    def _carry_in(self, slot: Slot, call: Call, started: float) -> PoolResponse:
        """The same, in a slot that was taken."""
        try:
            exchange = self._ask(slot, call, call.timeouts_now())
        except BaseException:
            self._slots.drop(slot)
            raise
        return self._received(exchange, slot, call, started)

    def _ask(self, slot: Slot, call: Call, timeouts: Timeouts) -> ClientExchange:
        """The exchange of a call in a slot, once the head of its response has arrived."""
        connection: OriginConnection | None = slot.connection
        if connection is None:
            slot.connection = self._connect(call, timeouts)
        else:
            try:
                return self._send(connection, call, timeouts)
            except Error as exc:
                if not _may_go_again(call, connection, exc):
                    raise
                was_sent = not exc.retryable
            slot.empty()
            slot.connection = self._connect(call, timeouts, was_sent)
        return self._send(slot.connection, call, timeouts)

    def _connect(self, call: Call, timeouts: Timeouts, was_sent: bool = False) -> OriginConnection:
        """A new connection. Without one the request has had no effect, unless it `was_sent` before."""
        try:
            return self._connector.connect(call.origin, timeouts.connect, timeouts.handshake)
        except Error as exc:
            exc.retryable = not was_sent
            raise

    def _send(self, connection: OriginConnection, call: Call, timeouts: Timeouts) -> ClientExchange:
        cookie = None if call.jar is None else call.cookie()
        protocol = connection.protocol
        request = HttpRequest(connection.transport, protocol)
        if call.is_usual and cookie is None:  # all connections to an origin compose alike
            if call.composed is None:
                call.composed = protocol.compose(call.method, call.target, call.headers, "")
            request.send_composed(call.composed, timeouts)
        else:
            headers = call.headers if cookie is None else [*call.headers, ("Cookie", cookie)]
            request.send(call.method, call.target, headers, call.body, timeouts=timeouts, expect=call.expect)
        exchange: ClientExchange = connection.driver.collect(-1, request)
        return exchange

    def _received(self, exchange: ClientExchange, slot: Slot, call: Call, started: float) -> PoolResponse:
        """The head is here, and often everything. Nothing here waits."""
        if slot.connection.driver.let_go():
            self._slots.give_back(slot)
            lease = None
        else:
            lease = Lease(self._slots, slot, exchange)
        return PoolResponse(exchange, call.destination.url, monotonic() - started, lease)


def _may_go_again(call: Call, connection: OriginConnection, exc: Error) -> bool:
    """Whether the request may be sent on another connection, because this one, used before, has failed."""
    if exc.retryable:  # nothing was sent, and of the body nothing was read
        return True
    lost = isinstance(exc, (TransportError, IncompleteMessage)) and connection.driver.silent
    return lost and call.repeat()
