"""``gruvihttp upload``: what it takes. What it does is in `fetching`."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

import click

from gruvihttp.commands.asking import OPTIONS, asking_of
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.targets import Target, parse_target

__all__ = ["command"]


def _upload(
    url: Target,
    file: str,
    include: bool,
    output: str | None,
    fail: bool,
    **asked: Any,  # Any: the values of the other options
) -> Any:  # Any: the exit code, from a module that is found by its name
    """Send FILE, or stdin, to URL, and write the answer to stdout.

    The length of a file is announced, its type and coding are guessed from its name. What comes from stdin goes in
    chunks, or with HTTP/2 as it comes.
    """
    fetching = import_module("gruvihttp.commands.fetching")
    asking = asking_of("POST", **asked)
    return fetching.upload(url, file, asking, fetching.Writing(output, include, fail))


def _parse_url(text: str) -> Target:
    try:
        return parse_target(text)
    except UsageMistake as exc:
        if os.path.isfile(text):
            raise UsageMistake(f"{text!r} is a file", "write the URL first: gruvihttp upload URL FILE") from exc
        raise


command = click.Command(
    "upload",
    callback=_upload,
    help=_upload.__doc__,
    short_help="Send a file.",
    epilog="Exit code: 0 when it was answered, 2 for a wrong argument, 5 when the file could not be sent.",
    params=[
        click.Argument(["url"], type=_parse_url, metavar="URL"),
        click.Argument(["file"], default="-", metavar="[FILE]"),
        *OPTIONS,
    ],
)
