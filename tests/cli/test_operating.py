"""The options for proxies, the access log, probes and metrics, as a user gives them."""

from __future__ import annotations

import errno
import json
import os
import pty
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, TextIO, TypeAlias

import pytest

Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
Serve: TypeAlias = Callable[..., Any]

ROOT = Path(__file__).resolve().parent.parent.parent
APP = {
    "shop.py": """
def app(environ, start_response):
    start_response("200 OK", [])
    return [f"{environ['REMOTE_ADDR']} {environ['wsgi.url_scheme']} {environ['HTTP_HOST']}".encode()]
"""
}
LINE = re.compile(r'127\.0\.0\.1 - - \[[^]]+\] "GET /(\S*) HTTP/1\.1" (\d+) \d+')


def get(port: int, path: str = "/", **fields: str) -> tuple[int, str]:
    connection = HTTPConnection("127.0.0.1", port, timeout=20)
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    try:
        connection.request("GET", path, headers={"Host": "direct.example", **headers})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


# the log


def test_log_is_off_where_stderr_is_no_terminal(serve: Serve) -> None:
    served = serve("shop:app", files=APP)
    get(served.port)
    assert served.end() == (0, "")


@pytest.mark.parametrize(
    ("options", "logged"), [([], True), (["--access-log", "off"], False)], ids=["default", "off"]
)
def test_log_is_on_where_stderr_is_a_terminal(tmp_path: Path, options: list[str], logged: bool) -> None:
    (tmp_path / "shop.py").write_text(APP["shop.py"])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-P", "-m", "gruvihttp", "serve", "shop:app", "--bind", "127.0.0.1:0", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=theirs, stdin=subprocess.DEVNULL)
    os.close(theirs)
    try:
        with open(ours, closefd=True) as terminal:
            match = re.search(r"http://127\.0\.0\.1:(\d+) ", terminal.readline())
            assert match
            get(int(match[1]), "/a")
            process.terminate()
            text = read_to_hangup(terminal)
    finally:
        process.kill()
        process.wait(20)
    assert [line[1] for line in LINE.finditer(text)] == (["a"] if logged else [])
    assert text.count('"') == (2 if logged else 0)  # common


def read_to_hangup(terminal: TextIO) -> str:
    """What else a terminal shows until nobody has it open for writing."""
    text = ""
    try:
        while line := terminal.readline():
            text += line
    except OSError as exc:  # as Linux says it
        assert exc.errno == errno.EIO
    return text


def test_log_goes_to_stderr_in_the_chosen_format(serve: Serve) -> None:
    served = serve("shop:app", "--access-log", "combined", files=APP)
    get(served.port, "/a", User_Agent='"quoted"')
    line = served.read_line()
    assert LINE.match(line) and line.endswith('"-" "\\"quoted\\""\n')


def test_log_is_json_on_request(serve: Serve) -> None:
    served = serve("shop:app", "--access-log", "json", files=APP)
    get(served.port, "/a")
    assert json.loads(served.read_line())["target"] == "/a"


def test_log_has_a_format_from_the_environment(serve: Serve) -> None:
    served = serve("shop:app", files=APP, GRUVIHTTP_SERVE_ACCESS_LOG="{method} {target} {status}")
    get(served.port, "/a")
    assert served.read_line() == "GET /a 200\n"


def test_log_is_appended_to_a_file(serve: Serve, tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    file.write_text("before\n")
    served = serve("shop:app", "--access-log-file", "access.log", files=APP)
    get(served.port, "/a")
    before, line = file.read_text().splitlines()
    assert before == "before"
    assert LINE.match(line) and line.count('"') == 6  # combined
    assert served.end() == (0, "")


# probes and metrics


def test_probes_are_answered(serve: Serve) -> None:
    served = serve("shop:app", "--health-path", "/healthz", "--ready-path", "/readyz", files=APP)
    assert [get(served.port, path)[1] for path in ("/healthz", "/readyz")] == ["200 OK\n", "200 OK\n"]


def test_metrics_are_told_where_the_second_line_says(serve: Serve) -> None:
    served = serve("shop:app", "--metrics-bind", "127.0.0.1:0", "--health-path", "/healthz", files=APP)
    match = re.fullmatch(r"gruvihttp tells its metrics at http://127\.0\.0\.1:(\d+)/metrics\n", served.read_line())
    assert match
    get(served.port)
    status, text = get(int(match[1]), "/metrics")
    assert status == 200
    assert "\ngruvihttp_requests_total 1\n" in text
    assert get(int(match[1]), "/healthz")[0] == 200


# proxies


def test_trusted_proxy_is_believed(serve: Serve) -> None:
    served = serve("shop:app", "--trusted-proxy", "10.0.0.0/8", "--trusted-proxy", "127.0.0.1", files=APP)
    claims = {"X_Forwarded_For": "192.0.2.1", "X_Forwarded_Proto": "https", "X_Forwarded_Host": "evil"}
    assert get(served.port, **claims)[1] == "192.0.2.1 https direct.example"


def test_nobody_is_believed_by_default(serve: Serve) -> None:
    served = serve("shop:app", files=APP)
    assert get(served.port, X_Forwarded_For="192.0.2.1")[1] == "127.0.0.1 http direct.example"


def test_fields_of_proxies_are_named_in_any_case(serve: Serve) -> None:
    served = serve("shop:app", "--trusted-proxy", "127.0.0.1", "--proxy-field", "forwarded", files=APP)
    claims = {"Forwarded": "for=192.0.2.1;host=a.example", "X_Forwarded_For": "1.1.1.1"}
    assert get(served.port, **claims)[1] == "192.0.2.1 http a.example"


@pytest.mark.parametrize("senders", ["all", "127.0.0.0/8"])
def test_proxy_header_is_read(serve: Serve, senders: str) -> None:
    served = serve("shop:app", "--proxy-protocol", senders, files=APP)
    with socket.create_connection(("127.0.0.1", served.port), 20) as connection:
        connection.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.0\r\nHost: a\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.endswith(b"\r\n\r\n192.0.2.1 http a")


# mistakes

MISTAKES = {
    "format": (["--access-log", "comined"], "--access-log: 'comined' is no format", "write common, combined, json, .*"),
    "field": (
        ["--access-log", "{clinet}"],
        r"--access-log: the access log has no field \{clinet\}", r"is it \{client\}\?",
    ),
    "file": (
        ["--access-log-file", "none/a.log"],
        "--access-log-file: cannot write to none/a.log: No such file or directory", "give another file",
    ),
    "proxy": (
        ["--trusted-proxy", "10.0.0.1/8"],
        "--trusted-proxy: '10.0.0.1/8' is neither an address nor a network", "write 10.0.0.0/8, or leave out /8",
    ),
    "everybody": (
        ["--trusted-proxy", "*"],
        r"--trusted-proxy: '\*' is neither an address nor a network", "name the network that they are in, .*",
    ),
    "field-without-proxy": (
        ["--proxy-field", "Forwarded"], "--proxy-field needs a proxy", "name who sets it: --trusted-proxy 127.0.0.1",
    ),
    "unknown-field": (
        ["--trusted-proxy", "::1", "--proxy-field", "X-Real-IP"],
        "Invalid value for '--proxy-field': 'X-Real-IP' is not one of .*", "gruvihttp serve --help lists what there is",
    ),
    "senders": (
        ["--proxy-protocol", "yes"],
        "--proxy-protocol: 'yes' is neither an address nor a network", "write 127.0.0.1, .*; or all",
    ),
    "probe": (
        ["--health-path", "healthz"], "--health-path: 'healthz' is no path of a probe", "it must look like /healthz",
    ),
    "probes": (
        ["--health-path", "/a", "--ready-path", "/a"],
        "--ready-path: health_path and ready_path are the same", "'/a'",
    ),
    "metrics": (
        ["--metrics-bind", "localhost"], "cannot listen on 'localhost': it has no port", "write localhost:8000",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "what", "advice"), MISTAKES.values(), ids=MISTAKES)
def test_option_that_is_wrong(run: Run, arguments: list[str], what: str, advice: str) -> None:
    result = run("serve", "shop:app", "--check", *arguments, files=APP)
    lines = result.stderr.decode().splitlines()
    assert re.fullmatch(f"gruvihttp: {what}", lines[0]), lines
    assert re.fullmatch(f"  {advice}", lines[1]), lines
    assert (result.returncode, lines[2:]) == (2, [])


def test_address_of_metrics_that_is_in_use_is_named(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "shop:app", "--bind", "127.0.0.1:0", "--metrics-bind", f"127.0.0.1:{port}", files=APP)
    what, advice = result.stderr.decode().splitlines()
    assert what.startswith(f"gruvihttp: cannot listen on 127.0.0.1:{port}: ")
    assert advice.startswith("  stop it, or choose another port: --metrics-bind 127.0.0.1:")
    assert result.returncode == 4


# clients


UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"


@pytest.mark.parametrize(
    ("options", "closes"), [([], True), (["--reject-upload", "drain"], False)], ids=["default", "drain"]
)
def test_upload_that_nobody_reads_is_treated_as_was_said(serve: Serve, options: list[str], closes: bool) -> None:
    served = serve("shop:app", *options, files=APP)
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as sock:
        sock.sendall(UPLOAD)
        head = sock.recv(65536).partition(b"\r\n\r\n")[0]
    assert (b"Connection: close" in head) == closes
    assert served.end()[0] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [(["--identifier", "shop"], "shop"), (["--identifier", ""], None)],
    ids=["text", "empty"],
)
def test_server_says_what_it_was_told_to_say(serve: Serve, options: list[str], said: str | None) -> None:
    served = serve("shop:app", *options, files=APP)
    connection = HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("GET", "/")
    assert connection.getresponse().getheader("Server") == said
    connection.close()
    assert served.end()[0] == 0


def test_request_ends_with_its_client_where_that_was_said(serve: Serve, tmp_path: Path) -> None:
    told = tmp_path / "told"
    application = f"""
import gevent, pathlib
def app(environ, start_response):
    try:
        pathlib.Path({str(told)!r}).write_text("begun")
        gevent.sleep(60)
    finally:
        pathlib.Path({str(told)!r}).write_text("ended")
"""
    served = serve("shop:app", "--cancel-on-disconnect", files={"shop.py": application})
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: told.exists())
    wait_for(lambda: told.read_text() == "ended")
    assert served.end()[0] == 0


def wait_for(condition: Callable[[], bool]) -> None:
    guard = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < guard
        time.sleep(0.01)
