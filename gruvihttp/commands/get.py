"""``gruvihttp get``: what it takes. What it does is in `fetching`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from gruvihttp.commands.asking import OPTIONS, asking_of, read_data
from gruvihttp.commands.targets import Target, parse_target

__all__ = ["command"]

_FORM = "application/x-www-form-urlencoded"  # what curl takes -d for


def _get(
    urls: tuple[Target, ...],
    data: str | None,
    headers: tuple[tuple[str, str], ...],
    include: bool,
    output: str | None,
    fail: bool,
    **asked: Any,  # Any: the values of the other options
) -> Any:  # Any: the exit code, from a module that is found by its name
    """Fetch URLs and write their content to stdout, in the order of the URLs.

    URLs of one server that follow each other are fetched over one connection, each asked for before the one before
    it is answered. Redirections are not followed.
    """
    fields = list(headers)
    content = b"" if data is None else read_data(data)
    if data is not None and not any(name.lower() == "content-type" for name, _ in fields):
        fields.append(("Content-Type", _FORM))
    fetching = import_module("gruvihttp.commands.fetching")
    asking = asking_of("GET" if data is None else "POST", headers=fields, content=content, **asked)
    return fetching.fetch(urls, asking, fetching.Writing(output, include, fail))


command = click.Command(
    "get",
    callback=_get,
    help=_get.__doc__,
    short_help="Fetch URLs.",
    epilog="Exit code: 0 when every URL was answered, 2 for a wrong argument, 5 when one could not be fetched.",
    params=[
        click.Argument(["urls"], nargs=-1, required=True, type=parse_target, metavar="URL..."),
        click.Option(
            ["-d", "--data"],
            metavar="DATA",
            help="send this as content, with POST; @FILE is the content of a file, @- that of stdin",
        ),
        *OPTIONS,
    ],
)
