"""Post a file over HTTP/2, and print the answer: its status and fields, an empty line, its content.

    python h2_post.py https://localhost:8443/upload FILE
    python h2_post.py https://localhost:8443/upload

Without FILE it posts itself. The file is sent as fast as the server's windows allow, which is what flow control means;
an answer that comes before all was sent, such as 413, ends the upload. With http:// the server must be known to speak
HTTP/2. To trust a certificate of your own, set SSL_CERT_FILE to that of its authority.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gruvihttp import Error, Http2Client, parse_url


def post(url: str, path: Path) -> None:
    """Send a file and print what comes back."""
    parsed = parse_url(url)
    with Http2Client(timeout=30) as client:
        # the protocol is agreed on by TLS (ALPN): a server that does not speak HTTP/2 hears nothing from us
        client.connect(parsed.addr, ssl=parsed.ssl)
        # Content-Length, Content-Type and Content-Encoding are those of the file
        request = client.upload("POST", parsed.target, path)
        response = request.getresponse()
        print(f":status: {response.status}")
        for name, value in response.headers:
            print(f"{name}: {value}")
        print(flush=True)
        while piece := response.read1():
            sys.stdout.buffer.write(piece)
        for name, value in response.trailers:
            print(f"{name}: {value}")


def main(arguments: list[str]) -> int:
    match arguments:
        case [url]:
            path = Path(__file__)
        case [url, name]:
            path = Path(name)
        case _:
            print(f"usage: {sys.argv[0]} URL [FILE]", file=sys.stderr)
            return 2
    try:
        post(url, path)
    except (Error, OSError, ValueError) as exc:
        print(f"{sys.argv[0]}: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
