"""`patch`: puts the door in place of the standard library's classes, in all that is imported already, and back.

A name that was imported, ``from http.client import HTTPConnection``, is a second reference, and a class that was
derived is a third; replacing the first alone changes nothing for them. So every module is looked through for names,
and every class for its bases. The libraries that make their sockets themselves get gevent's for it.

What other people's modules do with the classes is not known here, but for that last table.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import client as stock
from types import FunctionType, ModuleType
from typing import Any

from gevent import select as gevent_select
from gevent import socket as gevent_socket
from gevent import ssl as gevent_ssl

from gruvihttp.compat.http_client.connection import HTTPConnection, HTTPSConnection
from gruvihttp.compat.http_client.response import HTTPResponse
from gruvihttp.compat.http_client.tls import wrap_tls

__all__ = ["patch", "patched"]

_OURS: dict[type, type] = {
    stock.HTTPConnection: HTTPConnection,
    stock.HTTPSConnection: HTTPSConnection,
    stock.HTTPResponse: HTTPResponse,
}
_StockHTTPSConnection = stock.HTTPSConnection
_PACKAGE = __name__.rpartition(".")[0]

Undo = Callable[[], None]


def patch() -> Undo:
    """Put this door's classes in place of `http.client`'s, wherever they were imported; the result undoes it.

    urllib3, requests, botocore, httplib2 and others that are imported already use them from now on, for connections
    that they make from now on, and where they open sockets themselves, open gevent's. Call it again after a late
    import: what is done stays done. Undo in the reverse order.
    """
    changes = _Changes()
    changes.set(_StockHTTPSConnection, "__init__", _with_its_own_name(_StockHTTPSConnection.__init__))
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and not _is_ours(module.__name__):
            _rebind(module, changes)
    for theirs, ours in _OURS.items():
        subclasses: list[type] = theirs.__subclasses__()
        for derived in subclasses:
            if not _is_ours(derived.__module__):
                bases = tuple(ours if base is theirs else base for base in derived.__bases__)
                changes.set(derived, "__bases__", bases)
    for module_name, name, value in _SOCKETS:
        if hasattr(sys.modules.get(module_name), name):
            changes.set(sys.modules[module_name], name, value)
    urllib3_tls = sys.modules.get("urllib3.util.ssl_")
    wrap = getattr(urllib3_tls, "_ssl_wrap_socket_impl", None)
    if callable(wrap) and not isinstance(wrap, _WrapTls):
        changes.set(urllib3_tls, "_ssl_wrap_socket_impl", _WrapTls(wrap))
    return changes.undo


@contextmanager
def patched() -> Iterator[None]:
    """`patch` for the length of a ``with`` statement."""
    undo = patch()
    try:
        yield
    finally:
        undo()


class _Changes:
    """Attributes that were set, with what they were before."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, object, object]] = []

    def set(self, holder: Any, name: str, value: object) -> None:
        before = getattr(holder, name)
        if before is value or before == value:
            return
        setattr(holder, name, value)
        self._made.append((holder, name, before, value))

    def undo(self) -> None:
        """Put everything back that was not changed again since. Idempotent."""
        while self._made:
            holder, name, before, value = self._made.pop()
            now = getattr(holder, name, None)
            if now is value or now == value:
                setattr(holder, name, before)


def _rebind(module: ModuleType, changes: _Changes) -> None:
    """Replace the classes among the names of `module`, and among the attributes of the classes that it defines."""
    names = [(name, value) for name, value in list(vars(module).items()) if _is_replaced(value)]
    for name, value in names:
        changes.set(module, name, _OURS[value])
    if not names or module is stock:
        return
    for holder in [value for value in vars(module).values() if isinstance(value, type)]:
        if holder.__module__ == module.__name__ and holder not in _OURS:
            for name, value in [item for item in vars(holder).items() if _is_replaced(item[1])]:
                changes.set(holder, name, _OURS[value])


def _is_replaced(value: object) -> bool:
    return isinstance(value, type) and value in _OURS


def _is_ours(module_name: str) -> bool:
    return module_name == _PACKAGE or module_name.startswith(_PACKAGE + ".")


def _with_its_own_name(function: Any) -> Any:  # Any: a function, which mypy knows as a method here
    """`function` with its class under that class's name, whatever becomes of the name in its module.

    ``super(HTTPSConnection, self)`` stands there, which with our class for the name would call itself for ever.
    """
    if function.__globals__ is not vars(stock):
        return function  # that was done before
    names = {**vars(stock), _StockHTTPSConnection.__name__: _StockHTTPSConnection}
    made = FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    made.__kwdefaults__ = function.__kwdefaults__
    made.__doc__ = function.__doc__
    return made


class _WrapTls:
    """urllib3's function that puts TLS on a socket, with ours for the usual case."""

    def __init__(self, theirs: Callable[..., Any]) -> None:
        self._theirs = theirs

    def __call__(self, sock: Any, context: Any, tls_in_tls: bool, server_hostname: str | None = None) -> Any:
        if tls_in_tls:
            return self._theirs(sock, context, tls_in_tls, server_hostname)
        return wrap_tls(sock, context, server_hostname)


# Libraries that open and wait for sockets of their own: module, name there, what it becomes.
_SOCKETS: tuple[tuple[str, str, object], ...] = (
    ("urllib3.util.connection", "socket", gevent_socket),
    ("urllib3.util.wait", "select", gevent_select),
    ("httplib2", "socket", gevent_socket),
    ("httplib2", "ssl", gevent_ssl),
)
