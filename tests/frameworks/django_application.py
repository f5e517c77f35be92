"""What test_frameworks asks for, in Django: with its middleware for sessions, forgery and conditional requests."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import django
import gevent
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, HttpResponse, JsonResponse, StreamingHttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

__all__ = ["make_application"]


def make_application(file: Path, closed: list[str]) -> Any:
    def index(request: Any) -> HttpResponse:
        return HttpResponse("<h1>index</h1>")

    def form(request: Any) -> HttpResponse:
        get_token(request)  # sets the cookie that a POST must repeat
        return JsonResponse({name: request.POST.getlist(name) for name in request.POST})

    @csrf_exempt
    def upload(request: Any) -> HttpResponse:
        sent = request.FILES["document"]
        size = sum(len(block) for block in sent.chunks())
        return JsonResponse(
            {"name": sent.name, "type": sent.content_type, "size": size, "note": request.POST["note"]}
        )

    @csrf_exempt
    def large(request: Any) -> HttpResponse:
        digest = hashlib.sha256()
        while block := request.read(65536):
            digest.update(block)
        return JsonResponse({"digest": digest.hexdigest()})

    def stream(request: Any) -> StreamingHttpResponse:
        def pieces() -> Iterator[str]:
            try:
                for number in range(5):
                    yield f"{request.GET['word']} {number}\n"
                    gevent.sleep(0)
            finally:
                closed.append("stream")

        return StreamingHttpResponse(pieces(), content_type="text/plain")

    @csrf_exempt
    def login(request: Any) -> HttpResponse:
        request.session["user"] = request.POST["user"]
        return redirect("/me")

    def me(request: Any) -> HttpResponse:
        return JsonResponse({"user": request.session.get("user")})

    def send(request: Any) -> FileResponse:
        return FileResponse(file.open("rb"))

    def cached(request: Any) -> HttpResponse:
        return HttpResponse("fresh", content_type="text/plain", headers={"ETag": '"v1"'})

    def broken(request: Any) -> HttpResponse:
        raise RuntimeError("secret detail")

    def broken_stream(request: Any) -> StreamingHttpResponse:
        def pieces() -> Iterator[str]:
            yield "beginning\n"
            gevent.sleep(0)  # so that it has left
            raise RuntimeError("secret detail")

        return StreamingHttpResponse(pieces(), content_type="text/plain")

    views = {
        "": index,
        "form": form,
        "upload": upload,
        "large": large,
        "stream": stream,
        "login": login,
        "me": me,
        "file": send,
        "cached": cached,
        "broken": broken,
        "broken-stream": broken_stream,
    }
    urls: Any = ModuleType("urls")
    urls.urlpatterns = [path(route, view) for route, view in views.items()]
    settings.configure(
        ALLOWED_HOSTS=["127.0.0.1", "localhost"],
        DATA_UPLOAD_MAX_MEMORY_SIZE=1 << 20,
        FILE_UPLOAD_MAX_MEMORY_SIZE=65536,  # larger ones go to a file
        LOGGING_CONFIG=None,
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.http.ConditionalGetMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        ROOT_URLCONF=urls,
        SECRET_KEY="not so secret",
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
    )
    django.setup()
    return get_wsgi_application()
