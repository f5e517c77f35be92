"""What the how-to tells users of frameworks to write and to type, done as it says, in an empty directory."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import subprocess

from gruvihttp import HttpPool

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "howto" / "frameworks.rst").read_text()
FILES = {
    name: re.sub(r"^    ", "", text, flags=re.MULTILINE)
    for name, text in re.findall(r":caption: (\S+)\n\n((?:    .*\n|\n)+)", PAGE)
}
COMMANDS = re.findall(r"^    \$ (.*)$", PAGE, re.MULTILINE)
GUARD = 30.0


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """What the page has a user write; and the package as if it were installed, since that is how pserve finds it."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("127.0.0.1:8000", "127.0.0.1:0"))
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    groups = config["options.entry_points"].items()
    facts = tmp_path / "gruvihttp-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: gruvihttp\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text("".join(f"[{name}]{lines}\n\n" for name, lines in groups))
    return tmp_path


@pytest.fixture
def run(directory: Path) -> Iterator[Callable[..., Any]]:
    """Runs a command of the page with more arguments; what it wrote until it listens, and where that is."""
    started: list[Any] = []

    def run(command: str, *more: str) -> str:
        assert command in COMMANDS, f"the page does not say so: {COMMANDS}"
        program, *arguments = shlex.split(command)
        module = {"gruvihttp": "gruvihttp", "pserve": "pyramid.scripts.pserve"}[program]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GRUVIHTTP_", "PYTHON"))}
        environ = {**kept, "PYTHONPATH": f"{directory}:{ROOT}"}
        line = [sys.executable, "-m", module] if program == "gruvihttp" else [sys.executable, "-c", PSERVE]
        started.append(
            subprocess.Popen([*line, *arguments, *more], cwd=directory, env=environ, stderr=subprocess.PIPE)
        )
        said = ""
        with gevent.Timeout(GUARD, AssertionError(said)):
            while (found := re.search(r"gruvihttp serving .* at (http://\S+)", said)) is None:
                piece = started[-1].stderr.readline()
                assert piece, said
                said += piece.decode()
        url: str = found[1]
        return url

    yield run
    for one in started:
        one.send_signal(signal.SIGTERM)
        assert one.wait(timeout=GUARD) == 0
        one.stderr.close()


PSERVE = "import sys; from pyramid.scripts.pserve import main; sys.exit(main())"


def get(url: str) -> Any:
    with HttpPool(timeout=GUARD) as pool:
        return pool.get(url)


def test_flask(run: Any) -> None:
    pytest.importorskip("flask")
    assert get(run("gruvihttp serve hello:app", "--bind", "127.0.0.1:0")).text == "Hello from Flask"


def test_django(run: Any, directory: Path) -> None:
    pytest.importorskip("django")
    subprocess.run([sys.executable, "-m", "django", "startproject", "shop", "."], cwd=directory, check=True)
    answer = get(run("gruvihttp serve shop.wsgi", "--bind", "127.0.0.1:0"))
    assert answer.status == 200
    assert "The install worked successfully" in answer.text


def test_pyramid(run: Any) -> None:
    pytest.importorskip("pyramid")
    assert get(run("gruvihttp serve 'pages:make_app()'", "--bind", "127.0.0.1:0")).text == "Hello from Pyramid"


def test_pserve(run: Any) -> None:
    pytest.importorskip("pyramid")
    assert get(run("pserve development.ini")).text == "Hello from Pyramid"


def test_production(run: Any) -> None:
    pytest.importorskip("flask")
    [command] = [one for one in COMMANDS if "--workers" in one]
    url = run(command, "--bind", "127.0.0.1:0")
    assert get(url).text == "Hello from Flask"
    assert get(f"{url}/health").status == 200
