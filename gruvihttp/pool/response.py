"""`PoolResponse`: a response with conveniences: text, JSON, whether all went well, and the redirects before it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Self

from gruvihttp.errors import StatusError
from gruvihttp.exchanges.base import ClientExchange
from gruvihttp.marks import switchpoint
from gruvihttp.messages import HttpResponse
from gruvihttp.pool.lease import Lease
from gruvihttp.pool.redirects import is_downgrade
from gruvihttp.reader import StreamReader

__all__ = ["PoolResponse", "Progress"]

Progress = Callable[[int, int | None], object]  # (bytes received, bytes in all if that is known)

_PIECE_BYTES = 65536
_NOTED = frozenset((b"content-encoding", b"set-cookie"))


class PoolResponse(HttpResponse):
    """A response to a request of a pool.

    `url` is where it came from, without credentials; `history` has the redirects that led there, oldest first;
    `elapsed` is how many seconds passed from the request to the head of this response; `coding` is the value of
    Content-Encoding, None without that field; `set_cookies` are the values of Set-Cookie.

    `body`, and with it all reading, gives the content with its coding undone. A response to a request with
    ``stream=True`` holds its connection until the content has been read to its end, or `close` is called, or the
    response is forgotten; it may be used in a ``with`` statement. Any other one holds no connection.
    """

    __slots__ = ("_content", "_lease", "coding", "elapsed", "history", "set_cookies", "url")

    def __init__(self, exchange: ClientExchange, url: str, elapsed: float, lease: Lease | None = None) -> None:
        super().__init__(exchange)
        self.url = url
        self.history: Sequence[PoolResponse] = ()
        self.elapsed = elapsed
        self.coding: str | None = None
        self.set_cookies: Sequence[str] = ()
        self._content: bytes | None = None
        self._lease = lease
        for name, value in self._head.headers.fields:
            if name in _NOTED:
                self._note(name, value.decode("latin-1"))
        if lease is not None:
            self.body = StreamReader(source=lease.pull)

    def _note(self, name: bytes, value: str) -> None:
        if name == b"set-cookie":
            self.set_cookies = [*self.set_cookies, value]
        else:
            self.coding = value if self.coding is None else f"{self.coding}, {value}"

    @property
    def ok(self) -> bool:
        """Whether the status says neither 4xx nor 5xx."""
        return self.status < 400

    def raise_for_status(self) -> Self:
        """Raise StatusError if the response is not `ok`; else return it."""
        if self.ok:
            return self
        method = self.request.method
        error = StatusError(f"{self.status} {self.reason} for {method} {self.url.partition('?')[0].partition('#')[0]}")
        error.response = self
        raise error

    @property
    def downgraded(self) -> bool:
        """Whether a redirect led from https to http on the way here."""
        urls = [*(response.url for response in self.history), self.url]
        return any(is_downgrade(before, after) for before, after in pairwise(urls))

    # content

    @property
    def content(self) -> bytes:
        """All of the body, or what was not read of it before. Waits for it if need be, and remembers it."""
        if self._content is None:
            self._content = self.body.read()
        return self._content

    @property
    def text(self) -> str:
        """The content as text: in the charset that Content-Type names, else in UTF-8. What does not fit becomes �."""
        try:
            return self.content.decode(self.charset or "utf-8", "replace")
        except (LookupError, UnicodeError):  # an unknown charset, or "idna", which Python takes for one
            return self.content.decode("utf-8", "replace")

    def json(self, **options: Any) -> Any:  # Any: JSON; the options are those of json.loads
        """The content, which must be JSON. Raises ValueError if it is not."""
        return json.loads(self.content, **options)

    @switchpoint
    def iter_content(self, size: int = _PIECE_BYTES, progress: Progress | None = None) -> Iterator[bytes]:
        """Iterate over pieces of the body as they come, none larger than `size` bytes.

        `progress(received_bytes, total_bytes)` is called after each; the latter is None if it is not known.
        """
        received_bytes = 0
        total_bytes = self.total_bytes
        while piece := self.body.read1(size):
            received_bytes += len(piece)
            if progress is not None:
                progress(received_bytes, total_bytes)
            yield piece

    @property
    def total_bytes(self) -> int | None:
        """How long the body will be; None if that is not known, as with most content codings."""
        length = self.get_header("Content-Length")
        if length is None or self.coding not in (None, "identity"):
            return None
        return int(length)

    # the end

    @property
    def leased(self) -> bool:
        """Whether it holds a connection."""
        return self._lease is not None and self._lease.held

    @switchpoint
    def close(self) -> None:
        """Let go of the connection. It is kept for others if the rest of the body is short and arrives soon."""
        if self._lease is not None and self._lease.held:
            self.body.close()
            self._lease.close()

    def drop(self) -> None:
        """Let go of the connection at once: it is closed."""
        if self._lease is not None:
            self._lease.drop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
