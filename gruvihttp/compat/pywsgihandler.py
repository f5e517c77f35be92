"""gevent's `WSGIHandler` for a server that has no handlers: as far as a subclass says what is logged and in environ.

Such methods are called on an instance with the attributes that they look at. Those that read or write HTTP would never
be called, and are refused with advice. How requests are served is not known here.
"""

from __future__ import annotations

from datetime import datetime
from http.client import HTTPMessage
from time import time
from typing import Any

from gevent import pywsgi

from gruvihttp.exchanges.base import ServerExchange
from gruvihttp.wsmessages import is_available

__all__ = ["Handlers", "log_line"]

_HONOURED = frozenset(("format_request", "log_request", "get_environ"))
_ADVICE = (
    "gruvihttp reads and writes HTTP itself. Of a handler it honours format_request(), log_request() and "
    "get_environ(); for all else wrap the application"
)


class _Fields(HTTPMessage):
    """A request's fields as gevent has them: the standard library's message, and what it had in Python 2."""

    getheader = HTTPMessage.get

    @property
    def headers(self) -> list[str]:
        """The lines."""
        return [f"{name}: {value}\r\n" for name, value in self.items()]

    @property
    def typeheader(self) -> Any:
        """The value of Content-Type."""
        return self.get("content-type")


class Handlers:
    """Makes instances of a `handler_class`. `logs` and `changes_environ` say what they are wanted for.

    Raises TypeError for a class with methods that cannot be honoured.
    """

    def __init__(self, handler_class: Any) -> None:
        self._class: Any = pywsgi.WSGIHandler if handler_class is None else handler_class
        changed = frozenset() if _is_gevent_websockets(self._class) else _changed(self._class)
        if changed - _HONOURED:
            names = ", ".join(sorted(changed - _HONOURED))
            raise TypeError(f"handler_class {self._class.__name__!r} cannot be honoured, for it has {names}: {_ADVICE}")
        self.logs = bool(changed & {"format_request", "log_request"})
        self.changes_environ = "get_environ" in changed

    def log(self, server: Any, exchange: ServerExchange, begun: float) -> None:
        """Let a handler log an exchange that is over."""
        self._made(server, exchange, begun).log_request()

    def change(self, server: Any, exchange: ServerExchange, environ: dict[str, Any]) -> None:
        """Make the changes to an environ that a handler makes to gevent's."""
        handler = self._made(server, exchange, time())
        usual = pywsgi.WSGIHandler.get_environ(handler)
        wanted = handler.get_environ()
        for key, value in wanted.items():
            if key != "wsgi.input" and (key not in usual or usual[key] != value):
                environ[key] = value
        for key in usual.keys() - wanted.keys():
            environ.pop(key, None)

    def _made(self, server: Any, exchange: ServerExchange, begun: float) -> Any:
        """An instance that handles nothing, with the attributes that logging and environ need."""
        request = exchange.request
        handler = self._class.__new__(self._class)
        fields = _Fields()
        for name, value in request.headers.raw:
            fields[name.decode("latin-1")] = value.decode("latin-1")
        handler.server = server
        handler.socket = handler.rfile = None
        handler.application = server.application
        handler.client_address = _client_address(exchange)
        handler.command = request.method.decode("ascii")
        handler.path = request.target.decode("latin-1")
        handler.request_version = f"HTTP/{request.http_version.decode('ascii')}"
        handler.requestline = f"{handler.command} {handler.path} {handler.request_version}"
        handler.headers = fields
        handler.content_length = None
        handler.environ = exchange.notes
        handler._orig_status, handler.code = _status(exchange)
        handler.status = None if handler._orig_status is None else handler._orig_status.encode("latin-1")
        handler.response_length = exchange.sent_bytes
        handler.time_start, handler.time_finish = begun, time()
        return handler


def log_line(exchange: ServerExchange, seconds: float) -> str:
    """A line of the access log as pywsgi writes it."""
    request = exchange.request
    address = _client_address(exchange)
    client = address[0] if isinstance(address, tuple) else "-"
    target = request.target.decode("latin-1").replace('"', "%22")
    start = f"{request.method.decode('ascii')} {target} HTTP/{request.http_version.decode('ascii')}"
    moment = datetime.now().strftime("%Y-%m-%d %H:%M:%S")
    status = exchange.head.status if exchange.head is not None else "-"
    return f'{client} - - [{moment}] "{start}" {status} {exchange.sent_bytes or "-"} {seconds:.6f}'


def _client_address(exchange: ServerExchange) -> Any:
    """(host, port); a text for a Unix socket."""
    peer = exchange.connection.channel.get_extra_info("peername")
    return peer[:2] if isinstance(peer, tuple) and peer else ""


def _status(exchange: ServerExchange) -> tuple[str | None, int | None]:
    head = exchange.head
    return (None, None) if head is None else (f"{head.status} {head.reason.decode('latin-1')}".rstrip(), head.status)


def _changed(handler_class: Any) -> frozenset[str]:
    """The methods of gevent's that a subclass has in a way of its own."""
    if not (isinstance(handler_class, type) and issubclass(handler_class, pywsgi.WSGIHandler)):
        return frozenset(("no gevent.pywsgi.WSGIHandler below it",))
    own = {name for each in handler_class.__mro__ for name in vars(each) if name == "__init__" or name[:2] != "__"}
    base = pywsgi.WSGIHandler
    return frozenset(name for name in own if _is_method(getattr(base, name, None)) and _differs(handler_class, name))


def _is_method(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def _differs(handler_class: Any, name: str) -> bool:
    return getattr(handler_class, name) is not getattr(pywsgi.WSGIHandler, name)


def _is_gevent_websockets(handler_class: Any) -> bool:
    """Is it the handler of gevent-websocket? What that puts into environ is there anyway, if wsproto is."""
    module = str(getattr(handler_class, "__module__", ""))
    if module.partition(".")[0] != "geventwebsocket":
        return False
    if not is_available():
        raise TypeError("wsgi.websocket needs wsproto: pip install 'gruvihttp[websocket]'")
    return True
