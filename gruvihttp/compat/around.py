"""`AroundServer`: an HTTP server whose application has a say in how each exchange is run, and hears of its end.

It is what the doors to other servers share: they limit how many requests run, tell a log of theirs about each, and
call hooks. What they limit, log and call is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gruvihttp.exchanges.base import Handler, ServerExchange
from gruvihttp.server import HttpServer
from gruvihttp.wsgi import WsgiGateway

__all__ = ["AroundGateway", "AroundServer"]


class AroundGateway(WsgiGateway):
    """A gateway for an application with a method ``around(exchange, serve)``, which is to call ``serve(exchange)``.

    When that returns, the application has been called and its answer is complete, or has failed and that is logged. If
    the application has a method ``arrange(exchange, environ)``, that may change an environ before it is used.
    """

    def __call__(self, exchange: ServerExchange) -> None:
        """Serve an exchange as the application wants it."""
        around: Callable[[ServerExchange, Handler], None] = self._application.around  # type: ignore[attr-defined]
        around(exchange, super().__call__)

    def _environ(self, exchange: ServerExchange) -> dict[str, Any]:
        environ = super()._environ(exchange)
        arrange: Callable[[Any, dict[str, Any]], None] | None = getattr(self._application, "arrange", None)
        if arrange is not None:
            arrange(exchange, environ)
        return environ


class AroundServer(HttpServer):
    """An `HttpServer` for such an application."""

    gateway_class = AroundGateway
