"""`AccessRecord`: one request, as a log sees it.

How a record is written down is not known here, nor is what a socket is.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gruvihttp.exchanges.response import ResponseHead
from gruvihttp.net.channel import Channel
from gruvihttp.sansio.events import Request

__all__ = ["AccessRecord"]


class AccessRecord:
    """One request and what became of it. To keep a record longer than the call, take `as_dict`.

    `time` is when the request had arrived, in seconds since the epoch; `duration_us` is how long it took until the
    response was handed to the system, in microseconds, or None for a request that was refused. `status` is None if no
    response has begun. `content_bytes` are those of the response's content. `connection_requests` counts the requests
    of the connection, this one included. `outcome` is ``"complete"``, ``"incomplete"`` for a response that has not
    reached its end, or ``"refused"`` for a request that never reached the application.
    """

    __slots__ = (
        "_channel",
        "_environ",
        "_head",
        "_line",
        "_request",
        "connection_requests",
        "content_bytes",
        "duration_us",
        "outcome",
        "status",
        "time",
    )

    def __init__(
        self,
        channel: Channel,
        request: Request | None,
        *,
        time: float,
        outcome: str,
        status: int | None,
        connection_requests: int,
        duration_us: int | None = None,
        content_bytes: int = 0,
        environ: Mapping[str, Any] | None = None,
        head: ResponseHead | None = None,
        line: bytes = b"",
    ) -> None:
        """`line` is the first line of a request that could not be understood."""
        self._channel = channel
        self._request = request
        self._environ: Mapping[str, Any] = environ or {}
        self._head = head
        self._line = line
        self.time = time
        self.outcome = outcome
        self.status = status
        self.connection_requests = connection_requests
        self.duration_us = duration_us
        self.content_bytes = content_bytes

    def __repr__(self) -> str:
        return f"<AccessRecord {self.request_line!r} {self.status} {self.outcome}>"

    @property
    def environ(self) -> Mapping[str, Any]:
        """The environ that the application got, as it left it; empty for a refused request."""
        return self._environ

    # who

    @property
    def client(self) -> str:
        """REMOTE_ADDR, else the address of the peer; ``""`` for a Unix socket."""
        return self._remote("REMOTE_ADDR", 0)

    @property
    def client_port(self) -> str:
        """REMOTE_PORT, else the port of the peer; ``""`` where there is none."""
        return self._remote("REMOTE_PORT", 1)

    @property
    def user(self) -> str | None:
        """REMOTE_USER, if the application set it; else the name in ``Authorization: Basic``, which may be a lie."""
        user = self._environ.get("REMOTE_USER")
        return str(user) if user else _basic_user(self.header("authorization"))

    def _remote(self, key: str, position: int) -> str:
        told = self._environ.get(key)
        if told is not None:
            return str(told)
        peer = self._channel.get_extra_info("peername")
        return str(peer[position]) if isinstance(peer, tuple) else ""

    # what

    @property
    def method(self) -> str | None:
        """The method; None if the request was not understood."""
        return self._words[0]

    @property
    def target(self) -> str | None:
        """The target as it was sent; None if the request was not understood."""
        return self._words[1]

    @property
    def protocol(self) -> str | None:
        """``HTTP/1.1``; None if the request was not understood."""
        return self._words[2]

    @property
    def request_line(self) -> str:
        """Method, target and protocol; of a request that was not understood its first line, as far as it came."""
        request = self._request
        if request is None:
            return self._line.decode("latin-1")
        return (b"%b %b HTTP/%b" % (request.method, request.target, request.http_version)).decode("ascii")

    @property
    def scheme(self) -> str | None:
        """``http`` or ``https``; None for a refused request."""
        scheme = self._environ.get("wsgi.url_scheme")
        return None if scheme is None else str(scheme)

    @property
    def host(self) -> str | None:
        """What the client calls this server: Host, or what stands for it."""
        host = self._environ.get("HTTP_HOST")
        return self.header("host") if host is None else str(host)

    @property
    def _words(self) -> Sequence[str | None]:
        words = self.request_line.split(" ")
        return words if len(words) == 3 and all(words) else (None, None, None)

    # fields

    @property
    def referer(self) -> str | None:
        """The field ``Referer``."""
        return self._field(b"referer")

    @property
    def user_agent(self) -> str | None:
        """The field ``User-Agent``."""
        return self._field(b"user-agent")

    @property
    def request_id(self) -> str | None:
        """The field ``X-Request-Id``."""
        return self._field(b"x-request-id")

    def header(self, name: str) -> str | None:
        """A field of the request, the values of several lines joined; None if it is not there."""
        return self._field(name.lower().encode("latin-1", "replace"))

    def response_header(self, name: str) -> str | None:
        """A field that the application gave the response; None if it is not there."""
        if self._head is None:
            return None
        wanted = name.lower().encode("latin-1", "replace")
        return _joined([value for known, value in self._head.fields if known.lower() == wanted])

    def _field(self, lower: bytes) -> str | None:
        if self._request is None:
            return None
        return _joined([value for known, value in self._request.headers.fields if known == lower])

    # all

    @property
    def iso_time(self) -> str:
        """`time` in UTC, as ISO 8601 has it: ``2026-11-05T12:00:00.123Z``."""
        return datetime.fromtimestamp(self.time, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def as_dict(self) -> dict[str, str | int | None]:
        """Everything that a log usually wants, as text and numbers; None for what there is not."""
        method, target, protocol = self._words
        return {
            "time": self.iso_time,
            "client": self.client or None,
            "user": self.user,
            "method": method,
            "target": target,
            "protocol": protocol,
            "request_line": self.request_line,
            "scheme": self.scheme,
            "host": self.host,
            "status": self.status,
            "content_bytes": self.content_bytes,
            "duration_us": self.duration_us,
            "referer": self.referer,
            "user_agent": self.user_agent,
            "request_id": self.request_id,
            "connection_requests": self.connection_requests,
            "outcome": self.outcome,
        }


def _joined(values: list[bytes]) -> str | None:
    return b", ".join(values).decode("latin-1") if values else None


def _basic_user(authorization: str | None) -> str | None:
    """The user of Basic credentials (RFC 7617 §2), never the password."""
    scheme, _, credentials = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, _ = b64decode(credentials.strip(), validate=True).partition(b":")
    except (binascii.Error, ValueError):
        return None
    return user.decode("utf-8", "replace") if user and colon else None
