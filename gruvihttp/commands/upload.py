"""``gruvihttp upload``: what it takes. What it does is in `fetching`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from gruvihttp.commands.asking import OPTIONS, Asking, method_of, version_of
from gruvihttp.commands.targets import Target, parse_target

__all__ = ["command"]


def _upload(
    url: Target,
    file: str,
    method: str | None,
    headers: tuple[tuple[str, str], ...],
    include: bool,
    output: str | None,
    timeout: float | None,
    http10: bool,
    http2: bool,
    insecure: bool,
    cacert: str | None,
    unix_socket: str | None,
    fail: bool,
    verbose: bool,
) -> Any:  # Any: the exit code, from a module that is found by its name
    """Send FILE, or stdin, to URL, and write the answer to stdout.

    The length of a file is announced, its type and coding are guessed from its name. What comes from stdin goes in
    chunks, or with HTTP/2 as it comes.
    """
    fetching = import_module("gruvihttp.commands.fetching")
    asking = Asking(
        headers=list(headers),
        timeout=timeout,
        insecure=insecure,
        method=method_of(method, "POST"),
        version=version_of(http10=http10, http2=http2),
        cacert=cacert,
        unix_socket=unix_socket,
        verbose=verbose,
    )
    return fetching.upload(url, file, asking, fetching.Writing(output, include, fail))


command = click.Command(
    "upload",
    callback=_upload,
    help=_upload.__doc__,
    short_help="Send a file.",
    epilog="Exit code: 0 when it was answered, 2 for a wrong argument, 5 when the file could not be sent.",
    params=[
        click.Argument(["url"], type=parse_target, metavar="URL"),
        click.Argument(["file"], default="-", metavar="[FILE]"),
        *OPTIONS,
    ],
)
