"""Addresses to listen on: from what people write behind ``--bind`` to what a server takes, and back to a URL."""

from __future__ import annotations

import re
from typing import NamedTuple

from gruvihttp.commands.mistakes import UsageMistake

__all__ = ["Bind", "parse_bind", "parse_mode"]

DEFAULT_HOST = "127.0.0.1"

_PORT = re.compile(r"[0-9]{1,5}")
_MODE = re.compile(r"0?[0-7]{3}")
_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%[^\]]+)?)\]|([^\[\]:/]*)):([0-9]{1,5})")
# what a browser can open for an address that means all of them
_WILDCARDS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


class Bind(NamedTuple):
    """One value of ``--bind``.

    `address` is (host, port), the path of a Unix socket, or the descriptor of a socket that listens already; what that
    `listens_at`, only who looks at the socket can tell. `passed_name` is that of sockets which systemd has passed, or
    empty for all of them; there is no address then.
    """

    text: str
    address: tuple[str, int] | str | int
    passed_name: str | None = None
    listens_at: tuple[str, int] | str | None = None

    @property
    def where(self) -> tuple[str, int] | str | None:
        """(host, port), or the path of a Unix socket; None if only the system can tell."""
        return self.listens_at if isinstance(self.address, int) else self.address

    @property
    def descriptor(self) -> int | None:
        """The descriptor of a socket that listens already; None if it is to be bound."""
        return self.address if isinstance(self.address, int) else None

    @property
    def is_unix(self) -> bool:
        """Is it a Unix socket?"""
        return isinstance(self.where, str)

    @property
    def port(self) -> int:
        """The port; 0 where there is none."""
        return self.where[1] if isinstance(self.where, tuple) else 0

    def place(self, port: int, *, tls: bool) -> str:
        """Where to find what listens there, at `port`: a URL for a browser, or ``unix:/path``."""
        where = self.where
        if isinstance(where, str):
            return f"unix:{where.replace(chr(0), '@')}"
        if where is None:
            return self.text
        host = _WILDCARDS.get(where[0], where[0])
        shown = f"[{host}]" if ":" in host else host
        everywhere = ", on all interfaces" if where[0] in _WILDCARDS else ""
        return f"{'https' if tls else 'http'}://{shown}:{port}{everywhere}"

    def next(self) -> str:
        """The address with the next port, as one writes it."""
        host, colon, _ = self.text.rpartition(":")
        return f"{host}{colon}{self.port + 1 if self.port < 65535 else 8000}"


def parse_bind(text: str) -> Bind:
    """Understand what people write.

    That is ``host:port``, ``port``, ``:port`` (all interfaces), ``[::1]:port``, ``unix:path``, ``unix:@name``,
    ``fd://3``, ``systemd`` and ``systemd:name``.

    Raises UsageMistake that says how to write what was probably meant.
    """
    if text.startswith("unix:"):
        path = text.removeprefix("unix:")
        if path in ("", "@"):
            raise _refuse(text, "it has no path", "write unix:/path/to/socket")
        if ":" in path and "/" not in path:  # a server would take it for host:port
            path = f"./{path}"
        return Bind(text, "\0" + path[1:] if path[0] == "@" else path)
    if text == "systemd" or text.startswith("systemd:"):
        return Bind(text, -1, passed_name=text.partition(":")[2])
    if text.startswith("fd:"):
        number = text.removeprefix("fd:").removeprefix("//")
        if not number.isdecimal():
            raise _refuse(text, "it has no number", "write fd://3")
        return Bind(text, int(number))
    if _PORT.fullmatch(text):
        return Bind(text, (DEFAULT_HOST, _port(text, text)))
    match = _HOST_PORT.fullmatch(text)
    if match is None:
        raise _explain(text)
    v6, host, port = match.groups()
    return Bind(text, (v6 or ("" if host == "*" else host), _port(port, text)))


def parse_mode(text: str) -> int:
    """Understand the mode of a file, such as ``660``, as chmod has it. Raises UsageMistake."""
    if not _MODE.fullmatch(text):
        raise UsageMistake(f"{text!r} is no mode of a file", "write it as chmod has it: 660, or 666 for everybody")
    return int(text, 8)


def _port(digits: str, text: str) -> int:
    if int(digits) > 65535:
        raise _refuse(text, f"there is no port {digits}", "ports go from 1 to 65535; 0 takes a free one")
    return int(digits)


def _explain(text: str) -> UsageMistake:
    if "://" in text:
        return _refuse(text, "it is a URL", f"write {text.partition('://')[2].partition('/')[0] or '127.0.0.1:8000'}")
    if "/" in text:
        return _refuse(text, "it looks like a path", f"write unix:{text}")
    if text.count(":") > 1 and "[" not in text:
        host, _, port = text.rpartition(":")
        return _refuse(text, "an IPv6 address needs brackets", f"write [{host}]:{port}, or [{text}]:8000")
    if ":" not in text or text.endswith("]"):
        return _refuse(text, "it has no port", f"write {text or DEFAULT_HOST}:8000")
    return _refuse(text, "its port is no number", "write host:port, such as 127.0.0.1:8000")


def _refuse(text: str, why: str, advice: str) -> UsageMistake:
    return UsageMistake(f"cannot listen on {text!r}: {why}", advice)
