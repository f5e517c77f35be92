"""Other people's test-suites over our engine: h11's own, and those of two libraries that are written on h11.

Each suite comes from its project's source distribution, which pip fetches into pytest's cache directory (nothing of it
is kept in our repository), and runs in a process of its own, where `gruvihttp.compat.h11` stands in h11's place.
Without a package index there is nothing to run, and these tests skip.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]

# Puts our door in h11's place before the suite is collected, and writes down what became of each test. The suite of
# h11 imports names that h11 keeps private. Those that have a natural counterpart in our engine are given here; the
# others get a placeholder, and the tests that use them are left out below, each with its reason.
PLUGIN = """
import json, os, sys, types

import gruvihttp.compat.h11 as ours
from gruvihttp.errors import ProtocolError
from gruvihttp.sansio import framing, headers, sentinels
from gruvihttp.sansio.states import SWITCH_CONNECT, SWITCH_UPGRADE, Cycle

def module(name, **names):
    made = sys.modules[name] = types.ModuleType(name)
    made.__dict__.update({name: getattr(ours, name) for name in ours.__all__}, **names)
    return made

class ConnectionState(Cycle):
    process_event = Cycle.process
    process_error = Cycle.fail
    process_keep_alive_disabled = Cycle.disable_keep_alive
    process_client_switch_proposal = Cycle.propose_switch
    states = property(lambda self: {ours.CLIENT: self.client, ours.SERVER: self.server})
    pending_switch_proposals = property(lambda self: self._joint[-1])
    start_next_cycle = Cycle.start_next

def body_framing(request_method, message):
    found = framing.of_sent(message, request_method)
    kinds = {"none": ("content-length", (0,)), "chunked": ("chunked", ()), "until-close": ("http/1.0", ())}
    return kinds.get(found.kind, ("content-length", (found.length,)))

def get_comma_header(fields, name):
    return headers.list_members(fields.combined().get(name, b""))

def has_expect_100_continue(request):
    return framing.of_request(request).expects_continue

sys.modules["h11"] = ours
ours.Connection._cstate = property(lambda self: self)  # one test prints ._cstate.states; .states is public
module("h11._connection", _body_framing=body_framing, _keep_alive=framing.persists)
module("h11._events")
module("h11._headers", Headers=headers.Headers, normalize_and_validate=headers.Headers.of, set_comma_header=None,
       get_comma_header=get_comma_header, has_expect_100_continue=has_expect_100_continue)
module("h11._state", ConnectionState=ConnectionState, _SWITCH_CONNECT=SWITCH_CONNECT,
       _SWITCH_UPGRADE=SWITCH_UPGRADE)
module("h11._util", Sentinel=sentinels.Sentinel, bytesify=headers.to_bytes, validate=None)
if "H11_TESTS" in os.environ:
    module("h11.tests").__path__ = [os.environ["H11_TESTS"]]

outcomes = {}

def pytest_runtest_logreport(report):
    name = report.nodeid.replace(os.sep, "/")
    if report.when == "call" or report.outcome != "passed":
        outcomes[name] = report.outcome

def pytest_sessionfinish(session):
    loaded = [getattr(module, "__file__", None) or "" for name, module in sys.modules.items()
              if name.split(".")[0] == "h11" and not name.startswith("h11.tests.")]
    with open(os.environ["OUTCOMES"], "w") as file:
        json.dump({"outcomes": outcomes, "loaded": sorted(set(loaded) - {""})}, file)
"""


@dataclass(frozen=True)
class Suite:
    """A released test-suite: where it comes from, which files of it run, and what is left out for which reason."""

    project: str
    version: str
    sha256: str
    files: tuple[str, ...]
    passes: int
    left_out: dict[str, str] = field(default_factory=dict)
    import_from: str = "."
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> str:
        return f"{self.project}-{self.version}"


QUOTES_A_VALUE = "wants an illegal field value quoted in the error's text; ours names the field: values may be secret"
PRIVATE_HELPER = "calls a private helper whose work is done elsewhere here: "

H11 = Suite(
    project="h11",
    version="0.16.0",
    sha256="4e35b956cf45792e4caa5885e69fba00bdbc6ffafbfa020300e549b208ee5ff1",
    # test_io and test_receivebuffer are about private readers, writers and a line buffer that we do not have; their
    # vectors go through `Connection` in tests/sansio.
    files=(
        "test_against_stdlib_http.py",
        "test_connection.py",
        "test_events.py",
        "test_headers.py",
        "test_helpers.py",
        "test_state.py",
        "test_util.py",
    ),
    passes=52,
    left_out={
        "test_headers.py::test_normalize_and_validate": QUOTES_A_VALUE,
        "test_headers.py::test_get_set_comma_header": PRIVATE_HELPER + "set_comma_header",
        "test_util.py::test_LocalProtocolError": "calls the private method _reraise_as_remote_protocol_error",
        "test_util.py::test_validate": PRIVATE_HELPER + "validate",
        "test_util.py::test_validate_formatting": PRIVATE_HELPER + "validate",
    },
    import_from="/nowhere",
    environment={"H11_TESTS": "h11/tests"},
)

WSPROTO = Suite(
    project="wsproto",
    version="1.3.2",
    sha256="b86885dcf294e15204919950f666e06ffc6c7c114ca900b060d6e16293528294",
    # the rest is about frames and extensions, where no HTTP is spoken
    files=("test_client.py", "test_connection.py", "test_handshake.py", "test_server.py"),
    passes=66,
    import_from="src",
)

HTTPCORE = Suite(
    project="httpcore",
    version="1.0.9",
    sha256="6e34463af53fd2ab5d807f399a9b45ea31c3dfa2276f15a2c3f00afff6e176e8",
    # the blocking half; left out are HTTP/2, SOCKS (needs socksio) and what needs pytest-httpbin
    files=(
        "_sync/test_connection.py",
        "_sync/test_connection_pool.py",
        "_sync/test_http11.py",
        "_sync/test_http_proxy.py",
    ),
    passes=45,
    left_out={"_sync/test_http11.py::test_http11_connection_with_local_protocol_error": QUOTES_A_VALUE},
)


@pytest.fixture(scope="session")
def sources(request: pytest.FixtureRequest) -> Path:
    """The directory in pytest's cache where unpacked source distributions lie."""
    cache = getattr(request.config, "cache", None)
    if cache is None:
        pytest.skip("pytest runs without a cache directory to keep source distributions in")
    return cache.mkdir("sdists")


def unpacked(suite: Suite, sources: Path) -> Path:
    """The directory of the unpacked source distribution of `suite`; fetched by pip if it is not there yet."""
    folder = sources / suite.folder
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=sources) as scratch, tarfile.open(_fetched(suite, sources)) as archive:
            archive.extractall(scratch, filter="data")
            Path(scratch, suite.folder).rename(folder)  # whole or not at all
    return folder


def _fetched(suite: Suite, sources: Path) -> Path:
    wanted = sources / f"{suite.folder}.txt"
    wanted.write_text(f"{suite.project}=={suite.version} --hash=sha256:{suite.sha256}\n")
    command = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += ["--retries=1", "--timeout=10", "--no-binary", suite.project, "--dest", str(sources), "-r", str(wanted)]
    fetched = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=120, check=False)
    if fetched.returncode:
        last_words = (fetched.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        pytest.skip(f"no source distribution of {suite.project} {suite.version}: {last_words}")
    return sources / f"{suite.folder}.tar.gz"


def outcomes(suite: Suite, tests: Path, root: Path, scratch: Path) -> dict[str, str]:
    """Run `suite` in another process, with our module in h11's place: what became of each test, by its name."""
    (scratch / "in_place_of_h11.py").write_text(PLUGIN)
    (scratch / "empty.ini").write_text("[pytest]\n")
    report = scratch / "outcomes.json"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))},
        **{name: str(root / value) for name, value in suite.environment.items()},
        "PYTHONPATH": os.pathsep.join((str(scratch), str(REPOSITORY), str(root / suite.import_from))),
        "OUTCOMES": str(report),
    }
    command = ["-m", "pytest", "-q", "-p", "in_place_of_h11", "-p", "no:cacheprovider", "--import-mode=importlib"]
    command += ["-c", str(scratch / "empty.ini"), "--rootdir", str(tests)]
    command += [f"--deselect={name}" for name in suite.left_out]
    command += [str(tests / name) for name in suite.files]
    run = subprocess.run(
        [sys.executable, *command], cwd=tests, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert report.exists(), run.stdout + run.stderr
    result = json.loads(report.read_text())
    assert run.returncode in (0, 1), run.stdout + run.stderr
    print(run.stdout)  # shown if the test fails
    assert result["loaded"] == [str(REPOSITORY / "gruvihttp" / "compat" / "h11.py")], "h11 itself was at work"
    found: dict[str, str] = result["outcomes"]
    return found


@pytest.mark.timeout(300)  # it may have to fetch and build first
@pytest.mark.parametrize(
    ("suite", "tests"),
    [
        pytest.param(H11, "h11/tests", id="h11"),
        pytest.param(WSPROTO, "tests", id="wsproto"),
        pytest.param(HTTPCORE, "tests", id="httpcore"),
    ],
)
def test_every_test_of_the_suite_passes_over_our_engine(
    suite: Suite, tests: str, sources: Path, tmp_path: Path
) -> None:
    root = unpacked(suite, sources)

    found = outcomes(suite, root / tests, root, tmp_path)

    assert [name for name, outcome in found.items() if outcome != "passed"] == []
    assert Counter(found.values()) == {"passed": suite.passes}
