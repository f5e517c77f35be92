"""gruvi's `HttpRequest` and `HttpResponse` under one name: one exchange as users see it, in text."""

from __future__ import annotations

from gruvihttp.httprequest import HttpRequest
from gruvihttp.httpresponse import HttpResponse, HttpVersion

__all__ = ["HttpRequest", "HttpResponse", "HttpVersion"]
