"""`SharedCourier`: a courier whose connections may speak HTTP/2, and are then shared by all calls to their origin.

What interrupts a call costs its stream. What a server has not looked at, since it refuses the stream or is leaving, is
sent once more on another connection, and so is what an idempotent request has lost with a connection that had worked
before. The bytes on the wire are not known here, nor is what a response leads to.
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from gruvihttp.connecting import Connector, SharedConnection
from gruvihttp.errors import Error, IncompleteMessage, StreamError, TransportError
from gruvihttp.exchanges.base import ClientExchange
from gruvihttp.exchanges.http2.client_exchange import Http2ClientExchange
from gruvihttp.limits import Timeouts
from gruvihttp.pool.call import Call
from gruvihttp.pool.courier import Courier
from gruvihttp.pool.lease import Lease
from gruvihttp.pool.response import PoolResponse
from gruvihttp.pool.sharing import Share, Shares
from gruvihttp.pool.slots import Slot, Slots

__all__ = ["SharedCourier"]


class SharedCourier(Courier):
    """Makes exchanges on shared connections where an origin speaks HTTP/2, and like `Courier` everywhere else."""

    def __init__(self, slots: Slots, connector: Connector) -> None:
        super().__init__(slots, connector)
        self._shares = Shares(slots, _is_usable)

    def _carry(self, call: Call, started: float) -> PoolResponse:
        repeated = False
        while True:
            place = self._place(call)
            if isinstance(place, Slot):
                return self._carry_in(place, call, started)
            connection: SharedConnection = place.slot.connection
            had_worked = connection.served > 0
            try:
                return self._carry_on(place, connection, call, started)
            except Error as exc:
                if repeated or not _may_go_again(call, exc, had_worked=had_worked):
                    raise
            repeated = True

    def _place(self, call: Call) -> Share | Slot:
        """Where to send it: on a shared connection, or in a slot of its own."""
        origin = call.origin
        share = self._shares.join(origin)
        if share is not None:
            return share
        finding = self._shares.begin_finding(origin, call.timeouts_now().pool)
        if finding is None:
            return self._shares.join(origin) or self._in_slot(call)
        shared: bool | None = None
        try:
            place = self._in_slot(call)
            shared = isinstance(place, Share)
            return place
        except Error:
            raise
        except BaseException:  # which says nothing about the origin
            finding.interrupted = True
            raise
        finally:
            self._shares.end_finding(origin, finding, shared=shared)

    def _in_slot(self, call: Call) -> Share | Slot:
        """A slot with a connection, which is shared if it can be."""
        slot = self._slots.take(call.origin, call.timeouts_now().pool)
        try:
            if slot.connection is not None and slot.connection.multiplexed and not slot.connection.usable:
                slot.empty()
            if slot.connection is None:
                slot.connection = self._connect(call, call.timeouts_now())
        except BaseException:
            self._slots.drop(slot)
            raise
        return self._shares.found(call.origin, slot) if slot.connection.multiplexed else slot

    def _carry_on(self, share: Share, connection: SharedConnection, call: Call, started: float) -> PoolResponse:
        """The exchange, on a connection that others use as well."""
        try:
            exchange: Any = self._send(connection, call, call.timeouts_now())
        except BaseException:
            share.leave()
            raise
        connection.served += 1
        lease = None
        if exchange.is_taken or exchange.content.eof:
            share.leave()
        else:
            lease = SharedLease(share, exchange)
        return PoolResponse(exchange, call.destination.url, monotonic() - started, lease)

    def _send(self, connection: Any, call: Call, timeouts: Timeouts) -> ClientExchange:
        if call.composed is not None and (call.composed.outline.version == b"2.0") is not connection.multiplexed:
            call.composed = None  # an origin may speak one version today and another tomorrow
        return super()._send(connection, call, timeouts)


class SharedLease(Lease):
    """A share that one response holds, until its content has ended or is given up."""

    __slots__ = ("_share",)

    _exchange: Http2ClientExchange

    def __init__(self, share: Share, exchange: Http2ClientExchange) -> None:
        self._exchange = exchange
        self._share: Share | None = share

    @property
    def held(self) -> bool:
        """Whether the connection is still used."""
        return self._share is not None

    def _is_over(self) -> bool:
        return bool(self._exchange.is_taken)

    def close(self) -> None:
        """Give up the rest: the server need not send it."""
        self.drop()

    def drop(self) -> None:
        """Give the stream up. Never waits."""
        if self._share is not None:
            self._exchange.close()
            self._return()

    def _return(self) -> None:
        share, self._share = self._share, None
        if share is not None:
            share.leave()

    def __del__(self) -> None:
        """A response was forgotten before its end. Its stream notices that by itself."""
        if self._share is not None:
            self._share.leave_soon()


def _is_usable(connection: Any) -> bool:
    return connection is not None and bool(connection.usable)


def _may_go_again(call: Call, exc: Error, *, had_worked: bool) -> bool:
    """Whether the request may be sent once more, on another connection."""
    if exc.retryable:
        if not isinstance(exc, StreamError):  # nothing was sent, and of the body nothing was read
            return True
        return call.rewound()
    return had_worked and isinstance(exc, TransportError | IncompleteMessage) and call.repeat()
