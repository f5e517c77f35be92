"""`ServedExchange`: what a server's exchanges have in common, whatever the version of HTTP.

It knows how a response was ended, and what was counted and noted. What is sent is not known here.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from gruvihttp.exchanges.response import ResponseHead, plain_error
from gruvihttp.exchanges.tunnel import Tunnel
from gruvihttp.reader import StreamReader
from gruvihttp.sansio.events import Request
from gruvihttp.sansio.headers import Headers

__all__ = ["BROKEN_OFF", "COMPLETE", "DETACHED", "NO_CONTENT", "Ending", "ServedExchange"]


class Ending(Enum):
    """How a response was ended by the handler."""

    COMPLETE = "complete"
    BROKEN_OFF = "broken off"  # in the middle, so that the peer sees it
    DETACHED = "detached"  # the connection or stream has left HTTP


COMPLETE, BROKEN_OFF, DETACHED = Ending  # by these names, since looking a member up in its class is slow


class ServedExchange:
    """One request and its responses. See `gruvihttp.exchanges.base.ServerExchange`."""

    # What a usual exchange never changes stands here once, instead of being set for each.
    ending: Ending | None = None  # None until the response is over
    content_ended = False
    received_bytes = 0  # of the request's content
    sent_bytes = 0  # of the response's content, without what frames it
    waited_seconds = 0.0  # for the request's content
    notes: Any = None  # the handler's own
    head: ResponseHead | None = None  # of the final response, as far as it was given
    failure: BaseException | None = None  # what reading or sending has raised: the peer's fault, not the handler's
    tunnel: Tunnel | None = None  # the connection or stream, once it has left HTTP

    request: Request
    request_trailers: list[tuple[str, str]]  # filled when the content has ended
    response_trailers: list[tuple[str, str]]  # the handler's, sent at the end if that is possible

    @property
    def finished(self) -> bool:
        """Whether the response is over, complete or not."""
        return self.ending is not None

    @property
    def complete(self) -> bool:
        """Whether all of the response was given, by whoever gave it."""
        return self.ending is COMPLETE or self.ending is DETACHED

    @property
    def detached(self) -> bool:
        """Whether the connection has left HTTP with this exchange. Answering has no effect then."""
        return self.ending is DETACHED

    def end_content(self, trailers: Headers) -> None:
        """The content has ended, with these trailers."""
        self.content_ended = True
        for name, value in trailers.raw:
            self.request_trailers.append((name.decode("ascii"), value.decode("latin-1")))

    def let_go(self) -> None:
        """The handler is done. Its notes have a reader, a failure has a traceback, and both lead back to here."""
        self.notes = self.failure = None

    def send_head(self, head: ResponseHead) -> None:
        """Give the head of the final response."""
        raise NotImplementedError

    def finish(self, content: bytes = b"") -> None:
        """Send `content` and end the response."""
        raise NotImplementedError

    def finish_with_error(self, status: int) -> None:
        """Answer with a bare status instead of what was given. Only possible until the head has left."""
        head, content = plain_error(status)
        self.response_trailers.clear()
        self.send_head(head)
        self.finish(content)


class _NoContent(StreamReader):
    """The reader of requests without content. It holds nothing, so one object serves all of them and never closes."""

    __slots__ = ()

    def close(self) -> None:
        """Does nothing: other exchanges may be using it."""


NO_CONTENT = _NoContent.complete()
