"""Options out of a file: ``--config FILE``, which is TOML with the names of the options.

Values go to click as defaults, so that they are converted and checked as those of the command line, and lose against
these and against environment variables.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

import click

from gruvihttp.commands.mistakes import CONFIG_FILE, UsageMistake

__all__ = ["config_option", "defaults_for"]

_NOT_IN_FILES = frozenset(("config", "help", "help_all", "check"))


def config_option() -> click.Option:
    """``--config``."""
    return click.Option(
        ["--config"],
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="take options from this file (TOML), unless they are given otherwise",
    )


def _read(ctx: click.Context, option: click.Parameter, file: str | None) -> None:
    if file is None or ctx.resilient_parsing:
        return
    try:
        with open(file, "rb") as stream:
            found = tomllib.load(stream)
    except OSError as exc:
        raise UsageMistake(f"cannot read {file}: {exc.strerror}", "give a file that this user can read") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        advice = "write name = value, with texts in quotes: bind = ':8000'"
        raise UsageMistake(f"{file} is no TOML: {exc}", advice) from exc
    ctx.meta[CONFIG_FILE] = file
    ctx.default_map = {**(ctx.default_map or {}), **defaults_for(ctx.command, found, file)}


def defaults_for(command: click.Command, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What click takes as defaults of the command's options, for values by the names of options.

    A name is that of a long option, with underscores or hyphens; a table stands for what names begin with. So
    ``timeout_idle = 5``, ``timeout-idle = 5`` and ``idle = 5`` in the table ``timeout`` are the same.

    Raises UsageMistake, which names `where`, for a name that is not known.
    """
    known = _known(command)
    defaults: dict[str, Any] = {}
    for name, value in _flatten(values, known):
        parameter = known.get(name)
        if parameter is None or parameter.name is None:
            raise _unknown(name, known, where)
        if isinstance(value, bool) and not (isinstance(parameter, click.Option) and parameter.is_flag):
            raise UsageMistake(f"{where}: {name} is neither true nor false", f"write its value: {name} = ...")
        defaults[parameter.name] = _prepared(parameter, value)
    return defaults


def _known(command: click.Command) -> dict[str, click.Parameter]:
    known: dict[str, click.Parameter] = {}
    for parameter in command.params:
        longest = [option.lstrip("-") for option in parameter.opts if option.startswith("--") or len(option) > 2]
        for option in longest:
            known[option.replace("-", "_")] = parameter
    return {name: parameter for name, parameter in known.items() if name not in _NOT_IN_FILES}


def _flatten(
    values: Mapping[str, Any], known: Mapping[str, click.Parameter], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        name = prefix + key.replace("-", "_")
        if not isinstance(value, Mapping):
            yield name, value
        elif name in known and known[name].nargs > 1:  # a table of what comes together: the key, then the others
            yield name, [[first, *_as_list(rest)] for first, rest in value.items()]
        else:
            yield from _flatten(value, known, name + "_")


def _prepared(parameter: click.Parameter, value: Any) -> Any:
    """A value as it would have come from the command line, but that yes and no stay what they are."""
    if parameter.multiple and parameter.nargs > 1:
        return [[_as_text(one) for one in group] for group in value]
    if parameter.multiple:
        return [_as_text(one) for one in _as_list(value)]
    return _as_text(value)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _as_text(value: Any) -> Any:
    return value if isinstance(value, (bool, str)) else str(value)


def _unknown(name: str, known: Mapping[str, object], where: str) -> UsageMistake:
    close = get_close_matches(name, known, 1)
    advice = f"did you mean {close[0]!r}?" if close else "gruvihttp serve --help-all lists what there is"
    return UsageMistake(f"{where}: there is no option {name!r}", advice)
