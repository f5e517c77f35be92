"""How each client moves one large body down or up, on one connection.

`python -m benchmarks.transfers NAME TRANSFER PORT MIB FILE` prints one line of JSON: a unit of work is a MiB. What is
measured begins when the client is imported, connected and warm, and ends with the answer; its peak of memory is what
the process took on top of what it had before.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from gevent import monkey
from gevent import socket as gevent_socket

from benchmarks.accounting import own_cpu_seconds
from benchmarks.results import Sample

__all__ = ["MOVERS", "TRANSFERS", "Mover", "Transfer"]

_HOST = "127.0.0.1"
_DOOR = "gruvihttp.compat.http_client"
_MIB = 1 << 20
_READ_BYTES = 65536  # at a time, by clients that have to be told
_PIECE = bytes(32768)  # of a generator
_WARMING_BYTES = 4 * _MIB


@dataclass(frozen=True)
class Transfer:
    name: str
    meaning: str


TRANSFERS = {
    transfer.name: transfer
    for transfer in (
        Transfer("download", "one response, read in pieces as they come"),
        Transfer("upload-file", "one request, its body a file of known size"),
        Transfer("upload-generator", "one request, its body a generator of 32 KiB pieces, chunked"),
    )
}


class Wire:
    """What a client can do on one connection. Each method returns when the answer is here."""

    def __init__(self, port: int) -> None:
        self.port = port

    def download(self, size: int) -> int:
        """How many bytes have come."""
        raise NotImplementedError

    def upload_file(self, path: str, size: int) -> None:
        """Send what is in a file."""
        raise NotImplementedError

    def upload_generator(self, size: int) -> None:
        """Send so many bytes from a generator."""
        raise NotImplementedError


@dataclass(frozen=True)
class Mover:
    """`needs` is `module` or `module:attribute`; a patched client uses the standard library's blocking sockets."""

    name: str
    needs: str
    wire: Callable[[int], Wire]
    is_patched: bool = False


def _pieces(size: int) -> Iterator[bytes]:
    for _ in range(size // len(_PIECE)):
        yield _PIECE


class _Sockets(Wire):
    """The floor: gevent's own sockets, and nothing of HTTP but canned heads."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._sock = gevent_socket.create_connection((_HOST, port))

    def download(self, size: int) -> int:
        self._sock.sendall(b"GET /%d HTTP/1.1\r\n\r\n" % size)
        head = self._sock.recv(_READ_BYTES)
        left = size - len(head.partition(b"\r\n\r\n")[2])
        while left:
            left -= len(self._sock.recv(_READ_BYTES))
        return size

    def upload_file(self, path: str, size: int) -> None:
        with open(path, "rb") as file:
            self._upload(iter(lambda: file.read(_READ_BYTES), b""), size)

    def upload_generator(self, size: int) -> None:
        self._upload(_pieces(size), size)

    def _upload(self, pieces: Iterator[bytes], size: int) -> None:
        self._sock.sendall(b"PUT / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
        for piece in pieces:
            self._sock.sendall(piece)
        self._sock.recv(_READ_BYTES)


class _Gruvihttp(Wire):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._client = import_module("gruvihttp").HttpClient()
        self._client.connect((_HOST, port))

    def download(self, size: int) -> int:
        self._client.request("GET", f"/{size}")
        read, total = self._client.getresponse().read1, 0
        while piece := read():
            total += len(piece)
        return total

    def upload_file(self, path: str, size: int) -> None:
        self._client.upload("PUT", "/", path)
        self._client.getresponse().read()

    def upload_generator(self, size: int) -> None:
        self._client.request("PUT", "/", body=_pieces(size))
        self._client.getresponse().read()


class _Pool(Wire):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._pool = import_module("gruvihttp").HttpPool()
        self._url = f"http://{_HOST}:{port}/"

    def download(self, size: int) -> int:
        with self._pool.get(f"{self._url}{size}", stream=True) as response:
            return sum(map(len, response.iter_content()))

    def upload_file(self, path: str, size: int) -> None:
        with open(path, "rb") as file:
            self._pool.put(self._url, body=file, headers={"Content-Length": str(size)})

    def upload_generator(self, size: int) -> None:
        self._pool.put(self._url, body=_pieces(size))


class _HttpClient(Wire):
    """`http.client`, or what stands in for it."""

    def __init__(self, port: int, module: str = "http.client") -> None:
        super().__init__(port)
        self._connection = import_module(module).HTTPConnection(_HOST, port, blocksize=_READ_BYTES)

    def download(self, size: int) -> int:
        self._connection.request("GET", f"/{size}")
        response, total = self._connection.getresponse(), 0
        while piece := response.read(_READ_BYTES):
            total += len(piece)
        return total

    def upload_file(self, path: str, size: int) -> None:
        with open(path, "rb") as file:
            self._connection.request("PUT", "/", file, {"Content-Length": str(size)})
        self._connection.getresponse().read()

    def upload_generator(self, size: int) -> None:
        self._connection.request("PUT", "/", _pieces(size), encode_chunked=True)
        self._connection.getresponse().read()


def _door(port: int) -> Wire:
    return _HttpClient(port, _DOOR)


class _Pycurl(Wire):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._pycurl = import_module("pycurl")
        self._curl = self._pycurl.Curl()

    def _perform(self, target: str, write: Callable[[bytes], Any], options: dict[str, Any]) -> None:
        self._curl.reset()  # the connection stays
        self._curl.setopt(self._pycurl.URL, f"http://{_HOST}:{self.port}/{target}")
        self._curl.setopt(self._pycurl.WRITEFUNCTION, write)
        for name, value in options.items():
            self._curl.setopt(getattr(self._pycurl, name), value)
        self._curl.perform()

    def download(self, size: int) -> int:
        total = 0

        def write(piece: bytes) -> None:
            nonlocal total
            total += len(piece)

        self._perform(str(size), write, {})
        return total

    def upload_file(self, path: str, size: int) -> None:
        with open(path, "rb") as file:
            options = {"UPLOAD": 1, "READDATA": file, "INFILESIZE_LARGE": size, "HTTPHEADER": ["Expect:"]}
            self._perform("", len, options)

    def upload_generator(self, size: int) -> None:
        pieces = _pieces(size)
        self._perform("", len, {
            "UPLOAD": 1, "READFUNCTION": lambda most: next(pieces, b""),
            "HTTPHEADER": ["Expect:", "Transfer-Encoding: chunked"],
        })  # fmt: skip


class _Geventhttpclient(Wire):
    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._client = import_module("geventhttpclient").HTTPClient(_HOST, port, concurrency=1, block_size=_READ_BYTES)

    def download(self, size: int) -> int:
        response, total = self._client.get(f"/{size}"), 0
        while piece := response.read(_READ_BYTES):
            total += len(piece)
        return total

    def upload_file(self, path: str, size: int) -> None:
        with open(path, "rb") as file:
            self._client.request("PUT", "/", body=file, headers={"Content-Length": str(size)}).read()

    def upload_generator(self, size: int) -> None:
        self._client.request("PUT", "/", body=_pieces(size)).read()


MOVERS = {
    mover.name: mover
    for mover in (
        Mover("floor-sockets", "gevent", _Sockets),
        Mover("gruvihttp", "gruvihttp:HttpClient", _Gruvihttp),
        Mover("gruvihttp-pool", "gruvihttp:HttpPool", _Pool),
        Mover("gruvihttp-http.client", _DOOR, _door),
        Mover("pycurl", "pycurl", _Pycurl),
        Mover("geventhttpclient", "geventhttpclient", _Geventhttpclient),
        Mover("http.client", "http.client", _HttpClient, is_patched=True),
    )
}


def measure(mover: Mover, transfer: str, port: int, mib: int, path: str) -> Sample:
    """Move `mib` MiB in this process and return what that cost."""
    wire = mover.wire(port)
    act = {
        "download": lambda size: wire.download(size),
        "upload-file": lambda size: wire.upload_file(path, size),
        "upload-generator": lambda size: wire.upload_generator(size),
    }[transfer]
    if transfer == "upload-file":
        _read_once(path)
    else:
        act(_WARMING_BYTES)
    before_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, cpu = time.monotonic(), own_cpu_seconds()
    moved = act(mib * _MIB)
    sample_cpu, sample_wall = own_cpu_seconds() - cpu, time.monotonic() - wall
    assert transfer != "download" or moved == mib * _MIB, f"received {moved} bytes"
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before_bytes
    return Sample(mib, sample_cpu, sample_wall, taken)


def _read_once(path: str) -> None:
    """What is measured is not the disk."""
    with Path(path).open("rb", buffering=0) as file:
        while file.read(_MIB):
            pass


if __name__ == "__main__":
    name, transfer_name, port_given, mib_given, file_name = sys.argv[1:]
    if MOVERS[name].is_patched:
        monkey.patch_all()
    print(measure(MOVERS[name], transfer_name, int(port_given), int(mib_given), file_name).to_json())
