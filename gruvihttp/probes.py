"""`Probes`: answers whether a server is alive, and whether to send it requests.

An application that hangs must not make its server look dead, and one that works must not make a server look ready that
is about to stop. So the server answers by itself. Sockets and environ are not known here.
"""

from __future__ import annotations

from collections.abc import Callable

from gruvihttp.exchanges.base import Handler, ServerExchange
from gruvihttp.exchanges.response import plain_error

__all__ = ["Probes", "check_path"]


class Probes:
    """A handler that answers GET and HEAD of two paths, whatever their query, and leaves the rest to `handler`.

    `health_path` is answered with 200 as long as anything is answered; `ready_path` with 200, or 503 when `is_ready`
    says no. Raises ValueError for what is no path, or the same path twice.
    """

    def __init__(
        self, handler: Handler, is_ready: Callable[[], bool], health_path: str | None, ready_path: str | None
    ) -> None:
        self._handler = handler
        self._answers: dict[bytes, Callable[[], bool]] = {}
        for path, question in ((health_path, _is_alive), (ready_path, is_ready)):
            if path is not None:
                self._answers[check_path(path)] = question
        if health_path is not None and health_path == ready_path:
            raise ValueError(f"health_path and ready_path are the same: {ready_path!r}")

    def __call__(self, exchange: ServerExchange) -> None:
        """Answer a probe, or hand on another request."""
        request = exchange.request
        question = self._answers.get(request.target.partition(b"?")[0])
        if question is None or request.method not in (b"GET", b"HEAD"):
            self._handler(exchange)
            return
        head, content = plain_error(200 if question() else 503)
        head.fields.append((b"Cache-Control", b"no-store"))
        exchange.send_head(head)
        exchange.finish(content)


def _is_alive() -> bool:
    return True


def check_path(path: str) -> bytes:
    """The path as requests have it. Raises ValueError for what is none."""
    is_plain = isinstance(path, str) and path.startswith("/") and path.isascii() and path.isprintable()
    if not is_plain or set(path) & set(" ?#"):
        raise ValueError(f"{path!r} is no path of a probe: it must look like /healthz")
    return path.encode("ascii")
