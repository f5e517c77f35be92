"""The reference of the command line, made from the declarations of its options.

``.. command:: serve`` writes what the command says about itself and a table of options for each section of its help.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import click
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Command(SphinxDirective):
    """The help of one command."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        command: click.Command = import_module(f"gruvihttp.commands.{name}").command
        text = "\n".join(_lines(name, command))
        return self.parse_text_to_nodes(StringList(text.splitlines(), source=f"gruvihttp {name}"))


def _lines(name: str, command: click.Command) -> Iterator[str]:
    with click.Context(command, info_name=f"gruvihttp {name}") as ctx:
        yield f"``{' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}``"
        yield ""
        for paragraph in (command.help or "").split("\n\n"):
            yield _escaped(" ".join(paragraph.split()))
            yield ""
        sections: dict[str, list[click.Option]] = {"Options": []}
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                sections.setdefault(getattr(parameter, "section", "Options"), []).append(parameter)
        for title, options in sections.items():
            yield from (f".. list-table:: {_escaped(title)}", "   :header-rows: 1", "   :widths: 34 50 16", "")
            yield from ("   * - option", "     - meaning", "     - default")
            for option in options:
                yield f"   * - {_spelling(option, ctx)}"
                yield f"     - {_escaped(_meaning(option))}"
                yield f"     - {_default(option)}"
            yield ""


def _spelling(option: click.Option, ctx: click.Context) -> str:
    names = ", ".join(f"``{name}``" for name in (*option.opts, *option.secondary_opts))
    takes = "" if option.is_flag else f" {option.metavar or option.make_metavar(ctx)}"
    # a declared option shows its default where the value goes
    return names if not takes or takes.strip() == _plain_default(option) else f"{names} ``{takes.strip()}``"


def _meaning(option: click.Option) -> str:
    return (option.help or "").partition("  [default:")[0]


def _default(option: click.Option) -> str:
    _, found, told = (option.help or "").partition("  [default: ")
    shown = told.removesuffix("]") if found else _plain_default(option)
    return f"``{shown}``" if shown else "–"


def _plain_default(option: click.Option) -> str:
    default = option.default
    if default is None:
        return "none" if getattr(option, "section", "").startswith(("Timeouts", "Limits")) else ""
    if isinstance(default, bool):
        return ("yes" if default else "no") if option.secondary_opts else ""
    if isinstance(default, (int, float, str)):
        return f"{default:g}" if isinstance(default, float) else str(default)
    return ""


def _escaped(text: str) -> str:
    """Text that means itself: no markup, no dashes and quotes for what is typed."""
    return "".join(f"\\{character}" if character in "\\*`'\"-" else character for character in text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("command", Command)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
