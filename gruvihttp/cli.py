"""The command line: ``gruvihttp serve``, ``gruvihttp get``, ``gruvihttp upload``.

A command is a module of `gruvihttp.commands`, loaded by its name when it is asked for. What the commands do is not
known here.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

import click

from gruvihttp._version import __version__
from gruvihttp.commands.mistakes import origin_of

__all__ = ["main"]

COMMANDS = ("serve", "get", "upload")
_FOR_BIND = ("--host", "--port", "--listen", "--address")  # what other servers call it
INTERRUPTED = 128 + 2  # what shells make of SIGINT


class _Commands(click.Group):
    """The group of all commands, each loaded when it is looked up."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"gruvihttp.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(f"No such command {name!r}. {_suggestion(args)}".rstrip(), ctx)
        return super().resolve_command(ctx, args)


def _suggestion(args: list[str]) -> str:
    """What a user may have meant that has forgotten or misspelled the command."""
    name = args[0]
    if "://" in name:
        return f"Did you mean 'gruvihttp get {name}'?"
    if ":" in name:
        return f"Did you mean 'gruvihttp serve {name}'?"
    close = get_close_matches(name, COMMANDS, 1)
    return f"Did you mean {close[0]!r}?" if close else ""


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={
        "auto_envvar_prefix": "GRUVIHTTP",
        "help_option_names": ["-h", "--help"],
        "max_content_width": 120,
    },
    epilog="Each command has its own: gruvihttp serve --help",
)
@click.version_option(__version__, prog_name="gruvihttp", message="%(prog)s %(version)s")
@click.pass_context
def _commands(ctx: click.Context) -> None:
    """HTTP for gevent programs: serve a WSGI application, fetch what one serves."""
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit(2)


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit. `args` are those of the process by default."""
    sys.exit(_run(args))


def _command_of(args: Sequence[str] | None) -> str:
    """The command that was called, for errors that do not know."""
    given = sys.argv[1:] if args is None else args
    return f"gruvihttp {given[0]}" if given and given[0] in COMMANDS else "gruvihttp"


def _origin(exc: click.UsageError) -> str:
    """Where a value that is wrong comes from, if it was not given on the command line."""
    parameter = exc.param if isinstance(exc, click.BadParameter) else None
    if exc.ctx is None or parameter is None or parameter.name is None:
        return ""
    origin = origin_of(exc.ctx, parameter.name)
    return f"{origin}: " if origin else ""


def _run(args: Sequence[str] | None) -> int:
    try:
        code: Any = _commands.main(args, prog_name="gruvihttp", standalone_mode=False)
        return code or 0
    except click.UsageError as exc:  # click would print usage as well; two lines say more
        command = exc.ctx.command_path if exc.ctx else _command_of(args)
        advice = f"{command} --help lists what there is"
        what = exc.format_message()
        if command.endswith("serve") and isinstance(exc, click.NoSuchOption) and exc.option_name in _FOR_BIND:
            what, advice = exc.message, "write --bind 127.0.0.1:8000, or --bind :8000 for all interfaces"
        click.echo(f"gruvihttp: {_origin(exc)}{what}\n  {advice}", err=True)
        return exc.exit_code
    except click.ClickException as exc:
        exc.show()
        return exc.exit_code
    except click.Abort:
        return INTERRUPTED
