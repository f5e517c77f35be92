"""Upload content whose length and checksum are known only when it has been sent.

    python upload_with_trailers.py serve 127.0.0.1 8080
    python upload_with_trailers.py send 127.0.0.1 8080 FILE

The content goes in chunks, so its length need not be known; the checksum follows in the trailer section, so the file
is read once and never held in memory. On the server, an application finds trailers in
``environ["gruvihttp.request_trailers"]`` once it has read the content to its end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from gruvihttp import Error, HttpClient, HttpServer

PIECE_BYTES = 65536


def upload(host: str, port: int, path: Path) -> tuple[int, str]:
    """Send a file. Status and text of the answer."""
    checksum = sha256()
    with HttpClient(timeout=30) as client, path.open("rb") as file:
        client.connect((host, port))
        # body=None: only the head goes out, and the content is up to us
        request = client.request("PUT", f"/{quote(path.name)}", [("Trailer", "X-SHA256")], body=None)
        while piece := file.read(PIECE_BYTES):
            checksum.update(piece)
            request.write(piece)
        request.end_request([("X-SHA256", checksum.hexdigest())])
        response = client.getresponse()
        return response.status, response.read().decode("utf-8")


def receive(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """A WSGI application that takes an upload, and says whether it arrived as it was sent."""
    checksum, received = sha256(), 0
    while piece := environ["wsgi.input"].read(PIECE_BYTES):
        checksum.update(piece)
        received += len(piece)
    trailers = {name.lower(): value for name, value in environ["gruvihttp.request_trailers"]}
    if trailers.get("x-sha256") == checksum.hexdigest():
        start_response("201 Created", [("Content-Type", "text/plain")])
        return [b"%d bytes, and the checksum is right\n" % received]
    start_response("422 Unprocessable Content", [("Content-Type", "text/plain")])
    return [b"the checksum is missing or wrong\n"]


def serve(host: str, port: int) -> None:
    server = HttpServer(receive)
    server.listen((host, port))
    print(f"listening on http://{host}:{server.address[1]}/", flush=True)
    server.run()


def main(arguments: list[str]) -> int:
    match arguments:
        case ["serve", host, port]:
            serve(host, int(port))
            return 0
        case ["send", host, port, name]:
            status, text = upload(host, int(port), Path(name))
            print(status, text, end="")
            return 0 if status == 201 else 1
    print(f"usage: {sys.argv[0]} serve HOST PORT | send HOST PORT FILE", file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        raise SystemExit(main(sys.argv[1:]))
    except (Error, OSError, ValueError) as exc:
        raise SystemExit(f"{sys.argv[0]}: {exc}") from None
