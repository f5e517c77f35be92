"""`Lease`: a connection of a pool that one response holds, until its content has ended or is given up."""

from __future__ import annotations

from gruvihttp.errors import Error
from gruvihttp.exchanges.base import ClientExchange
from gruvihttp.pool.slots import Slot, Slots

__all__ = ["Lease"]


class Lease:
    """Gives the content of an exchange, and its connection back: at the end, on `close`, or when it is forgotten.

    It is the source of a response's body. The body refers to it and not the other way round, so that a response which
    is forgotten goes at once, and the lease with it.
    """

    __slots__ = ("_exchange", "_slot", "_slots")

    def __init__(self, slots: Slots, slot: Slot, exchange: ClientExchange) -> None:
        self._slots = slots
        self._slot: Slot | None = slot
        self._exchange = exchange

    @property
    def held(self) -> bool:
        """Whether the connection was not given back yet."""
        return self._slot is not None

    def pull(self) -> bytes:
        """The next piece of content, ``b""`` at its end. Whatever is raised, the connection is given up then."""
        try:
            piece = self._exchange.content.read1()
        except BaseException:
            self.drop()
            raise
        if not piece or self._is_over():
            self._return()
        return piece

    def _is_over(self) -> bool:
        """Whether that was the last piece, as far as is known already."""
        return self._slot is not None and bool(self._slot.connection.driver.let_go())

    def close(self) -> None:
        """Give up the rest. The connection is kept if that is short and arrives soon."""
        if self._slot is None:
            return
        try:
            self._exchange.close()
        except Error:
            self.drop()
        except BaseException:
            self.drop()
            raise
        self._return()

    def drop(self) -> None:
        """Give the connection up. Never waits."""
        slot, self._slot = self._slot, None
        if slot is not None:
            self._slots.drop(slot)

    def _return(self) -> None:
        slot, self._slot = self._slot, None
        if slot is None:
            return
        if slot.connection.driver.let_go():
            self._slots.give_back(slot)
        else:
            self._slots.drop(slot)

    def __del__(self) -> None:
        """A response was forgotten before its end."""
        if self._slot is not None:
            self._slots.drop_soon(self._slot)
