"""``gruvihttp get``: what it takes. What it does is in `fetching`."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import click

from gruvihttp.commands.declared import seconds_or_none
from gruvihttp.commands.targets import Target, parse_field, parse_target

__all__ = ["command"]


def _get(
    urls: tuple[Target, ...],
    include: bool,
    headers: tuple[tuple[str, str], ...],
    output: str | None,
    timeout: float | None,
    insecure: bool,
    fail: bool,
) -> Any:  # Any: the exit code, from a module that is found by its name
    """Fetch URLs and write their content to stdout, in the order of the URLs.

    URLs of one server that follow each other are fetched over one connection, each asked for before the one before
    it is answered. Redirections are not followed.
    """
    fetching = import_module("gruvihttp.commands.fetching")
    asking = fetching.Asking(list(headers), timeout, insecure)
    writing = fetching.Writing(output, include, fail)
    return fetching.fetch(urls, asking, writing)


command = click.Command(
    "get",
    callback=_get,
    help=_get.__doc__,
    short_help="Fetch URLs.",
    epilog="Exit code: 0 when every URL was answered, 2 for a wrong argument, 5 when one could not be fetched.",
    params=[
        click.Argument(["urls"], nargs=-1, required=True, type=parse_target, metavar="URL..."),
        click.Option(["-i", "--include"], is_flag=True, help="write the heads of the responses, too"),
        click.Option(
            ["-H", "--header", "headers"],
            type=parse_field,
            multiple=True,
            metavar="'NAME: VALUE'",
            help="send this field; may be repeated",
        ),
        click.Option(["-o", "--output"], type=click.Path(dir_okay=False), metavar="FILE", help="write into this file"),
        click.Option(
            ["-t", "--timeout"],
            type=seconds_or_none,
            default=30.0,
            metavar="SECONDS",
            help="longest wait: for a connection, for a response, for the next part of it  [default: 30]",
        ),
        click.Option(["-k", "--insecure"], is_flag=True, help="do not verify certificates"),
        click.Option(["-f", "--fail"], is_flag=True, help="exit with 22 when a status is 400 or above"),
    ],
)
