"""`Membership`: what a worker of ``gruvihttp serve --workers`` knows of its parent."""

from __future__ import annotations

import os
import random
import resource
import socket as stdlib_socket
import sys
from collections.abc import Callable, Iterable
from typing import Any

import gevent
from gevent import socket

from gruvihttp.commands.reloading import FILES
from gruvihttp.net.tls import TlsOption
from gruvihttp.processes.link import Link
from gruvihttp.processes.prefork import LEAVING, PULSE, REOPEN, STATS
from gruvihttp.processes.worker import READY, RELIEF, VARIABLE
from gruvihttp.server import HttpServer

__all__ = ["Membership", "resident_bytes"]

_STATM = "/proc/self/statm"
_LOOK_SECONDS = 2.0  # between two looks at how much memory is taken


def resident_bytes() -> int:
    """The memory that this process takes; where the system does not tell, the most that it has taken so far."""
    try:
        with open(_STATM) as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


class Membership:
    """The sockets that this worker is to serve, and the way to hear its parent and to tell it something."""

    def __init__(self, text: str) -> None:
        link, _, descriptors = text.partition(":")
        self._descriptors = [int(descriptor) for descriptor in descriptors.split(",")]
        for descriptor in (int(link), *self._descriptors):
            os.set_inheritable(descriptor, False)  # what the application starts is not to hold them open
        self._link = Link(socket.socket(fileno=int(link)))

    @classmethod
    def of_environment(cls) -> Membership | None:
        """That of this process; None if it is not a worker."""
        text = os.environ.pop(VARIABLE, None)
        return None if text is None else cls(text)

    def listen(self, server: HttpServer, context: TlsOption, senders: bool | Iterable[str]) -> None:
        """Serve the sockets that the parent has bound."""
        for descriptor in self._descriptors:
            sock = stdlib_socket.socket(fileno=descriptor)
            tls = False if sock.family == stdlib_socket.AF_UNIX else context
            server.listen(sock, tls, proxy_protocol=senders)

    def attend(self, server: HttpServer, reopen: Callable[[], object]) -> None:
        """Tell the parent that we serve, and do what it says; close the server when the parent has gone."""
        self._link.say(READY)
        gevent.spawn(self._listen, server, reopen)

    def _listen(self, server: HttpServer, reopen: Callable[[], object]) -> None:
        for word, _ in self._link.messages():
            if word == LEAVING:
                server.leave(0)
            elif word == REOPEN:
                reopen()
            elif word == PULSE:
                self._link.say(PULSE, True)
            elif word == STATS:
                self.tell_stats(server)
        server.close()

    def tell_stats(self, server: HttpServer) -> None:
        """Tell the parent what the server counts."""
        self._link.say(STATS, server.stats())

    def tell_files(self, files: list[str]) -> None:
        """Tell the parent which files a change of which is to be noticed."""
        self._link.say(FILES, files)

    def watch_memory(self, most: int) -> None:
        """Ask the parent for relief when this process takes more than `most` bytes of memory."""
        gevent.spawn(self._watch_memory, most)

    def _watch_memory(self, most: int) -> None:
        while (taken := resident_bytes()) <= most:
            gevent.sleep(_LOOK_SECONDS)
        self._link.say(RELIEF, f"takes {taken >> 20} MB of memory")

    def counting(self, application: Callable[..., Any], most: int, jitter: int) -> Callable[..., Any]:
        """The application, with the parent being asked for relief after `most` requests, and up to `jitter` more."""
        left = most + random.randint(0, jitter)

        def counted(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            nonlocal left
            left -= 1
            if left == 0:
                self._link.say(RELIEF)
            result: Iterable[bytes] = application(environ, start_response)
            return result

        return counted
