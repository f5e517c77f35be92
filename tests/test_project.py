"""Facts about the project that no other test would miss: metadata, commands, files, and the examples in the README."""

from __future__ import annotations

import ast
import configparser
import contextlib
import fnmatch
import io
import json
import os
import re
import socket
import subprocess
import sys
import types
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import gevent
import pytest

import gruvihttp
from gruvihttp import __version__, errors, http

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gruvihttp"
README = (ROOT / "README.md").read_text()

TOP_LEVEL = {
    ".ci", ".gitignore", "CHANGELOG.md", "LICENSE", "MANIFEST.in", "README.md", "benchmarks", "docs", "examples",
    "gruvihttp", "pyproject.toml", "setup.cfg", "setup.py", "tests", "tox.ini",
}  # fmt: skip

# A name that comes or goes here is a change for users: it belongs into the changelog and the reference.
PUBLIC = [
    "Client", "ContentTooLarge", "DecodingError", "Endpoint", "Error", "ExpectationFailed", "FieldsTooLarge",
    "H2Limits", "Http2Client", "HttpClient", "HttpError", "HttpPool", "HttpProtocol", "HttpRequest", "HttpResponse",
    "HttpServer", "IncompleteMessage", "Limits", "LocalProtocolError", "MessageProtocol", "ParsedUrl", "PoolResponse",
    "ProtocolError", "RedirectError", "RemoteProtocolError", "Server", "StatusError", "StreamError", "StreamReader",
    "TargetTooLong", "Timeout", "Timeouts", "Transport", "TransportError", "UnsupportedCoding", "UnsupportedVersion",
    "__version__",
    "create_connection", "create_server", "delete", "download", "get", "head", "parse_url", "patch", "post", "put",
    "request", "switchpoint",
]  # fmt: skip


def settings(name: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / name)
    return parser


@cache
def ignored_patterns() -> list[str]:
    return [line.strip("/") for line in (ROOT / ".gitignore").read_text().split()] + [".git"]


def is_ignored(path: Path) -> bool:
    inside = str(path.relative_to(ROOT))
    return any(fnmatch.fnmatch(name, pattern) for name in (path.name, inside) for pattern in ignored_patterns())


@cache
def project_files() -> list[Path]:
    """Every file that is the project's, without a look into the directories that are not."""
    found: list[Path] = []
    for directory, directories, files in os.walk(ROOT):
        directories[:] = sorted(name for name in directories if not is_ignored(Path(directory, name)))
        found += [Path(directory, name) for name in sorted(files) if not is_ignored(Path(directory, name))]
    return found


# the version


def test_newest_entry_of_the_changelog_is_this_version() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == __version__


def test_metadata_reads_the_version_from_the_package() -> None:
    assert settings("setup.cfg")["metadata"]["version"] == "attr: gruvihttp._version.__version__"


def test_version_is_written_in_one_place_only() -> None:
    literal = f'"{__version__}"'
    sources = [path for path in project_files() if path.suffix in {".py", ".cfg", ".toml", ".ini"}]
    assert [path for path in sources if literal in path.read_text()] == [PACKAGE / "_version.py"]


# the commands


def test_readme_and_ci_run_the_same_command() -> None:
    command = "pip install tox && tox"
    assert f"\n    {command}\n" in README
    assert (ROOT / ".ci" / "run").read_text().splitlines()[-1] == command


def test_readme_starts_the_installed_command() -> None:
    script, _, target = settings("setup.cfg")["options.entry_points"]["console_scripts"].strip().partition(" = ")
    assert f".venv/bin/{script} serve" in README
    assert target == "gruvihttp.cli:main"


def test_ci_script_is_valid_bash_and_stops_at_the_first_failure() -> None:
    script = ROOT / ".ci" / "run"
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=30)
    assert "\nset -eu\n" in script.read_text()


def test_tox_runs_every_environment_it_defines() -> None:
    tox = settings("tox.ini")
    defined = {section.removeprefix("testenv:") for section in tox.sections() if section.startswith("testenv:")}
    assert defined | {"py"} == set(tox["tox"]["env_list"].replace(" ", "").split(","))


def test_layers_without_io_must_be_covered_completely() -> None:
    commands = settings("tox.ini")["testenv:cover"]["commands"]
    assert "--include=gruvihttp/sansio/*,gruvihttp/reader.py --fail-under=100" in commands
    assert settings("setup.cfg")["coverage:run"].getboolean("branch")


# the public names


def test_public_names_change_on_purpose_only() -> None:
    assert sorted(gruvihttp.__all__) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(gruvihttp, name) is not None
    assert name in dir(gruvihttp)


def test_reference_describes_every_public_name() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.rst"))
    described = set(re.findall(r"^\.\. auto\w+:: (\w+)", pages, re.MULTILINE)) | set(errors.__all__)
    assert set(PUBLIC) - described == {"__version__"}


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        gruvihttp.nothing  # noqa: B018  (asking is the test)


@pytest.mark.parametrize(
    "name", ["HttpClient", "HttpError", "HttpProtocol", "HttpRequest", "HttpResponse", "HttpServer"]
)
def test_module_http_has_the_names_of_gruvi(name: str) -> None:
    assert name in http.__all__
    assert getattr(http, name) is getattr(gruvihttp, name)


# the files


def test_type_marker_is_shipped() -> None:
    assert (PACKAGE / "py.typed").is_file()
    assert "py.typed" in settings("setup.cfg")["options.package_data"]["gruvihttp"].split()


def test_every_directory_of_code_is_a_package_that_is_shipped() -> None:
    directories = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [path for path in directories if not (path / "__init__.py").is_file()] == []
    assert settings("setup.cfg")["options.packages.find"]["include"].split() == ["gruvihttp", "gruvihttp.*"]


def test_top_level_holds_only_what_belongs_there() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in project_files()} <= TOP_LEVEL


def test_every_module_opens_with_what_it_does() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in PACKAGE.rglob("*.py")
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


# put together here, or this file would be found
@pytest.mark.parametrize("place", ["share" + "d/", "/wor" + "k/", "/ro" + "ot/"], ids=["notes", "checkout", "home"])
def test_no_file_names_a_place_outside_the_project(place: str) -> None:
    wanted = place.encode()
    assert [str(path.relative_to(ROOT)) for path in project_files() if wanted in path.read_bytes()] == []


def test_links_in_the_readme_lead_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


# the examples


def readme_example(heading: str) -> str:
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return section.partition("```python\n")[2].partition("```")[0]


def test_readme_example_of_the_engine_runs() -> None:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(readme_example("The engine alone"), {})
    sent, head, content = output.getvalue().splitlines()
    assert sent == repr(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    assert head.startswith("Response(")
    assert content == "Data(data=b'hi', chunk_start=False, chunk_end=False)"


def run(code: str, names: dict[str, Any], port: int) -> list[str]:
    """Run an example with another port than the one it is written with, and return what it prints, line by line.

    A server in it is started and not run: greenlets of this process serve while the examples of clients wait.
    """
    output = io.StringIO()
    with contextlib.redirect_stdout(output), gevent.Timeout(30):
        exec(code.replace("8000", str(port)).replace("server.run()", ""), names)
    return output.getvalue().splitlines()


def test_readme_examples_of_server_and_client_talk_to_each_other() -> None:
    names: dict[str, Any] = {}
    run(readme_example("A server"), names, port=0)
    try:
        lines = run(readme_example("A client"), names, names["server"].address[1])
    finally:
        names["server"].close(0)
    assert lines == ["200 b'Hello, World!\\n'"] * 3


def documented_code() -> Iterator[tuple[str, str]]:
    """Every Python block of the documentation, with the page and its number there."""
    for page in sorted((ROOT / "docs").rglob("*.rst")):
        blocks = re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", page.read_text())
        for number, block in enumerate(blocks, 1):
            yield f"{page.relative_to(ROOT / 'docs')}-{number}", re.sub(r"^    ", "", block, flags=re.MULTILINE)


@pytest.mark.parametrize("code", [pytest.param(code, id=name) for name, code in documented_code()])
def test_documented_code_is_python(code: str) -> None:
    compile(code, "documentation", "exec")


def documented(page: str, number: int) -> dict[str, Any]:
    """The names that a block of the documentation defines when it runs."""
    names: dict[str, Any] = {}
    exec(dict(documented_code())[f"{page}-{number}"], names)
    return names


def test_documented_loop_around_the_engine_serves_pipelined_requests() -> None:
    serve = documented("howto/engine-alone.rst", 1)["serve_connection"]
    requests = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(requests)
        serve(ours)
        ours.close()
        answers = b"".join(iter(lambda: theirs.recv(65536), b""))
    assert re.findall(rb"you asked for (/.)", answers) == [b"/a", b"/b"]


def test_tutorial_runs_from_its_first_block_to_its_last(monkeypatch: pytest.MonkeyPatch) -> None:
    shop, serving, *calling = [code for name, code in documented_code() if name.startswith("tutorial.rst")]
    module = types.ModuleType("shop")
    monkeypatch.setitem(sys.modules, "shop", module)
    exec(shop, vars(module))
    names: dict[str, Any] = {}
    run(serving, names, port=0)
    try:
        lines = [line for code in calling for line in run(code, names, names["server"].address[1])]
        names["client"].close()
        names["pool"].close()
    finally:
        names["server"].close(0)
    assert lines[0] == "200 application/json"
    assert [json.loads(ast.literal_eval(line)) for line in lines[1:3]] == [
        {"item": "tea", "price": 3},
        {"item": "coffee", "price": 6},
    ]
    assert lines[3] == str(b"8 bytes of order\n")
    assert [line.split()[0] for line in lines[4:7]] == ["tea", "coffee", "lemonade"]
    assert json.loads(names["body"]) == {"item": "tea", "price": 3}
    assert lines[7:10] == ["3", "200 24 bytes of order", ""]
    assert lines[10] == str((3 + 6 + 8) * 10)
    assert lines[11].startswith("<HttpPool 0 taken, ")
    assert json.loads(lines[12]) == {"item": "tea", "price": 3}


def test_documented_limits_are_accepted() -> None:
    names = documented("howto/set-limits.rst", 1)
    assert (names["limits"].fields_count, names["timeouts"].head) == (50, 5)
