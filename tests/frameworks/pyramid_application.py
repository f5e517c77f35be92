"""What test_frameworks asks for, in Pyramid."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPFound
from pyramid.response import FileResponse, Response
from pyramid.session import SignedCookieSessionFactory

__all__ = ["make_application"]


def make_application(file: Path, closed: list[str]) -> Any:
    def index(request: Any) -> Response:
        return Response("<h1>index</h1>")

    def form(request: Any) -> Response:
        return Response(json={name: request.POST.getall(name) for name in request.POST})

    def upload(request: Any) -> Response:
        sent = request.POST["document"]
        size = len(sent.file.read())
        return Response(
            json={"name": sent.filename, "type": sent.type, "size": size, "note": request.POST["note"]}
        )

    def large(request: Any) -> Response:
        digest = hashlib.sha256()
        while block := request.body_file.read(65536):
            digest.update(block)
        return Response(json={"digest": digest.hexdigest()})

    def stream(request: Any) -> Response:
        def pieces() -> Iterator[bytes]:
            try:
                for number in range(5):
                    yield f"{request.params['word']} {number}\n".encode()
                    gevent.sleep(0)
            finally:
                closed.append("stream")

        return Response(app_iter=pieces(), content_type="text/plain")

    def login(request: Any) -> Any:
        request.session["user"] = request.POST["user"]
        return HTTPFound("/me", headers=request.response.headers)

    def me(request: Any) -> Response:
        return Response(json={"user": request.session.get("user")})

    def send(request: Any) -> FileResponse:
        return FileResponse(str(file), request=request)

    def cached(request: Any) -> Response:
        return Response("fresh", content_type="text/plain", charset="utf-8", etag="v1", conditional_response=True)

    def broken(request: Any) -> Response:
        raise RuntimeError("secret detail")

    def broken_stream(request: Any) -> Response:
        def pieces() -> Iterator[bytes]:
            yield b"beginning\n"
            gevent.sleep(0)  # so that it has left
            raise RuntimeError("secret detail")

        return Response(app_iter=pieces(), content_type="text/plain")

    views: dict[str, Callable[[Any], Any]] = {
        "/": index,
        "/form": form,
        "/upload": upload,
        "/large": large,
        "/stream": stream,
        "/login": login,
        "/me": me,
        "/file": send,
        "/cached": cached,
        "/broken": broken,
        "/broken-stream": broken_stream,
    }
    with Configurator(session_factory=SignedCookieSessionFactory("not so secret")) as config:
        for target, view in views.items():
            config.add_route(target, target)
            config.add_view(view, route_name=target)
        return config.make_wsgi_app()
