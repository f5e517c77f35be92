"""The names of gruvi's module ``http``: client and server of HTTP in one place."""

from __future__ import annotations

from gruvihttp.client import HttpClient
from gruvihttp.errors import HttpError
from gruvihttp.messages import HttpRequest, HttpResponse
from gruvihttp.protocol import HttpProtocol
from gruvihttp.server import HttpServer

__all__ = ["HttpClient", "HttpError", "HttpProtocol", "HttpRequest", "HttpResponse", "HttpServer"]
