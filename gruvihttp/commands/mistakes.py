"""What a user can get wrong: one line says what it is, one line says what to do, and the exit code says whose it is.

Code that finds a mistake raises it; click carries it to `gruvihttp.cli`, which prints it.
"""

from __future__ import annotations

from typing import IO, Any

import click
from click.core import ParameterSource

__all__ = [
    "CONFIG_FILE",
    "ApplicationMistake",
    "BindMistake",
    "Mistake",
    "NetworkMistake",
    "UsageMistake",
    "origin_of",
]

CONFIG_FILE = "gruvihttp.config"  # where click's context remembers its name


class Mistake(click.ClickException):
    """`what` is wrong, `advice` is what to do about it. `detail` is printed below, such as a traceback."""

    def __init__(self, what: str, advice: str, detail: str = "") -> None:
        super().__init__(what)
        self.advice = advice
        self.detail = detail

    def show(self, file: IO[Any] | None = None) -> None:
        """Print it, to stderr by default."""
        click.echo(f"gruvihttp: {self.message}\n  {self.advice}", file, err=True)
        if self.detail:
            click.echo(f"\n{self.detail.rstrip()}", file, err=True)


class UsageMistake(Mistake):
    """An argument or an option is not what it should be."""

    exit_code = 2


class ApplicationMistake(Mistake):
    """The application cannot be found, loaded or called."""

    exit_code = 3


class BindMistake(Mistake):
    """An address cannot be listened on."""

    exit_code = 4


class NetworkMistake(Mistake):
    """A URL cannot be fetched."""

    exit_code = 5


def origin_of(ctx: click.Context, name: str) -> str:
    """Where the value of an option comes from, if not from the command line; else empty."""
    source = ctx.get_parameter_source(name)
    if source is ParameterSource.DEFAULT_MAP:
        return str(ctx.meta.get(CONFIG_FILE, "the configuration"))
    if source is ParameterSource.ENVIRONMENT:
        return "the environment"
    return ""
