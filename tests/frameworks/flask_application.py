"""What test_frameworks asks for, in Flask."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
from flask import Flask, Response, redirect, request, send_file, session, stream_with_context

__all__ = ["make_application"]


def make_application(file: Path, closed: list[str]) -> Any:
    app = Flask(__name__)
    app.secret_key = "not so secret"

    @app.route("/")
    def index() -> str:
        return "<h1>index</h1>"

    @app.route("/form", methods=["GET", "POST"])
    def form() -> Any:
        return {name: request.form.getlist(name) for name in request.form}

    @app.route("/upload", methods=["POST"])
    def upload() -> Any:
        sent = request.files["document"]
        content = sent.read()
        return {"name": sent.filename, "type": sent.mimetype, "size": len(content), "note": request.form["note"]}

    @app.route("/large", methods=["POST"])
    def large() -> Any:
        digest = hashlib.sha256()
        while block := request.stream.read(65536):
            digest.update(block)
        return {"digest": digest.hexdigest()}

    @app.route("/stream")
    def stream() -> Response:
        def pieces() -> Iterator[str]:
            try:
                for number in range(5):
                    yield f"{request.args['word']} {number}\n"
                    gevent.sleep(0)
            finally:
                closed.append("stream")

        return Response(stream_with_context(pieces()), mimetype="text/plain")

    @app.route("/login", methods=["POST"])
    def login() -> Any:
        session["user"] = request.form["user"]
        return redirect("/me")

    @app.route("/me")
    def me() -> Any:
        return {"user": session.get("user")}

    @app.route("/file")
    def send() -> Any:
        return send_file(file, conditional=True)

    @app.route("/cached")
    def cached() -> Any:
        response = Response("fresh", mimetype="text/plain")
        response.set_etag("v1")
        return response.make_conditional(request)

    @app.route("/broken")
    def broken() -> Any:
        raise RuntimeError("secret detail")

    @app.route("/broken-stream")
    def broken_stream() -> Response:
        def pieces() -> Iterator[str]:
            yield "beginning\n"
            gevent.sleep(0)  # so that it has left
            raise RuntimeError("secret detail")

        return Response(pieces(), mimetype="text/plain")

    return app
