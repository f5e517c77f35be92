"""What systemd and a service say to each other: sockets that it has passed, and how the service is.

It is all in environment variables, descriptors and datagrams, see sd_listen_fds(3) and sd_notify(3); nothing of
systemd's is needed. What is served is not known here.
"""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from contextlib import suppress
from time import CLOCK_MONOTONIC, clock_gettime_ns
from typing import NamedTuple

import gevent
from gevent import socket

__all__ = ["Notifier", "PassedSocket", "passed_sockets"]

_FIRST = 3  # SD_LISTEN_FDS_START


class PassedSocket(NamedTuple):
    """A descriptor, and the name that its .socket unit has given it (FileDescriptorName=)."""

    descriptor: int
    name: str


def passed_sockets(environ: MutableMapping[str, str] = os.environ) -> list[PassedSocket]:
    """The sockets that systemd has passed to this process. They leave `environ`, and no child inherits them."""
    pid, count, names = (environ.pop(f"LISTEN_{name}", "") for name in ("PID", "FDS", "FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    descriptors = range(_FIRST, _FIRST + int(count))
    for descriptor in descriptors:
        with suppress(OSError):  # if it is not open, listening there will fail
            os.set_inheritable(descriptor, False)
    given = names.split(":") if names else []
    return [
        PassedSocket(descriptor, given[number] if number < len(given) else "unknown")  # as sd_listen_fds_with_names(3)
        for number, descriptor in enumerate(descriptors)
    ]


class Notifier:
    """Tells systemd how the service is, if it has asked. Without `address` nothing is told.

    `watchdog` is after how many seconds of silence systemd takes the service for dead; None if it does not watch.
    """

    def __init__(self, address: str | None = None, watchdog: float | None = None) -> None:
        self._address = None if address is None else "\0" + address[1:] if address.startswith("@") else address
        self.watchdog = watchdog

    @classmethod
    def of_environment(cls, environ: MutableMapping[str, str] = os.environ) -> Notifier:
        """That of this process. What it needs is taken out of `environ`, so that no child speaks for us."""
        address, period, pid = (environ.pop(name, "") for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"))
        if not address:
            return cls()
        watched = period.isdecimal() and pid in ("", str(os.getpid()))
        return cls(address, int(period) / 1e6 if watched else None)

    @property
    def is_heard(self) -> bool:
        """Whether systemd has asked to be told."""
        return self._address is not None

    def ready(self, status: str = "") -> None:
        """It serves, for the first time or after a reload."""
        self._tell("READY=1", *([f"STATUS={status}"] if status else []))

    def reloading(self) -> None:
        """It loads something anew; `ready` is to follow."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={clock_gettime_ns(CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """It is about to end."""
        self._tell("STOPPING=1")

    def alive(self) -> None:
        """It is not dead."""
        self._tell("WATCHDOG=1")

    def keep_alive(self) -> None:
        """Tell that from a greenlet from now on, for as long as greenlets run. Does nothing without a watchdog."""
        if self.watchdog is not None:
            gevent.spawn(self._keep_alive, self.watchdog / 2)

    def _keep_alive(self, seconds: float) -> None:
        while True:
            self.alive()
            gevent.sleep(seconds)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        # if systemd is not there, it need not be told
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.sendto("\n".join(lines).encode(), self._address)
