"""A WSGI application on gruvihttp's server.

    python wsgi_hello.py 127.0.0.1 8080

Any WSGI application goes in the place of `hello`: Flask's, Django's, Bottle's. Ctrl-C ends it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from gruvihttp import HttpServer


def hello(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    name = environ["PATH_INFO"].strip("/").encode("latin-1").decode("utf-8", "replace") or "World"
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [f"Hello, {name}!\n".encode()]


def main(host: str, port: int) -> None:
    server = HttpServer(hello)
    server.listen((host, port))
    print("listening on", *(f"http://{host}:{address[1]}/" for address in server.addresses), flush=True)
    server.run()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(f"usage: {sys.argv[0]} HOST PORT")
    main(sys.argv[1], int(sys.argv[2]))
