"""Our responses and errors as urllib3 has them, which is what requests, and the programs around it, look at.

`RawResponse` is urllib3's own class, which undoes content codings; only where it reads from is ours. Sessions and
adapters are not known here.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.client import HTTPException, HTTPMessage
from typing import Any

from gruvihttp.errors import Error, ProtocolError, Timeout, TransportError
from gruvihttp.pool.response import PoolResponse

try:
    from urllib3 import HTTPHeaderDict, HTTPResponse, Retry
    from urllib3 import exceptions as theirs
except ImportError as exc:
    raise ImportError("the door of requests needs urllib3: pip install 'gruvihttp[requests]'") from exc

__all__ = ["RawResponse", "translated"]

_BEFORE_SENDING = frozenset(("connect", "handshake", "pool"))


class RawResponse(HTTPResponse):
    """urllib3's response to a request of ours. It lets go of the connection at its end, or when it is closed."""

    def __init__(self, response: PoolResponse, method: str, url: str, retries: Retry | None = None) -> None:
        pairs: Any = response.headers  # any iterable of pairs will do, whatever the annotation says
        version = response.version
        original: Any = _Head(response)
        body: Any = _Body(response)
        super().__init__(
            body,
            HTTPHeaderDict(pairs),
            response.status,
            version.major * 10 + version.minor,
            reason=response.reason,
            preload_content=False,
            decode_content=False,
            original_response=original,
            request_method=method,
            request_url=url,
            retries=retries,
        )
        self.version_string = f"HTTP/{version}"  # older urllib3 does not ask for it

    def supports_chunked_reads(self) -> bool:
        """Chunks are taken apart below, so what is read here is content; but a stream gives it as it comes."""
        return True

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]  # as in some versions
        """Iterate over the content as it comes, in pieces of `amt` bytes at most."""
        while piece := self.read1(amt, decode_content):
            yield piece

    def release_conn(self) -> None:
        """Let go of the connection. urllib3 would keep it for others, with unread content on it."""
        if self._fp is not None:
            self._fp.close()


class _Body:
    """The file that urllib3 reads content from. What is wrong with that is raised as `http.client` would."""

    def __init__(self, response: PoolResponse) -> None:
        self._response = response
        self.closed = False

    def isclosed(self) -> bool:
        return self.closed or self._response.body.eof

    def read(self, amt: int | None = None) -> bytes:
        try:
            return self._response.body.read(amt)
        except ProtocolError as exc:  # the others are OSErrors, and TimeoutErrors among them
            raise HTTPException(str(exc)) from exc

    def read1(self, amt: int | None = None) -> bytes:
        try:
            return self._response.body.read1(amt)
        except ProtocolError as exc:
            raise HTTPException(str(exc)) from exc

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._response.close()

    def flush(self) -> None:
        """There is nothing to flush; io does it when it closes."""


class _Head:
    """What stands for `http.client`'s response, of which cookies are read. It is false when it sets none.

    requests looks for cookies twice in each response, for as long as all the rest takes, unless there is none.
    """

    def __init__(self, response: PoolResponse) -> None:
        self._response = response
        self._message: HTTPMessage | None = None

    def __bool__(self) -> bool:
        return bool(self._response.set_cookies)

    @property
    def msg(self) -> HTTPMessage:
        """The header section."""
        if self._message is None:
            self._message = HTTPMessage()
            for name, value in self._response.headers:
                self._message.set_raw(name, value)
        return self._message

    def isclosed(self) -> bool:
        return self._response.body.eof

    def close(self) -> None:
        self._response.close()


def translated(exc: Error, place: str, url: str, *, through_proxy: bool = False) -> theirs.HTTPError:
    """The exception that urllib3 would have raised. `place` names whom we talk to, `url` what we want there."""
    pool: Any = place  # urllib3 only prints it
    if isinstance(exc, Timeout):
        if exc.phase in _BEFORE_SENDING:
            return theirs.ConnectTimeoutError(f"{place}: {exc}")
        return theirs.ReadTimeoutError(pool, url, str(exc))
    if not isinstance(exc, TransportError):
        return theirs.ProtocolError(str(exc), exc)
    if isinstance(exc.__cause__, ssl.SSLError):
        return theirs.SSLError(exc.__cause__)
    if not exc.retryable:  # a request was on its way
        return theirs.ProtocolError(f"the connection has failed: {exc}", exc)
    failed = theirs.NewConnectionError(pool, str(exc))
    return theirs.ProxyError(f"cannot connect through the proxy: {exc}", failed) if through_proxy else failed
