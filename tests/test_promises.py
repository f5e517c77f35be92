"""The table of promises.toml holds: every promise has tests, they exist, and those that must be tried by bytes are."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).resolve().parent
TABLE: dict[str, Any] = tomllib.loads((TESTS / "promises.toml").read_text())
INDIFFERENT: set[str] = set(TABLE["arrival"]["indifferent"])
ROWS: dict[str, dict[str, Any]] = {name: row for name, row in TABLE.items() if name != "arrival"}

COUNTS = {"G": 73, "S": 42, "R": 14, "X": 16, "B": 16, "E": 14, "T": 16}  # so that none gets lost at the end

# Arguments with which a test runs more than once: with what is said in one piece, and byte by byte.
BY_BYTES = {"say", "ask", "delivery", "feeding", "pieces", "piecewise", "split"}


@cache
def arguments_of_tests() -> dict[str, frozenset[str]]:
    """Every test function, as ``client/test_x.py::test_y``, with the names of its arguments."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                found[f"{path.relative_to(TESTS)}::{node.name}"] = frozenset(item.arg for item in arguments)
    return found


def ids_in(test: str) -> list[str]:
    """The ids that a test's name begins with: G1 and S39 for ``test_g01_s39_...``."""
    name = test.partition("::test_")[2]
    beginning = re.match(r"(?:[a-z]\d+_)*", name)
    assert beginning is not None
    return [f"{one[0].upper()}{int(one[1:])}" for one in beginning[0].split("_") if one]


def test_no_promise_is_missing() -> None:
    numbers: dict[str, list[int]] = {}
    for name in ROWS:
        assert re.fullmatch(r"[A-Z][1-9]\d*", name), name
        numbers.setdefault(name[0], []).append(int(name[1:]))
    for letter, found in numbers.items():
        assert found == list(range(1, len(found) + 1)), f"{letter} is not numbered without gaps, in order"
    assert {letter: len(numbers.get(letter, [])) for letter in COUNTS} == COUNTS


@pytest.mark.parametrize("name", ROWS)
def test_promise_has_tests(name: str) -> None:
    row = ROWS[name]
    assert row["says"].endswith(".")
    assert bool(row.get("tests")) != bool(row.get("left_out")), "a promise has tests, or says why it has none"
    tests = row.get("tests", [])
    assert set(tests) <= set(arguments_of_tests()), "these tests do not exist"
    assert len(tests) == len(set(tests))
    if tests and name not in INDIFFERENT:
        assert any(arguments_of_tests()[test] & BY_BYTES for test in tests), "no test of these is tried byte by byte"


def test_every_test_that_is_named_after_a_promise_is_listed_with_it() -> None:
    letters = {name[0] for name in ROWS}
    named = {(name, test) for test in arguments_of_tests() for name in ids_in(test) if name[0] in letters}
    assert named
    listed = {(name, test) for name, row in ROWS.items() for test in row.get("tests", [])}
    assert named - listed == set()


def test_only_promises_are_said_to_be_indifferent() -> None:
    assert INDIFFERENT <= {name for name, row in ROWS.items() if row.get("tests")}
