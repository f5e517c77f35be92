"""What is asked of a server, and what it must answer: the same bytes for every server and every load generator."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BROWSER_HEAD", "CONTENT", "SMALL_HEAD", "WORKLOADS", "Workload"]

CONTENT = b"Hello, World!\n"
_LARGE = b"0123456789abcdef" * 4096  # 64 KiB
_POSTED = b"0123456789abcdef" * 64  # 1 KiB

# The port in Host is not the server's: a name of constant length keeps the bytes the same in all runs.
_HOST = b"Host: 127.0.0.1:8000\r\n"

SMALL_HEAD = b"GET / HTTP/1.1\r\n" + _HOST + b"\r\n"

# Twelve fields, in the order and of the size that a desktop browser sends them.
BROWSER_HEAD = (
    b"GET /articles/2024/index.html?page=2&order=date HTTP/1.1\r\n" + _HOST + b"Connection: keep-alive\r\n"
    b"Cache-Control: max-age=0\r\n"
    b'sec-ch-ua: "Chromium";v="120", "Not A Brand";v="99"\r\n'
    b"Upgrade-Insecure-Requests: 1\r\n"
    b"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    b"Chrome/120.0.0.0 Safari/537.36\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    b"Sec-Fetch-Site: same-origin\r\n"
    b"Referer: http://127.0.0.1:8000/articles/\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\n"
    b"Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    b"Cookie: session=8d5f2c9b7a1e4f60; theme=dark; consent=1\r\n"
    b"\r\n"
)

_POST = b"POST / HTTP/1.1\r\n" + _HOST + b"Content-Length: %d\r\n\r\n" % len(_POSTED) + _POSTED


@dataclass(frozen=True)
class Workload:
    """One kind of exchange; `request` is sent `depth` times in one write, before any answer is awaited."""

    name: str
    meaning: str
    request: bytes
    content: bytes  # of the answer
    depth: int = 1

    @property
    def burst(self) -> bytes:
        """What is written at once."""
        return self.request * self.depth


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("hello", "GET with 1 field, 14 bytes back", SMALL_HEAD, CONTENT),
        Workload("browser", "GET with 12 browser fields, 14 bytes back", BROWSER_HEAD, CONTENT),
        Workload("pipelined", "10 pipelined GETs at a time, 14 bytes back each", SMALL_HEAD, CONTENT, depth=10),
        Workload("large", "GET with 1 field, 64 KiB back", SMALL_HEAD, _LARGE),
        Workload("echo", "POST of 1 KiB, the same back", _POST, _POSTED),
    )
}
