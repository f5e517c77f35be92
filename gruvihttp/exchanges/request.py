"""`ComposedRequest`: a request in bytes, checked already, for a client driver of any version to send."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.framing import Framing
from gruvihttp.sansio.headers import Field

__all__ = ["ComposedRequest", "Outline"]


class Outline(NamedTuple):
    """What many requests have in common, so that it is made once for all of them.

    `version` is that of the connection, as events have it: ``b"1.1"``. `fields` are complete, and written as that
    version writes them. `framing` says how the content is delimited. Drivers do not need `charset`, which is for the
    str among the pieces of a body.
    """

    version: bytes
    fields: Sequence[Field]
    framing: Framing
    charset: str


class ComposedRequest(NamedTuple):
    """A request, ready to be sent. `content` is None when it comes in pieces."""

    method: bytes
    target: bytes
    content: BytesLike | None
    outline: Outline
