"""The command as such: its help, its version, its sub-commands, and how little it loads to say so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from typing import TypeAlias

import pytest

from gruvihttp import __version__

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"]], ids=" ".join)
def test_help_names_the_commands(run: Run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, b"")
    assert b"  serve   Serve a WSGI application.\n" in result.stdout
    assert b"  get     Fetch URLs.\n" in result.stdout
    assert b"  upload  Send a file.\n" in result.stdout


def test_without_a_command_it_shows_its_help_and_fails(run: Run) -> None:
    result = run()
    assert result.returncode == 2
    assert b"Commands:" in result.stdout


def test_version_is_the_package_s(run: Run) -> None:
    assert run("--version").stdout.decode() == f"gruvihttp {__version__}\n"


@pytest.mark.parametrize("command", ["serve", "get", "upload"])
def test_help_of_a_command_fits_on_a_page(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    assert len(result.stdout.splitlines()) <= 90


def test_help_of_serve_shows_all_only_when_asked_for_all(run: Run) -> None:
    assert "--timeout-idle" not in run("serve", "--help").stdout.decode()


def test_help_of_serve_shows_defaults_from_the_declarations(run: Run) -> None:
    shown = run("serve", "--help-all").stdout.decode()
    assert "--timeout-idle 75  " in shown
    assert "--limit-content-bytes none  " in shown
    assert "--timeout-read" not in shown  # a client's


# What takes long to load, and what holds on to functions that gevent patches
HEAVY = "{'gevent', 'greenlet', 'ssl', 'socket', 'http', 'email', 'asyncio'}"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["serve", "--help"], ["get", "--help"], ["upload", "--help"]], ids=" ".join
)
def test_help_loads_neither_gevent_nor_sockets(arguments: list[str]) -> None:
    program = f"""
import sys
from gruvihttp.cli import main
try:
    main({arguments!r})
except SystemExit as exit:
    assert exit.code == 0
sys.exit(sorted({HEAVY} & set(sys.modules)) or 0)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=40)
    assert (result.returncode, result.stderr) == (0, b"")


MISTYPED = [
    pytest.param(["srve"], r"No such command 'srve'\. Did you mean 'serve'\?", id="misspelled"),
    pytest.param(["hello:app"], r".* Did you mean 'gruvihttp serve hello:app'\?", id="an-application"),
    pytest.param(["http://h/"], r".* Did you mean 'gruvihttp get http://h/'\?", id="a-url"),
    pytest.param(["xyzzy"], r"No such command 'xyzzy'\.", id="nothing-like-it"),
    # releases of click differ in quotes and colons
    pytest.param(["serve", "--bnd", "1"], r"No such option.* Did you mean '?--bind'?\?", id="option"),
]


@pytest.mark.parametrize(("arguments", "said"), MISTYPED)
def test_mistyped_word_is_met_with_the_one_that_was_meant(run: Run, arguments: list[str], said: str) -> None:
    result = run(*arguments)
    first, second = result.stderr.decode().splitlines()
    assert result.returncode == 2
    assert re.fullmatch(f"gruvihttp: {said}", first)
    assert second.endswith("--help lists what there is")


def test_shell_is_told_how_to_complete() -> None:
    typed = {"COMP_WORDS": "gruvihttp serve --tls", "COMP_CWORD": "2"}
    variables = {**os.environ, "_GRUVIHTTP_COMPLETE": "bash_complete", **typed}
    program = "import sys; sys.argv[0] = 'gruvihttp'; from gruvihttp.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True, timeout=40)
    assert "plain,--tls-cert" in done.stdout.splitlines()
