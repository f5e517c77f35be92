"""Imports point down the layer table, and the table in the documentation is the one that holds.

The imports are read from the files with `ast`, so nothing of the package is executed, and an import inside a function
or under ``if TYPE_CHECKING`` counts like any other: the reader of a file depends on it all the same.
"""

from __future__ import annotations

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gruvihttp"
DRAWING = (ROOT / "docs" / "design" / "layers.rst").read_text()

# A name with a slash is a package. A name that has no file yet is a place that is kept for it.
LAYERS: dict[int, tuple[str, ...]] = {
    0: ("errors", "limits", "marks", "_version"),
    1: ("sansio/", "net/", "reader"),
    2: ("exchanges/",),
    3: (
        "protocol", "messages", "httprequest", "httpresponse", "compose", "bodies", "filebody", "fieldtext",
        "fieldtools", "urls", "wsgi", "environ", "forwarded", "responsehead", "hijack", "echo",
        "wsaccepting", "wsmessages", "accesslog", "accessrecord", "certificates", "admission", "probes", "metrics",
        "origins",
    ),
    4: (
        "client", "http2client", "proxy", "connecting", "pool/", "server", "processes/", "systemd",
        "wsconnecting", "websocket",
    ),
    5: ("__init__", "http", "cli", "__main__", "commands/", "compat/", "testing"),
}  # fmt: skip
LEVEL = {name: level for level, names in LAYERS.items() for name in names}
MAY_SEE_NEIGHBOURS = {3, 4}

# Doors: `__init__` is what a user imports, so a door may too; `__main__` starts the command line.
SAME_LEVEL = {
    ("__main__", "cli"),
    ("cli", "commands/"),
    ("cli", "__init__"),
    ("commands/", "__init__"),
    ("compat/", "__init__"),
    ("compat/", "commands/"),  # Paste's door is the command line in another notation
    ("testing", "__init__"),
}

# What a file may not import, although its layer would allow it: ours (as component), the standard library's or others'.
FORBIDDEN: dict[str, set[str]] = {
    "sansio/": {
        "_socket", "asyncio", "gevent", "greenlet", "http.client", "http.server", "logging", "os", "select",
        "selectors", "socket", "socketserver", "ssl", "subprocess", "threading", "time",
    },
    "net/": {"cgi", "email", "http", "mimetypes", "urllib", "wsgiref"},
    "reader": {"_socket", "gevent", "greenlet", "http", "socket", "ssl", "threading"},
    "exchanges/": {"urllib", "wsgiref", "click"},
}  # fmt: skip
# h11's stand-in is the engine under another name: it knows the engine and nothing above it
ONLY: dict[str, set[str]] = {"compat/h11": {"sansio/", "errors", "limits", "_version"}}

# Packages that a file may import inside functions, because only those who have them installed call those functions.
OPTIONAL: dict[str, set[str]] = {
    "compat/gunicorn": {"gunicorn"},
    "compat/httpx": {"certifi", "httpx"},
    "compat/requests": {"requests", "urllib3"},
    "compat/urllib3view": {"urllib3"},
    "pool/decoding": {"brotli", "zstandard"},
    "net/trust": {"certifi"},
    "origins": {"idna"},
    "wsmessages": {"wsproto"},
}
# Run-time dependencies, and who may import them; None: everybody who is not forbidden to.
DEPENDENCIES: dict[str, set[str] | None] = {"gevent": None, "greenlet": None, "click": {"cli", "commands/", "compat/"}}


class Import(NamedTuple):
    """One import: the absolute dotted name, its line, and whether it stands inside a function."""

    name: str
    line: int
    lazy: bool


def modules() -> dict[str, Path]:
    """Every file of the package by its dotted name; a package is named like its ``__init__``."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
each_module = pytest.mark.parametrize("module", MODULES)


def component(module: str) -> str:
    """The entry of the layer table that a module belongs to: ``gruvihttp.sansio.heads`` is in ``sansio/``."""
    parts = module.split(".")[1:]
    if not parts:
        return "__init__"
    is_package = (PACKAGE / parts[0]).is_dir()
    return parts[0] + "/" if is_package else parts[0]


def slashed(module: str) -> str:
    """The name of a module below the package, as the tables above write it: ``compat/h11``."""
    return "/".join(module.split(".")[1:])


@cache
def imports(module: str) -> tuple[Import, ...]:
    tree = ast.parse(MODULES[module].read_text(), str(MODULES[module]))
    return tuple(_imports(tree, _package(module), lazy=False))


def _package(module: str) -> str:
    return module if MODULES[module].name == "__init__.py" else module.rpartition(".")[0]


def _imports(node: ast.AST, package: str, *, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            for alias in child.names:
                yield Import(alias.name, child.lineno, lazy)
        elif isinstance(child, ast.ImportFrom):
            yield from _from(child, package, lazy=lazy)
        else:
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, package, lazy=lazy or inside)


def _from(node: ast.ImportFrom, package: str, *, lazy: bool) -> Iterator[Import]:
    """``from a import b``: the module ``a.b`` where there is one of ours, else ``a``."""
    base = node.module or ""
    if node.level:
        above = package.split(".")[: len(package.split(".")) - node.level + 1]
        base = ".".join([*above, base] if base else above)
    for alias in node.names:
        longer = f"{base}.{alias.name}"
        # `http.client` is told apart from `http` also when it is written `from http import client`
        yield Import(longer if longer in MODULES or longer in _SPLIT else base, node.lineno, lazy)


_SPLIT = {name for names in FORBIDDEN.values() for name in names if "." in name}


def ours(module: str) -> list[tuple[str, int]]:
    """Modules of the package that this one imports, with lines."""
    found = [(item.name, item.line) for item in imports(module) if item.name.split(".")[0] == "gruvihttp"]
    assert [f"line {line}: there is no {name}" for name, line in found if name not in MODULES] == []
    return found


def is_import_of(name: str, forbidden: str) -> bool:
    return name == forbidden or name.startswith(forbidden + ".")


def may_import(importer: str, imported: str) -> bool:
    """Whether one component may import another."""
    if importer == imported:
        return importer.endswith("/")
    if (importer, imported) in SAME_LEVEL:
        return True
    if LEVEL[importer] == LEVEL[imported]:
        return LEVEL[importer] in MAY_SEE_NEIGHBOURS
    return LEVEL[importer] > LEVEL[imported]


@each_module
def test_module_has_a_place_in_the_layer_table(module: str) -> None:
    assert component(module) in LEVEL


@each_module
def test_imports_point_down(module: str) -> None:
    wrong = [
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {imported}"
        for imported, line in ours(module)
        if component(module) != "__init__" and not may_import(component(module), component(imported))
    ]
    assert not wrong


@each_module
def test_nobody_imports_a_door(module: str) -> None:
    doors = [
        f"line {line}: {imported}"
        for imported, line in ours(module)
        if component(imported) in {"cli", "commands/", "compat/", "testing"}
        and component(module) != component(imported)
        and (component(module), component(imported)) not in SAME_LEVEL
    ]
    assert not doors


def test_there_are_no_cycles() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path[path.index(module) :], module))
        if module not in done:
            for imported, _ in ours(module):
                visit(imported, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("gruvihttp.exchanges.")])
def test_versions_of_http_do_not_know_each_other(module: str) -> None:
    """What both need stands above their folders, and knows neither."""
    versions = {"gruvihttp.exchanges.http1", "gruvihttp.exchanges.http2"}
    own = module.rpartition(".")[0]
    wrong = [imported for imported, _ in ours(module) if imported.rpartition(".")[0] in versions - {own}]
    assert not wrong


@each_module
def test_imports_keep_to_what_the_module_may_know(module: str) -> None:
    forbidden = FORBIDDEN.get(component(module), set())
    wrong = [
        f"line {item.line}: {item.name}"
        for item in imports(module)
        if any(is_import_of(item.name, name) for name in forbidden)
    ]
    assert not wrong


@pytest.mark.parametrize("door", [door for door in ONLY if f"gruvihttp.{door.replace('/', '.')}" in MODULES])
def test_door_knows_only_what_it_stands_before(door: str) -> None:
    known = {component(imported) for imported, _ in ours(f"gruvihttp.{door.replace('/', '.')}")}
    assert known <= ONLY[door]


@each_module
def test_imports_inside_functions_are_for_doors_and_optional_packages(module: str) -> None:
    allowed = OPTIONAL.get(slashed(module), set())
    wrong = [
        f"line {item.line}: {item.name}"
        for item in imports(module)
        if item.lazy and component(module) != "compat/" and item.name.split(".")[0] not in allowed
    ]
    assert not wrong


@each_module
def test_packages_of_others_are_declared(module: str) -> None:
    """No h11, no httptools, no h2: what is not a dependency cannot be imported, whoever has it installed."""
    wrong = [f"line {item.line}: {item.name}" for item in imports(module) if not _is_declared(item, module)]
    assert not wrong


def _is_declared(item: Import, module: str) -> bool:
    top = item.name.split(".")[0]
    if top == "gruvihttp" or top in sys.stdlib_module_names:
        return True
    if top in DEPENDENCIES:
        importers = DEPENDENCIES[top]
        return importers is None or component(module) in importers
    return top in OPTIONAL.get(slashed(module), set())


def test_declared_packages_are_the_installed_requirements() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    requirements = config["options"]["install_requires"].split()
    assert {re.split(r"[<>=!~]", requirement)[0] for requirement in requirements} == set(DEPENDENCIES)


# What `gruvihttp.sansio` must do without, and an interpreter that does not have it.
WITHOUT_IO = """
import sys

BLOCKED = {"asyncio", "gevent", "greenlet", "logging", "select", "selectors", "socket", "_socket", "ssl"}


class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")


present = BLOCKED & set(sys.modules)
assert not present, f"already imported: {present}"
sys.meta_path.insert(0, Blocker())
"""


def run_without_io(program: str) -> None:
    result = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n{WITHOUT_IO}\n{program}"],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def is_without_io(module: str) -> bool:
    return component(module) in {"sansio/", "reader", *LAYERS[0]}


@pytest.mark.parametrize("module", [name for name in MODULES if is_without_io(name)])
def test_module_without_io_imports_where_gevent_and_sockets_are_missing(module: str) -> None:
    run_without_io(f"import {module}")


def written_layers() -> dict[int, set[str]]:
    """The drawing in the documentation: ``L1   sansio/   net/   reader``."""
    lines = re.findall(r"^    L(\d)   (\S.*)$", DRAWING, re.MULTILINE)
    return {int(level): set(re.split(r" {3,}", names)) for level, names in lines}


def test_drawing_shows_the_layers() -> None:
    present = {component(module) for module in MODULES}
    expected = {level: present & set(names) for level, names in LAYERS.items()}
    assert written_layers() == {level: names for level, names in expected.items() if names}


def test_table_of_files_lists_every_file() -> None:
    listed = re.findall(r"^   \* - ``([^`]+)``$", DRAWING, re.MULTILINE)
    present = [_row(path) for path in MODULES.values()]
    assert len(set(listed)) == len(listed)
    assert {"not listed": set(present) - set(listed), "gone": set(listed) - set(present)} == {
        "not listed": set(),
        "gone": set(),
    }


def _row(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    is_package = inside.name == "__init__.py" and len(inside.parts) > 1
    return f"{inside.parent}/" if is_package else str(inside)

