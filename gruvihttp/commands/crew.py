"""What ``gruvihttp serve`` was told about worker processes, and the options that tell it."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple

import click

from gruvihttp.commands.declared import count
from gruvihttp.commands.mistakes import UsageMistake

__all__ = ["Crew", "crew_options", "take_crew"]

_SPREADS = sys.platform == "linux"  # elsewhere one of several sockets at an address gets all connections


class Crew(NamedTuple):
    """How many workers there are, and how long each works."""

    workers: int
    reuse_port: bool = _SPREADS
    max_requests: int | None = None
    max_requests_jitter: int = 0
    max_memory: int | None = None  # bytes
    reload: bool = False


def crew_options() -> list[click.Option]:
    """The options."""
    return [
        click.Option(["-w", "--workers"], type=click.IntRange(1), metavar="N", help="serve with N processes"),
        click.Option(
            ["--reuse-port/--no-reuse-port"],
            default=_SPREADS,
            help="give each worker sockets of its own, or all the same (default: its own on Linux)",
        ),
        click.Option(
            ["--max-requests"], type=click.IntRange(1), metavar="N", help="replace a worker after so many requests"
        ),
        click.Option(
            ["--max-requests-jitter"], type=click.IntRange(0), default=0, metavar="N", help="and up to so many more"
        ),
        click.Option(
            ["--max-memory"], type=count, metavar="BYTES", help="replace a worker that takes more memory, such as 500M"
        ),
        click.Option(["--reload"], is_flag=True, help="replace workers when a file of the application changes"),
    ]


def take_crew(values: dict[str, Any]) -> Crew | None:
    """Take the values of the options out of `values`; None if there are no workers."""
    told = {name: values.pop(name) for name in Crew._fields}
    if told["workers"] is None and told["reload"]:
        told["workers"] = 1
    if told["workers"] is not None:
        return Crew(**told)
    for name in ("max_requests", "max_memory"):
        if told[name] is not None:
            option = f"--{name.replace('_', '-')}"
            raise UsageMistake(f"{option} replaces worker processes, and there are none", "add --workers 1, or more")
    return None
