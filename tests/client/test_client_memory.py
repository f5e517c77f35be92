"""Whatever the amounts, a client holds little of them. Each figure is that of a process of its own.

What is measured is the memory that is resident, at its highest; what comes back is checked, too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gevent.event import Event

from gruvihttp.testing import RawPeer

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

KIB = 1024
MIB = 1024 * KIB
COUNT = 1000
MOST_BYTES = 32 * MIB  # less than a half of what goes either way

# What all the clients begin with. They print how much memory they took on top of what they had after a first exchange.
COMMON = """
import json, sys, resource
from pathlib import Path
from gruvihttp import HttpClient

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def look():
    global most
    most = max(most, resident())

address = json.loads(sys.argv[1])
method, url, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
client = HttpClient(timeout=30)
client.connect(tuple(address) if isinstance(address, list) else address)
SIZE = 65536
"""

# all requests, then all responses
PIPELINING = COMMON + """
body = b"x" * SIZE if method == "POST" else b""

def ask():
    client.request(method, url, body=body)

def collect():
    response = client.getresponse()
    assert response.status == 200, response
    assert response.read() == b"x" * SIZE

if url != "/after-all":
    ask()
    collect()
start = most = resident()
for number in range(count):
    ask()
    look()
for number in range(count):
    collect()
    look()
print(most - start)
"""

# bodies far larger than what may be held: `count` MiB
STREAMING = COMMON + """
MIB = 1024 * 1024
start = most = resident()
if method == "GET":
    client.request("GET", url)
    response = client.getresponse()
    total = 0
    while piece := response.read1():
        total += len(piece)
        look()
else:
    def body():
        for number in range(count):
            look()
            yield b"x" * MIB

    if url == "/file":
        with open(sys.argv[5], "rb") as file:
            client.request("POST", "/", body=file)
    elif url == "/path":
        client.upload("POST", "/", sys.argv[5])
    else:
        client.request("POST", "/", body=body())
    total = int(client.getresponse().read())
look()
assert total == count * MIB, total
print(most - start)
"""

# A server of few lines: it reads `at_once` requests to their ends, one after another, and then answers them.
RAW_SERVER = """
import socket, sys
at_once = int(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
stream = connection.makefile("rb")

def read_request():
    length = 0
    if not (line := stream.readline()):
        return False
    while line not in (b"\\r\\n", b""):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
        line = stream.readline()
    stream.read(length)
    return True

while all(read_request() for _ in range(at_once)):
    for _ in range(at_once):
        connection.sendall(b"HTTP/1.1 200 OK\\r\\nContent-Length: 65536\\r\\n\\r\\n" + b"x" * 65536)
"""

OUR_SERVER = """
from gruvihttp import HttpServer

def application(environ, start_response):
    start_response("200 OK", [])
    read = environ["wsgi.input"].read1
    if environ["PATH_INFO"] == "/stream":
        return (b"x" * 65536 for _ in range(int(environ["QUERY_STRING"]) * 16))
    if environ["PATH_INFO"] == "/64-kib":
        return [environ["wsgi.input"].read() or b"x" * 65536]
    total = 0
    while piece := read():
        total += len(piece)
    return [b"%d" % total]

server = HttpServer(application)
server.listen(("127.0.0.1", 0))
print(server.address[1], flush=True)
server.run()
"""


@pytest.fixture
def take(start: Any) -> Callable[..., int]:
    """Runs one of the programs above; returns the bytes that it took."""

    def run(program: str, address: Any, *arguments: object) -> int:
        client = start(program, json.dumps(address), *map(str, arguments))
        written, _ = client.communicate(timeout=50)
        assert client.returncode == 0
        return int(written)

    return run


@pytest.fixture
def our_server(start: Any) -> tuple[str, int]:
    """A server of ours, in another process."""
    return listening(start(OUR_SERVER))


def listening(server: subprocess.Popen[str]) -> tuple[str, int]:
    assert server.stdout is not None
    return ("127.0.0.1", int(server.stdout.readline()))


def test_g64_thousand_large_requests_leave_before_the_first_response_is_read(
    start: Any, take: Any, our_server: Any
) -> None:
    assert take(PIPELINING, our_server, "POST", "/64-kib", COUNT) < MOST_BYTES


def test_g64_thousand_large_requests_to_a_server_that_answers_each_before_it_reads_on(start: Any, take: Any) -> None:
    assert take(PIPELINING, listening(start(RAW_SERVER, "1")), "POST", "/", COUNT) < MOST_BYTES


def test_g64_thousand_large_requests_to_a_server_that_answers_after_all(start: Any, take: Any) -> None:
    assert take(PIPELINING, listening(start(RAW_SERVER, str(COUNT))), "POST", "/after-all", COUNT) < MOST_BYTES


def test_g64_thousand_large_requests_to_nginx(nginx: str, take: Any) -> None:
    patient = str(Path(nginx).with_name("patient"))
    assert take(PIPELINING, patient, "POST", "/upload", COUNT) < MOST_BYTES


def test_g64_thousand_large_responses_wait_in_little_memory(take: Any, our_server: Any) -> None:
    assert take(PIPELINING, our_server, "GET", "/64-kib", COUNT) < MOST_BYTES


def test_g64_thousand_large_responses_of_nginx(nginx: str, take: Any) -> None:
    patient = str(Path(nginx).with_name("patient"))
    assert take(PIPELINING, patient, "GET", "/64-kib", COUNT) < MOST_BYTES


MANY_MIB = 128


def test_download_is_read_in_little_memory(take: Any, our_server: Any) -> None:
    assert take(STREAMING, our_server, "GET", f"/stream?{MANY_MIB}", MANY_MIB) < 8 * MIB


@pytest.mark.parametrize("source", ["generator", "file", "path"])
def test_g55_g56_upload_is_sent_in_little_memory(take: Any, our_server: Any, tmp_path: Path, source: str) -> None:
    large = tmp_path / "sparse"
    with large.open("wb") as file:
        file.truncate(MANY_MIB * MIB)
    assert take(STREAMING, our_server, "POST", f"/{source}", MANY_MIB, large) < 8 * MIB


def test_s22_unread_response_is_left_to_the_network(connect: Any) -> None:
    """What nobody reads is not received: the server feels it, and goes on once somebody reads."""
    sent_bytes = [0]
    stuck = Event()

    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (64 * MIB))
        while sent_bytes[0] < 64 * MIB:
            rest = peer.channel.try_send(b"x" * MIB)
            sent_bytes[0] += MIB - len(rest)
            if rest:
                stuck.set()
                peer.channel.send(rest, stall=30)
                sent_bytes[0] += len(rest)

    client = connect(script)
    client.request("GET", "/")
    response = client.getresponse()
    assert stuck.wait(10)
    assert response.body.buffer_size <= 256 * KIB
    assert len(response.read()) == 64 * MIB
    assert sent_bytes[0] == 64 * MIB
