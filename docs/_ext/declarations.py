"""Tables of the reference that are made from the code: numbers from `gruvihttp.limits`, errors from `gruvihttp.errors`.

``.. declared:: Limits`` lists the fields of a dataclass; ``.. error-table::`` lists every class that can be raised.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from gruvihttp import errors, limits


class Declared(SphinxDirective):
    """The fields of one of the two dataclasses in `gruvihttp.limits`, with default and meaning."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        declaration = getattr(limits, self.arguments[0])
        rows = [
            (f"``{item.name}``", _number(item.default), item.metadata["help"])
            for item in dataclasses.fields(declaration)
        ]
        return self.parse_text_to_nodes(_table(("name", "default", "meaning"), rows))


class ErrorTable(SphinxDirective):
    """Every public error: its base classes, the status that answers it, and its first line of documentation."""

    def run(self) -> list[nodes.Node]:
        rows = [(f"``{cls.__name__}``", _bases(cls), _answer(cls), _brief(cls)) for cls in _family(errors.Error)]
        return self.parse_text_to_nodes(_table(("class", "is a", "a server answers", "raised when"), rows))


def _number(default: float | None) -> str:
    return "none" if default is None else f"{default:,g}" if isinstance(default, float) else f"{default:,}"


def _family(cls: type[Exception]) -> Iterator[type[Exception]]:
    yield cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from _family(child)


def _bases(cls: type[Exception]) -> str:
    return ", ".join(f"``{base.__name__}``" for base in cls.__bases__)


def _answer(cls: type[Exception]) -> str:
    if not issubclass(cls, errors.ProtocolError):
        return "–"
    return str(cls.status) if cls.answerable else "nothing: closes"


def _brief(cls: type[Exception]) -> str:
    return (cls.__doc__ or "").split("\n\n")[0].replace("\n", " ").strip()


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> StringList:
    lines = [".. list-table::", "   :header-rows: 1", "   :class: declared", ""]
    for row in (head, *rows):
        for number, cell in enumerate(row):
            lines.append(f"   {'  -' if number else '* -'} {cell}")
    return StringList([*lines, ""], source="gruvihttp")


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("declared", Declared)
    app.add_directive("error-table", ErrorTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
