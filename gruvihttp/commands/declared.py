"""Options that are made from the declarations in `gruvihttp.limits`, and the types of their values."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import Field, fields
from typing import Any

import click

from gruvihttp.limits import H2Limits, Limits, Timeouts

__all__ = [
    "SectionedCommand",
    "count",
    "count_or_none",
    "declared_options",
    "help_all_option",
    "http2_option",
    "positive_seconds",
    "seconds",
    "seconds_or_none",
    "take_h2_limits",
    "take_limits",
    "take_timeouts",
]

# phases of a client's connection
_CLIENT_ONLY = frozenset(("pool", "connect", "read", "total"))

_HTTP2 = "HTTP/2"

_NUMBER = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)")
_SECONDS = {"": 1, "ms": 0.001, "s": 1, "m": 60, "h": 3600}
_COUNTS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def seconds(value: Any) -> float:
    """A duration, such as ``75``, ``0.5``, ``500ms``, ``30s``, ``5m``, ``1h``; a type for click."""
    return float(_number(value, _SECONDS, "a number of seconds: 75, 0.5, 500ms, 30s, 5m, 1h"))


def seconds_or_none(value: Any) -> float | None:
    """A duration, or ``none`` for ever."""
    return None if _is_none(value) else seconds(value)


def positive_seconds(value: Any) -> float:
    """A duration that is more than nothing."""
    duration = seconds(value)
    if not duration:
        raise click.BadParameter(f"{value!r} is no time at all: 100ms, 0.5, 2s.")
    return duration


def count(value: Any) -> int:
    """A positive whole number, such as ``100``, ``64k``, ``10M``; the letters are powers of 1024. A type for click."""
    wanted = "a positive whole number: 100, 64k, 10M, 1G"
    number = _number(value, _COUNTS, wanted)
    if number != int(number) or number < 1:
        raise click.BadParameter(f"{value!r} is not {wanted}.")
    return int(number)


def count_or_none(value: Any) -> int | None:
    """A positive whole number, or ``none`` for no bound."""
    return None if _is_none(value) else count(value)


def _number(value: Any, units: Mapping[str, float], wanted: str) -> float:
    match = _NUMBER.fullmatch(str(value))
    factor = units.get(match[2].lower()) if match else None
    if match is None or factor is None:
        raise click.BadParameter(f"{value!r} is not {wanted}.")
    return float(match[1]) * factor


def _is_none(value: Any) -> bool:
    return value is None or str(value).lower() == "none"


class DeclaredOption(click.Option):
    """An option for one field of a declaration. In the help, its default stands where the value goes."""

    def __init__(self, prefix: str, item: Field[Any], kind: Callable[[Any], object], section: str) -> None:
        shown = _show(item.default)
        super().__init__(
            [f"--{prefix}-{item.name.replace('_', '-')}", f"{prefix}_{item.name}"],
            type=kind,
            default=item.default,
            metavar=shown,
            help=item.metadata["help"],
        )
        self.section = section


class SectionedCommand(click.Command):
    """A command whose help has sections, and leaves out declared options until all is asked for."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        wants_all = ctx.meta.get(_ALL, False)
        sections: dict[str, list[tuple[str, str]]] = {"Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None and (wants_all or not isinstance(parameter, DeclaredOption)):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(record)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=36)


_ALL = "gruvihttp.help_all"


def help_all_option() -> click.Option:
    """``--help-all``, which shows declared options, too."""

    def show(ctx: click.Context, option: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=show,
        help="show this with all timeouts, limits and bounds of HTTP/2, and exit",
    )


def declared_options() -> list[click.Option]:
    """An option for each timeout and each limit of a server."""
    phases = "Timeouts, in seconds (or 500ms, 5m, none), with their defaults"
    bounds = "Limits (or 64k, 10M, none), with their defaults"
    options: list[click.Option] = [
        DeclaredOption("timeout", item, seconds_or_none if _may_be_none(item) else seconds, phases)
        for item in fields(Timeouts)
        if item.name not in _CLIENT_ONLY
    ]
    options += [
        DeclaredOption("limit", item, count_or_none if _may_be_none(item) else count, bounds)
        for item in fields(Limits)
    ]
    options += [DeclaredOption("http2", item, count, _HTTP2) for item in fields(H2Limits)]
    return options


class _Http2Option(click.Option):
    section = _HTTP2


def http2_option() -> click.Option:
    """Whether HTTP/2 is spoken at all."""
    return _Http2Option(["--http2/--no-http2"], default=True, help="speak HTTP/2 with clients that can, or do not")


def take_timeouts(values: dict[str, Any]) -> Timeouts:
    """Take the values of the options for timeouts out of `values`."""
    return Timeouts(**_take("timeout_", values))


def take_limits(values: dict[str, Any]) -> Limits:
    """Take the values of the options for limits out of `values`."""
    return Limits(**_take("limit_", values))


def take_h2_limits(values: dict[str, Any]) -> H2Limits:
    """Take the values of the options for HTTP/2 out of `values`. Raises ValueError for what HTTP/2 does not allow."""
    return H2Limits(**_take("http2_", values))


def _take(prefix: str, values: dict[str, Any]) -> dict[str, Any]:
    names = [name for name in values if name.startswith(prefix)]
    return {name.removeprefix(prefix): values.pop(name) for name in names}


def _may_be_none(item: Field[Any]) -> bool:
    return "None" in str(item.type)


def _show(default: Any) -> str:
    return "none" if default is None else f"{default:g}" if isinstance(default, float) else str(default)
