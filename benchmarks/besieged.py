"""The server that has to stand something; for abuse, with short deadlines so that each is soon over.

`python -m benchmarks.besieged CERTIFICATE short|default` serves for ever and prints the ports, with and without TLS.
"""

from __future__ import annotations

import resource
import ssl
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import gevent

from gruvihttp import HttpServer
from gruvihttp.limits import Limits, Timeouts

__all__ = ["application"]

_SHORT = 0.3
_TIMEOUTS = Timeouts(handshake=_SHORT, first_byte=_SHORT, head=_SHORT, content=_SHORT, write=_SHORT, linger=_SHORT)
_LIMITS = Limits(content_bytes=1 << 31, content_rate=1000)
_BLOCK = b"x" * 65536
_WORKING_SECONDS = 0.01


def _endless() -> Iterator[bytes]:
    while True:
        yield _BLOCK


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Says hello, at once or after a while; reads what is posted; or sends without end."""
    path = environ["PATH_INFO"]
    content: Iterable[bytes] = [b"Hello, World!\n"]
    if path == "/read":
        while environ["wsgi.input"].read(65536):
            pass
    elif path == "/endless":
        content = _endless()
    elif path == "/work":
        gevent.sleep(_WORKING_SECONDS)  # as if it asked a database
    start_response("200 OK", [("Content-Type", "text/plain")])
    return content


def main(certificate: str, deadlines: str) -> None:
    """Serve for ever."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = HttpServer(application, limits=_LIMITS, timeouts=_TIMEOUTS if deadlines == "short" else None)
    server.listen(("127.0.0.1", 0))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server.listen(("127.0.0.1", 0), context)
    print(*[port for _, port in server.addresses], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
