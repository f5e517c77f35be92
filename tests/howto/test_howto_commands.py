"""Every command of ours in the how-to pages is accepted as it stands there, and those that fetch do fetch."""

from __future__ import annotations

import os
import re
import shlex
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gevent import subprocess as gevent_subprocess
from pages import HOWTO, changed, code_of

from gruvihttp import HttpServer

ROOT = Path(__file__).resolve().parents[2]
GUARD = 40.0
ELSEWHERE = {"frameworks": "frameworks/test_frameworks_docs.py"}  # it has applications of its own


def application(environ: Any, start_response: Any) -> list[bytes]:
    content = environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{environ['PATH_INFO']} {len(content)} {environ['SERVER_PROTOCOL']}\n".encode()]


def commands(name: str) -> list[Any]:
    """The calls of a command, each with the variables that were exported before it."""
    found = []
    for page in sorted(page.stem for page in HOWTO.glob("*.rst")):
        for number, block in enumerate(code_of(page, "console"), 1):
            variables: dict[str, str] = {}
            for line in re.findall(r"^\$ (.*)", block, re.MULTILINE):
                program, *arguments = shlex.split(line)
                if program == "export":
                    variables.update([arguments[0].split("=", 1)])
                elif [program, *arguments][:2] == ["gruvihttp", name] and page not in ELSEWHERE:
                    found.append(pytest.param(arguments, variables, id=f"{page}-{number}"))
    return found


def environment(variables: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRUVIHTTP_")}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


@pytest.mark.parametrize(("arguments", "variables"), commands("serve"))
def test_command_that_serves_is_accepted(arguments: list[str], variables: dict[str, str], pems: Path) -> None:
    (pems / "shop.py").write_text("def app(environ, start_response):\n    pass\n")
    (pems / "server.toml").write_text(code_of("configure", "toml")[0])
    command = [sys.executable, "-m", "gruvihttp", *arguments, "--check"]
    done = subprocess.run(command, env=environment(variables), capture_output=True, text=True, timeout=GUARD)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch("gruvihttp can serve shop:app at .*\n", done.stderr)


@pytest.mark.parametrize(("arguments", "variables"), [*commands("get"), *commands("upload")])
def test_command_that_fetches_gets_answers(
    arguments: list[str], variables: dict[str, str], started: Any, pems: Path, server_tls: ssl.SSLContext
) -> None:
    server_tls.set_alpn_protocols(["h2", "http/1.1"])
    port = started(HttpServer(application), ssl=server_tls)[1]
    (pems / "photo.jpg").write_bytes(b"a photo")
    line = changed(shlex.join(arguments), {"https://example.com/": f"https://localhost:{port}/"})
    command = [sys.executable, "-m", "gruvihttp", *shlex.split(line), "--cacert", "our-ca.pem"]
    done = gevent_subprocess.run(command, env=environment(variables), capture_output=True, timeout=GUARD)
    assert (done.returncode, done.stderr) == (0, b"")
    paths = re.findall(r"example\.com(/\S*)", shlex.join(arguments))
    assert [answer.split()[0] for answer in done.stdout.decode().splitlines()] == paths
    assert {answer.split()[-1] for answer in done.stdout.decode().splitlines()} == {"HTTP/2"}
