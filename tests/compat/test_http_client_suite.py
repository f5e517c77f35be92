"""CPython's own ``test.test_httplib``, of the running Python, with our door in the place of ``http.client``.

It runs in a process of its own. Python installations that come without the ``test`` package skip this.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# What does not pass, each with its reason.
LEFT_OUT = {
    "OfflineTest.test_all": (
        "holds __all__ against the names whose __module__ is http.client: the standard library's own bookkeeping. "
        "Our classes name the module that they are from, and __all__ has what this door adds"
    ),
}

# Runs the suite with the door in place, before anything has imported `http.client` through another name, and writes
# down what became of each test.
PROGRAM = """
import http, json, sys, unittest

import gruvihttp.compat.http_client as door

sys.modules["http.client"] = http.client = door
from test import support, test_httplib

assert test_httplib.client is door
assert issubclass(test_httplib.FakeSocketHTTPConnection, door.HTTPConnection)
support.use_resources = []  # no network


class Outcomes(unittest.TestResult):
    found = {}

    def note(self, test, outcome):
        self.found.setdefault(test.id().partition("test_httplib.")[2] or str(test), outcome)

    def addSuccess(self, test):
        self.note(test, "passed")

    def addSkip(self, test, reason):
        self.note(test, "skipped: " + reason)

    def addError(self, test, error):
        self.note(test, "error: " + self._exc_info_to_string(error, test))

    def addFailure(self, test, error):
        self.note(test, "failed: " + self._exc_info_to_string(error, test))

    def addSubTest(self, test, part, error):
        if error is not None:
            self.note(test, "failed: " + self._exc_info_to_string(error, test))


outcomes = Outcomes()
unittest.defaultTestLoader.loadTestsFromModule(test_httplib).run(outcomes)
with open(sys.argv[1], "w") as file:
    json.dump(Outcomes.found, file)
"""


@pytest.mark.skipif(
    importlib.util.find_spec("test") is None or importlib.util.find_spec("test.test_httplib") is None,
    reason="this Python was installed without the standard library's tests (test.test_httplib)",
)
def test_the_standard_librarys_own_tests_pass_over_the_door(tmp_path: Path) -> None:
    report = tmp_path / "outcomes.json"

    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(report)],
        cwd=tmp_path, env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip

    assert report.exists(), run.stdout + run.stderr
    found: dict[str, str] = json.loads(report.read_text())
    failed = {name: outcome for name, outcome in found.items() if outcome.startswith(("failed", "error"))}
    assert set(failed) == set(LEFT_OUT), "\n".join(outcome for name, outcome in failed.items() if name not in LEFT_OUT)
    skipped = {name for name, outcome in found.items() if outcome.startswith("skipped")}
    assert {name for name in skipped if "test_networked" not in name} == set(), "only tests that need the internet skip"
    assert len(found) - len(skipped) - len(failed) > 100
