"""HTTP for gevent programs: a blocking-style client with pipelining and a WSGI server, over one strict engine.

The names below are loaded when they are first used, so that a program which needs only the sans-I/O layer
(`gruvihttp.sansio`) loads neither gevent nor sockets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gruvihttp._version import __version__
    from gruvihttp.client import HttpClient
    from gruvihttp.errors import (
        ContentTooLarge,
        DecodingError,
        Error,
        ExpectationFailed,
        FieldsTooLarge,
        HttpError,
        IncompleteMessage,
        LocalProtocolError,
        ProtocolError,
        RedirectError,
        RemoteProtocolError,
        StatusError,
        StreamError,
        TargetTooLong,
        Timeout,
        TransportError,
        UnsupportedCoding,
        UnsupportedVersion,
    )
    from gruvihttp.http2client import Http2Client
    from gruvihttp.limits import H2Limits, Limits, Timeouts
    from gruvihttp.marks import switchpoint
    from gruvihttp.messages import HttpRequest, HttpResponse
    from gruvihttp.net.endpoints import (
        Client,
        Endpoint,
        MessageProtocol,
        Server,
        create_connection,
        create_server,
    )
    from gruvihttp.net.transport import Transport
    from gruvihttp.pool import HttpPool, PoolResponse
    from gruvihttp.pool.calls import delete, download, get, head, patch, post, put, request
    from gruvihttp.protocol import HttpProtocol
    from gruvihttp.reader import StreamReader
    from gruvihttp.server import HttpServer
    from gruvihttp.urls import ParsedUrl, parse_url

__all__ = [
    "Client",
    "ContentTooLarge",
    "DecodingError",
    "Endpoint",
    "Error",
    "ExpectationFailed",
    "FieldsTooLarge",
    "H2Limits",
    "Http2Client",
    "HttpClient",
    "HttpError",
    "HttpPool",
    "HttpProtocol",
    "HttpRequest",
    "HttpResponse",
    "HttpServer",
    "IncompleteMessage",
    "Limits",
    "LocalProtocolError",
    "MessageProtocol",
    "ParsedUrl",
    "PoolResponse",
    "ProtocolError",
    "RedirectError",
    "RemoteProtocolError",
    "Server",
    "StatusError",
    "StreamError",
    "StreamReader",
    "TargetTooLong",
    "Timeout",
    "Timeouts",
    "Transport",
    "TransportError",
    "UnsupportedCoding",
    "UnsupportedVersion",
    "__version__",
    "create_connection",
    "create_server",
    "delete",
    "download",
    "get",
    "head",
    "parse_url",
    "patch",
    "post",
    "put",
    "request",
    "switchpoint",
]

# Where each name lives. What is not listed here by name is an error.
_HOMES = {
    "gruvihttp._version": ("__version__",),
    "gruvihttp.pool.calls": ("delete", "download", "get", "head", "patch", "post", "put", "request"),
    "gruvihttp.client": ("HttpClient",),
    "gruvihttp.http2client": ("Http2Client",),
    "gruvihttp.limits": ("H2Limits", "Limits", "Timeouts"),
    "gruvihttp.marks": ("switchpoint",),
    "gruvihttp.messages": ("HttpRequest", "HttpResponse"),
    "gruvihttp.net.endpoints": (
        "Client", "Endpoint", "MessageProtocol", "Server", "create_connection", "create_server",
    ),
    "gruvihttp.net.transport": ("Transport",),
    "gruvihttp.pool": ("HttpPool", "PoolResponse"),
    "gruvihttp.protocol": ("HttpProtocol",),
    "gruvihttp.reader": ("StreamReader",),
    "gruvihttp.server": ("HttpServer",),
    "gruvihttp.urls": ("ParsedUrl", "parse_url"),
}  # fmt: skip
_home_of = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:  # Any: classes, functions and a str
    """Load a public name when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_home_of.get(name, "gruvihttp.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
