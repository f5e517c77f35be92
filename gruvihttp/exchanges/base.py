"""What an exchange offers to those who make requests, whatever version of HTTP carries it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.net.sockets import BytesLike
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import InformationalResponse, Response
from gruvihttp.sansio.headers import Headers

__all__ = ["ClientExchange"]


class ClientExchange(Protocol):
    """One request with its responses, as a client has them.

    `owner` is the caller's own, named in the `unanswered` of errors. `response` is None until the final response's
    head has come; `content` is there from then on, and `trailers` are complete when `content` is at its end. `tunnel`
    is the bare connection, if the response has ended HTTP on it.
    """

    owner: Any
    informational: Sequence[InformationalResponse]
    response: Response | None
    content: StreamReader
    trailers: Headers
    tunnel: Tunnel | None

    def send_head(self) -> None:
        """Send the head now, without waiting for content."""

    def send_data(self, data: BytesLike) -> bool:
        """Send a piece of content. False when the server wants no more of it: then nothing is sent.

        Raises LocalProtocolError for more than was announced, and nothing of it is sent; RuntimeError while another
        greenlet is sending; whatever has befallen the connection.
        """

    def finish(self, trailers: Headers) -> None:
        """End the request. Raises LocalProtocolError for less content than announced, or impossible trailers."""

    def abandon(self, reason: str) -> None:
        """The request will not be finished, and `getresponse` will not ask for its response."""

    def close(self) -> None:
        """Nobody will read the rest of the content."""
