"""How to ask a server: `Asking`, and the options that ``gruvihttp get`` and ``gruvihttp upload`` share.

Connections are not known here, so that ``--help`` does not load what makes them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import click

from gruvihttp.commands.declared import seconds_or_none
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.targets import parse_field

__all__ = ["OPTIONS", "Asking", "asking_of", "read_data"]


class Asking(NamedTuple):
    """How to ask."""

    headers: list[tuple[str, str]]
    timeout: float | None
    insecure: bool
    method: str = "GET"
    content: bytes = b""
    version: str = "1.1"
    cacert: str | None = None
    unix_socket: str | None = None
    verbose: bool = False


OPTIONS: list[click.Parameter] = [
    click.Option(["-X", "--request", "method"], metavar="METHOD", help="ask with this method"),
    click.Option(
        ["-H", "--header", "headers"],
        type=parse_field,
        multiple=True,
        metavar="'NAME: VALUE'",
        help="send this field; may be repeated",
    ),
    click.Option(["-i", "--include"], is_flag=True, help="write the heads of the responses, too"),
    click.Option(["-o", "--output"], type=click.Path(dir_okay=False), metavar="FILE", help="write into this file"),
    click.Option(
        ["-t", "--timeout"],
        type=seconds_or_none,
        default=30.0,
        metavar="SECONDS",
        help="longest wait: for a connection, for a response, for the next part of it  [default: 30]",
    ),
    click.Option(["--http1.0", "http10"], is_flag=True, help="speak HTTP/1.0"),
    click.Option(["--http2"], is_flag=True, help="speak HTTP/2 or nothing; without TLS, do not ask for it first"),
    click.Option(["-k", "--insecure"], is_flag=True, help="do not verify certificates"),
    click.Option(["--cacert"], type=click.Path(), metavar="FILE", help="trust the authorities in this file (PEM)"),
    click.Option(["--unix-socket"], type=click.Path(), metavar="PATH", help="connect to this socket"),
    click.Option(["-f", "--fail"], is_flag=True, help="exit with 22 when a status is 400 or above"),
    click.Option(["-v", "--verbose"], is_flag=True, help="tell on stderr what is sent and received, and how fast"),
]


def asking_of(
    default_method: str,
    *,
    method: str | None,
    headers: Iterable[tuple[str, str]],
    http10: bool,
    http2: bool,
    **others: Any,  # Any: the rest of `Asking`, under its names
) -> Asking:
    """How to ask, from the values of `OPTIONS` that say so. Raises UsageMistake for what cannot be."""
    method = _method_of(method, default_method)
    return Asking(list(headers), method=method, version=_version_of(http10=http10, http2=http2), **others)


def _method_of(given: str | None, default: str) -> str:
    """The method to ask with. Raises UsageMistake for one that needs another command."""
    if given == "CONNECT":
        raise UsageMistake("CONNECT asks for a tunnel, and there is nobody to use it", "name another method with -X")
    return given or default


def _version_of(*, http10: bool, http2: bool) -> str:
    """The version to ask in. Raises UsageMistake for two at once."""
    if http10 and http2:
        raise UsageMistake("--http1.0 and --http2 exclude each other", "leave one of them out")
    return "1.0" if http10 else "2" if http2 else "1.1"


def read_data(given: str) -> bytes:
    """The value of ``-d``: text, or ``@file``, or ``@-`` for stdin. Raises UsageMistake."""
    if not given.startswith("@"):
        return given.encode("utf-8", "surrogateescape")
    if given == "@-":
        return sys.stdin.buffer.read()
    try:
        return Path(given[1:]).read_bytes()
    except OSError as exc:
        raise UsageMistake(f"cannot read {given[1:]}: {exc.strerror}", "name a file that is there: -d @FILE") from exc
