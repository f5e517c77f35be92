"""The http.client door: the standard library's client over gevent's sockets and our engine.

``from gruvihttp.compat import http_client as httplib``, and connections let other greenlets run, with or without
monkey-patching. Every name of ``http.client`` is here; what this door does not replace is the very object from there,
so that ``except http.client.HTTPException`` catches what is raised here. `patch` puts the door in place of what other
packages have imported already.

``_MAXHEADERS`` and ``_MAXLINE`` count when they are set here as well as when they are set in ``http.client``.
"""

from __future__ import annotations

from http import client as _stock
from http.client import (
    HTTP_PORT,
    HTTPS_PORT,
    BadStatusLine,
    CannotSendHeader,
    CannotSendRequest,
    HTTPException,
    HTTPMessage,
    ImproperConnectionState,
    IncompleteRead,
    InvalidURL,
    LineTooLong,
    NotConnected,
    RemoteDisconnected,
    ResponseNotReady,
    UnimplementedFileMode,
    UnknownProtocol,
    UnknownTransferEncoding,
    error,
    parse_headers,
    responses,
)
from typing import Any

from gruvihttp.compat.http_client.connection import HTTPConnection, HTTPSConnection
from gruvihttp.compat.http_client.patching import patch, patched
from gruvihttp.compat.http_client.response import HTTPResponse

__all__ = [
    "HTTPS_PORT",
    "HTTP_PORT",
    "BadStatusLine",
    "CannotSendHeader",
    "CannotSendRequest",
    "HTTPConnection",
    "HTTPException",
    "HTTPMessage",
    "HTTPResponse",
    "HTTPSConnection",
    "ImproperConnectionState",
    "IncompleteRead",
    "InvalidURL",
    "LineTooLong",
    "NotConnected",
    "RemoteDisconnected",
    "ResponseNotReady",
    "UnimplementedFileMode",
    "UnknownProtocol",
    "UnknownTransferEncoding",
    "error",
    "parse_headers",
    "patch",
    "patched",
    "responses",
]

_MAXLINE: int = _stock._MAXLINE  # type: ignore[attr-defined]
_MAXHEADERS: int = _stock._MAXHEADERS  # type: ignore[attr-defined]


def __getattr__(name: str) -> Any:  # Any: status codes, and whatever a later Python adds
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_stock, name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | {name for name in dir(_stock) if not name.startswith("_")})
