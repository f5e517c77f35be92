"""What systemd passes to ``gruvihttp serve``, and what it is told, with a stand-in for systemd."""

from __future__ import annotations

import os
import re
import signal
import socket as stdlib_socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from gevent import socket

GUARD = 20.0

# systemd dups what it passes to 3 and on, and says for whom it is; the pid is that of who executes the service
LAUNCH = """
import os, sys

given, names, *command = sys.argv[1:]
descriptors = [os.dup(int(one)) for one in given.split(",") if one]
for number, descriptor in enumerate(descriptors, 3):
    os.dup2(descriptor, number)
    os.set_inheritable(number, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(descriptors)), LISTEN_FDNAMES=names)
os.execv(sys.executable, [sys.executable, *command])
"""


class Manager:
    """The end of systemd: a socket that services send datagrams to."""

    def __init__(self, path: str) -> None:
        self.address = path
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind("\0" + path[1:] if path.startswith("@") else path)
        self._sock.settimeout(GUARD)

    def hear(self) -> list[str]:
        """The lines of the next datagram."""
        lines: list[str] = self._sock.recv(4096).decode().split("\n")
        return lines

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "notify"))
    yield made
    made.close()


@pytest.fixture
def activate(process: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """Starts a service with listening sockets, given as {name: address}."""
    with ExitStack() as stack:

        def start(sockets: dict[str, Any], *arguments: str, **variables: str) -> Any:
            listening = [stack.enter_context(_listen(address)) for address in sockets.values()]
            descriptors = ",".join(str(one.fileno()) for one in listening)
            started = process(
                *("-c", LAUNCH, descriptors, ":".join(sockets), "-m", "gruvihttp", "serve", "served:app"),
                *arguments,
                pass_fds=[one.fileno() for one in listening],
                variables=variables,
            )
            started.listening = listening
            return started

        yield start


def _listen(address: Any) -> stdlib_socket.socket:
    family = stdlib_socket.AF_UNIX if isinstance(address, str) else stdlib_socket.AF_INET
    sock = stdlib_socket.socket(family)
    sock.bind(address)
    sock.listen(64)
    return sock


def get(address: Any, path: str = "/") -> bytes:
    sock = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    sock.settimeout(GUARD)
    sock.connect(address)
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    return b"".join(iter(lambda: sock.recv(65536), b""))


FREE = ("127.0.0.1", 0)


# sockets that are passed


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_passed_sockets_are_served_and_stay_when_the_service_ends(
    activate: Any, tmp_path: Path, workers: list[str]
) -> None:
    path = str(tmp_path / "a.sock")
    service = activate({"web": FREE, "local": path}, "--systemd", *workers)
    address = service.listening[0].getsockname()
    said = service.wait_for(rf"serving served:app at http://127\.0\.0\.1:{address[1]}(?: and|,) (unix:\S+)")
    assert said[1] == f"unix:{path}"
    assert get(address, "/tcp").endswith(b" /tcp")
    assert get(path, "/unix").endswith(b" /unix")
    assert service.end(signal.SIGTERM) == 0
    assert os.path.exists(path)
    waiting = socket.create_connection(address, timeout=GUARD)  # systemd's own descriptor keeps it listening
    waiting.close()


def test_connection_that_comes_before_the_service_is_served(activate: Any) -> None:
    service = activate({"web": FREE}, "--systemd")
    assert get(service.listening[0].getsockname(), "/early").endswith(b" /early")


def test_socket_is_chosen_by_its_name(activate: Any) -> None:
    service = activate({"web": FREE, "numbers": FREE}, "--bind", "systemd", "--metrics-bind", "systemd:numbers")
    web, numbers = (one.getsockname() for one in service.listening)
    service.wait_for(rf"serving served:app at http://127\.0\.0\.1:{web[1]} \(")
    assert get(web).endswith(b" /")
    assert b"gruvihttp_requests_total 1\n" in get(numbers, "/metrics")


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["alone", "worker"])
def test_descriptor_is_served(process: Any, listener: stdlib_socket.socket, workers: list[str]) -> None:
    descriptor = listener.fileno()
    options = ["--bind", f"fd://{descriptor}", *workers]
    process("-m", "gruvihttp", "serve", "served:app", *options, pass_fds=[descriptor])
    assert get(listener.getsockname(), "/fd").endswith(b" /fd")


MISTAKES = {
    "none": ({}, ["--systemd"], 2, "systemd has passed no sockets", "start it by its .socket unit"),
    "other-name": (
        {"web": FREE}, ["--bind", "systemd:wbe"], 2,
        "systemd has passed no socket with the name 'wbe'", "there are: web;",
    ),
    "no-socket": (
        {}, ["--bind", "fd://0"], 4, r"cannot listen on fd://0: descriptor 0 is no socket", "pass a listening",
    ),
    "no-number": ({}, ["--bind", "fd://web"], 2, "cannot listen on 'fd://web': it has no number", "write fd://3"),
}  # fmt: skip


@pytest.mark.parametrize(("sockets", "options", "code", "what", "advice"), MISTAKES.values(), ids=MISTAKES)
def test_socket_that_is_not_there_is_a_mistake(
    activate: Any, sockets: Any, options: list[str], code: int, what: str, advice: str
) -> None:
    service = activate(sockets, *options)
    assert service.wait() == code
    assert re.search(f"^gruvihttp: {what}.*\n  {advice}", service.said)


def test_socket_that_does_not_listen_is_a_mistake(process: Any) -> None:
    with stdlib_socket.socket() as sock:
        options = ["--bind", f"fd://{sock.fileno()}"]
        started = process("-m", "gruvihttp", "serve", "served:app", *options, pass_fds=[sock.fileno()])
        assert started.wait() == 4
    assert "is a socket that does not listen" in started.said


# what it tells


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_service_tells_when_it_is_ready_and_when_it_stops(
    activate: Any, manager: Manager, workers: list[str]
) -> None:
    service = activate({"web": FREE}, "--systemd", *workers, NOTIFY_SOCKET=manager.address)
    assert manager.hear() == ["READY=1"]
    assert get(service.listening[0].getsockname()).endswith(b" /")
    service.send(signal.SIGTERM)
    assert manager.hear() == ["STOPPING=1"]
    assert service.wait() == 0


def test_service_is_told_of_by_an_abstract_socket(activate: Any, tmp_path: Path) -> None:
    manager = Manager(f"@{tmp_path.name}-{os.getpid()}")
    activate({"web": FREE}, "--systemd", NOTIFY_SOCKET=manager.address)
    assert manager.hear() == ["READY=1"]
    manager.close()


def test_service_that_cannot_begin_is_never_ready(activate: Any, manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "served.py").write_text("raise RuntimeError")
    assert activate({"web": FREE}, "--systemd", "--workers", "2", NOTIFY_SOCKET=manager.address).wait() == 3
    manager._sock.setblocking(False)
    with pytest.raises(BlockingIOError):
        manager.hear()


@pytest.mark.parametrize("options", [["--workers", "2"], []], ids=["workers", "alone"])
def test_reload_is_told_with_its_begin_and_its_end(activate: Any, manager: Manager, options: list[str]) -> None:
    service = activate({"web": FREE}, "--systemd", *options, NOTIFY_SOCKET=manager.address)
    assert manager.hear() == ["READY=1"]
    service.send(signal.SIGHUP)
    reloading, moment = manager.hear()
    assert (reloading, moment.partition("=")[0]) == ("RELOADING=1", "MONOTONIC_USEC")
    assert manager.hear() == ["READY=1"]
    assert service.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["alone", "worker"])
def test_watchdog_is_fed(activate: Any, manager: Manager, workers: list[str]) -> None:
    variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "200000"}
    service = activate({"web": FREE}, "--systemd", *workers, **variables)
    assert [manager.hear() for _ in range(4)] == [["READY=1"], ["WATCHDOG=1"], ["WATCHDOG=1"], ["WATCHDOG=1"]]
    assert service.end(signal.SIGTERM) == 0


def test_watchdog_of_another_process_is_not_fed(activate: Any, manager: Manager) -> None:
    variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}
    service = activate({"web": FREE}, "--systemd", **variables)
    assert manager.hear() == ["READY=1"]
    service.send(signal.SIGTERM)
    assert manager.hear() == ["STOPPING=1"]


def test_worker_that_hangs_is_replaced_where_systemd_watches(activate: Any, manager: Manager) -> None:
    variables = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "2000000"}
    service = activate({"web": FREE}, "--systemd", "--workers", "1", **variables)
    assert manager.hear() == ["READY=1"]
    address = service.listening[0].getsockname()
    sock = socket.create_connection(address)
    sock.sendall(b"GET /hang HTTP/1.1\r\nHost: a\r\n\r\n")
    service.wait_for(r"worker \d+ has not answered for 2 s, and is killed")
    assert get(address, "/after").endswith(b" /after")
    assert service.end(signal.SIGTERM) == 0


def test_children_of_the_application_do_not_speak_for_the_service(
    activate: Any, manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "served.py").write_text(
        "import os\n"
        "def app(environ, start_response):\n"
        "    start_response('200 OK', [])\n"
        "    return [repr([key for key in os.environ if key.startswith(('LISTEN', 'NOTIFY', 'WATCHDOG'))]).encode()]\n"
    )
    service = activate({"web": FREE}, "--systemd", NOTIFY_SOCKET=manager.address, WATCHDOG_USEC="60000000")
    assert get(service.listening[0].getsockname()).endswith(b"\r\n\r\n[]")
