"""Every mistake is one line that says what is wrong, one line that says what to do, and an exit code of its kind."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from gruvihttp.commands.addresses import parse_bind
from gruvihttp.commands.listening import refusal
from gruvihttp.errors import TransportError

ROOT = Path(__file__).resolve().parent.parent.parent
Run: TypeAlias = Callable[..., "subprocess.CompletedProcess[bytes]"]
Expect: TypeAlias = Callable[["subprocess.CompletedProcess[bytes]", int, str, str], None]

USAGE, APPLICATION, BIND, NETWORK = 2, 3, 4, 5

APP = "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'']\n"


def said(result: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert result.stdout == b""
    return result.stderr.decode().splitlines()


# the application

NO_WSGI = r"a WSGI application is called with \(environ, start_response\)"

APPLICATIONS = {
    "no-such-module": (
        "helo:app", {"hello.py": APP}, APPLICATION,
        "there is no module 'helo' in .*, nor installed", r"did you mean 'hello'\?",
    ),
    "no-such-module-and-none-like-it": (
        "xyzzy:app", {"hello.py": APP, "shop/__init__.py": ""}, APPLICATION,
        "there is no module 'xyzzy' in .*, nor installed", "here are: hello, shop",
    ),
    "no-module-at-all": (
        "xyzzy", {}, APPLICATION,
        "there is no module 'xyzzy' in .*, nor installed", "change to the directory of your application, .*",
    ),
    "installed-module-misspelled": (
        "flaskk:app", {}, APPLICATION, "there is no module 'flaskk' in .*", r"did you mean 'flask'\?",
    ),
    "no-such-module-in-package": (
        "shop.vews:app", {"shop/__init__.py": "", "shop/views.py": APP}, APPLICATION,
        "there is no module 'vews' in shop", r"did you mean 'shop\.views'\?",
    ),
    "dot-for-colon": (
        "hello.app", {"hello.py": APP}, APPLICATION,
        r"'hello\.app' is not a module, but 'app' is a name in hello\.py",
        "write a colon: gruvihttp serve hello:app",
    ),
    "file-for-module": (
        "src/hello.py:app", {"src/hello.py": APP}, USAGE,
        r"'src/hello\.py:app' is the name of a file, and a module is wanted",
        r"write gruvihttp serve src\.hello:app",
    ),
    "file-in-this-directory": (
        "./hello.py", {"hello.py": APP}, USAGE,
        r"'\./hello\.py' is the name of a file, .*", "write gruvihttp serve hello",
    ),
    "no-name-behind-the-colon": (
        "hello:", {"hello.py": APP}, USAGE, "'hello:' does not name an application", "write module, module:name or .*",
    ),
    "arguments-for-a-factory": (
        "hello:make(1)", {"hello.py": APP}, USAGE, r"'hello:make\(1\)' does not name an application", "write module.*",
    ),
    "no-such-name": ("hello:ap", {"hello.py": APP}, APPLICATION, r"no 'ap' in hello\.py", r"did you mean 'app'\?"),
    "no-such-name-and-none-like-it": (
        "hello:xyzzy", {"hello.py": "from os import path\n" + APP}, APPLICATION,
        r"no 'xyzzy' in hello\.py", "it has: app",
    ),
    "no-such-attribute-of-an-object": (
        "hello:shop.ap", {"hello.py": f"class shop:\n    x = 1\n    {APP.replace(chr(10), chr(10) + '    ')}"},
        APPLICATION, "no 'ap' in hello:shop", r"did you mean 'app'\?",
    ),
    "none-of-the-usual-names": (
        "hello", {"hello.py": APP.replace("app(", "aplication(")}, APPLICATION,
        r"no 'app', 'application' or 'create_app' in hello\.py",
        r"did you mean 'aplication'\? gruvihttp serve hello:aplication",
    ),
    "usual-names-for-nothing-else": (
        "hello", {"hello.py": APP.replace("app(", "xyzzy(")}, APPLICATION,
        r"no 'app', 'application' or 'create_app' in hello\.py",
        "say which it is, such as gruvihttp serve hello:xyzzy",
    ),
    "empty-module": (
        "hello", {"hello.py": ""}, APPLICATION,
        r"no 'app', 'application' or 'create_app' in hello\.py", f"define one: {NO_WSGI}",
    ),
    "not-callable": (
        "hello:app", {"hello.py": "app = 'x'\n"}, APPLICATION, "hello:app is a str, which cannot be called", NO_WSGI,
    ),
    "usual-name-not-callable": (
        "hello", {"hello.py": "app = {}\n"}, APPLICATION, "hello:app is a dict, which cannot be called", NO_WSGI,
    ),
    "factory-without-parentheses": (
        "hello:make", {"hello.py": "def make():\n    return 1\n"}, APPLICATION,
        r"hello:make takes \(\), and is no WSGI application",
        r"if it makes the application, say so: gruvihttp serve 'hello:make\(\)'",
    ),
    "function-of-three": (
        "hello:f", {"hello.py": "def f(a, b, c): ...\n"}, APPLICATION,
        r"hello:f takes \(a, b, c\), and is no WSGI application", NO_WSGI,
    ),
    "factory-that-needs-arguments": (
        "hello:make()", {"hello.py": "def make(config):\n    return 1\n"}, APPLICATION,
        r"hello:make\(\) needs arguments: \(config\)", "give them defaults, or .*",
    ),
    "factory-that-cannot-be-called": (
        "hello:make()", {"hello.py": "make = 1\n"}, APPLICATION,
        "hello:make cannot be called: it is an int", "without the parentheses: gruvihttp serve hello:make",
    ),
    "factory-that-makes-nothing": (
        "hello", {"hello.py": "def create_app():\n    pass\n"}, APPLICATION,
        r"hello:create_app\(\) is None, which cannot be called", NO_WSGI,
    ),
    "factory-that-raises": (
        "hello:make()", {"hello.py": "def make():\n    raise KeyError('DATABASE')\n"}, APPLICATION,
        r"hello:make\(\) failed: KeyError: 'DATABASE' \(hello\.py, line 2\)",
        r"correct hello\.py, line 2; --traceback .*",
    ),
    "asgi-function": (
        "hello:app", {"hello.py": "async def app(scope, receive, send): ...\n"}, APPLICATION,
        "hello:app is an ASGI application, and gruvihttp serves WSGI", "serve it with an ASGI server, .*",
    ),
    "asgi-object": (
        "hello:app",
        {"hello.py": "class App:\n    async def __call__(self, scope, receive, send): ...\napp = App()\n"}, APPLICATION,
        "hello:app is an ASGI application, and gruvihttp serves WSGI", "serve it with an ASGI server, .*",
    ),
    "raises-while-imported": (
        "hello", {"hello.py": "import inner\n", "inner.py": "def f():\n    1 / 0\nf()\n"}, APPLICATION,
        r"cannot import hello: ZeroDivisionError: division by zero \(inner\.py, line 2\)",
        r"correct inner\.py, line 2; --traceback shows every frame",
    ),
    "exits-while-imported": (
        "hello", {"hello.py": "import sys\nsys.exit('no settings')\n"}, APPLICATION,
        r"cannot import hello: SystemExit: no settings \(hello\.py, line 2\)", r"correct hello\.py, line 2; .*",
    ),
    "syntax-error": (
        "hello", {"hello.py": "x = (\n"}, APPLICATION,
        r"cannot import hello: SyntaxError: '\(' was never closed \(hello\.py, line 1\)",
        r"correct hello\.py, line 1; --traceback .*",
    ),
    "name-that-cannot-be-imported": (
        "hello", {"hello.py": "from os import xyzzy\n"}, APPLICATION,
        r"cannot import hello: ImportError: cannot import name 'xyzzy' .* \(hello\.py, line 1\)", "correct .*",
    ),
    "missing-dependency": (
        "hello", {"hello.py": "import xyzzy_of_nobody\n"}, APPLICATION,
        r"hello needs the module 'xyzzy_of_nobody', which is not installed \(hello\.py, line 1\)",
        "install it for .*, or correct the import; .*",
    ),
    "missing-dependency-misspelled": (
        "hello", {"hello.py": "import models\n", "models.py": "\nimport flaskk\n"}, APPLICATION,
        r"hello needs the module 'flaskk', which is not installed \(models\.py, line 2\)",
        r"did you mean 'flask'\?; .*",
    ),
    "missing-dependency-of-the-same-name": (
        "shop.web", {"shop/__init__.py": "import shop.web.views\n", "shop/web.py": APP}, APPLICATION,
        r"shop\.web needs the module 'shop\.web\.views', .* \(shop/__init__\.py, line 1\)", ".*",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "files", "code", "what", "advice"), APPLICATIONS.values(), ids=APPLICATIONS)
def test_application_that_cannot_be_served(
    run: Run, expect: Expect, name: str, files: dict[str, str], code: int, what: str, advice: str
) -> None:
    expect(run("serve", name, files=files), code, what, advice)


INNER = {"hello.py": "import inner\n", "inner.py": "import json\njson.loads('x')\n"}


def test_traceback_shows_the_frames_of_the_author(run: Run) -> None:
    lines = said(run("serve", "hello", files=INNER))
    frames = [line.strip() for line in lines if line.startswith("  File")]
    assert [re.sub(r'".*/', '"', frame) for frame in frames] == [
        'File "hello.py", line 1, in <module>',
        'File "inner.py", line 2, in <module>',
    ]
    assert lines[-1] == "json.decoder.JSONDecodeError: Expecting value: line 1 column 1 (char 0)"


def test_traceback_shows_every_frame_when_asked(run: Run) -> None:
    text = "\n".join(said(run("serve", "hello", "--traceback", files=INNER)))
    assert "json/decoder.py" in text
    assert "gruvihttp/commands/loading.py" in text


def test_causes_of_an_error_are_shown_as_short(run: Run) -> None:
    hello = "import json\ntry:\n    json.loads('x')\nexcept ValueError as exc:\n    raise RuntimeError from exc\n"
    text = "\n".join(said(run("serve", "hello", files={"hello.py": hello})))
    assert "The above exception was the direct cause" in text
    assert "json/decoder.py" not in text


def test_error_in_what_is_installed_shows_where_it_was_called_from(run: Run) -> None:
    lines = said(run("serve", "hello", files={"hello.py": "import flask\nflask.Flask(None)\n"}))
    assert lines[0].endswith("(hello.py, line 2)")
    assert not any("site-packages" in line for line in lines)


def test_application_is_loaded_before_an_address_is_taken(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", "xyzzy", "--bind", f"127.0.0.1:{taken.getsockname()[1]}")
    assert result.returncode == APPLICATION


# arguments

USAGES = {
    "address-without-port": (["serve", "-b", "localhost"], "cannot listen on 'localhost': it has no port", "write .*"),
    "address-with-high-port": (["serve", "-b", ":65536"], "cannot listen on ':65536': there is no port 65536", ".*"),
    "no-number": (
        ["serve", "--timeout-idle", "soon"],
        "Invalid value for '--timeout-idle': 'soon' is not a number of seconds: .*",
        "gruvihttp serve --help lists what there is",
    ),
    "negative-number": (
        ["serve", "--limit-fields-count=-1"],
        "Invalid value for '--limit-fields-count': '-1' is not a positive whole number: .*",
        "gruvihttp serve --help lists what there is",
    ),
    "number-that-http2-does-not-allow": (
        ["serve", "--http2-frame-bytes", "1k"], "HTTP/2: frame_bytes must be 16384 to 16777215, not 1024",
        "gruvihttp serve --help-all says what it takes",
    ),
    "no-time-at-all": (
        ["serve", "--warn-blocking", "0"],
        "Invalid value for '--warn-blocking': '0' is no time at all: .*", "gruvihttp serve --help lists what there is",
    ),
    "no-mode": (["serve", "--socket-mode", "rw"], "'rw' is no mode of a file", "write it as chmod has it: 660, .*"),
    "no-workers": (
        ["serve", "--workers", "0"],
        "Invalid value for '-w' / '--workers': 0 is not in the range .*", "gruvihttp serve --help lists what there is",
    ),
    "relief-without-workers": (
        ["serve", "--max-requests", "5"],
        "--max-requests replaces worker processes, and there are none", "add --workers 1, or more",
    ),
    "option-without-its-value": (
        ["serve", "--drain-delay"],
        "Option '--drain-delay' requires an argument.", "gruvihttp serve --help lists what there is",
    ),
    "two-applications": (
        ["serve", "hello:app", "hello:app"],
        r"Got unexpected extra argument \(hello:app\)", "gruvihttp serve --help lists what there is",
    ),
    "key-without-certificate": (
        ["serve", "--tls-key", "hello.py"], "--tls-key needs a certificate", r"name its file: --tls-cert cert\.pem",
    ),
    "name-without-certificate": (
        ["serve", "--tls-sni", "a", "hello.py", "hello.py"], "--tls-sni needs a certificate", "name its file: .*",
    ),
    "authorities-without-certificate": (
        ["serve", "--tls-client-ca", "hello.py"], "--tls-client-ca needs a certificate", "name its file: .*",
    ),
    "verification-without-authorities": (
        ["serve", "--tls-cert", "hello.py", "--tls-verify-client", "optional"],
        "--tls-verify-client needs to know whom to trust", r"name the authorities: --tls-client-ca ca\.pem",
    ),
    "no-certificate": (
        ["serve", "--tls-cert", "hello.py"], r"cannot use hello\.py: .*", "give them in PEM format, .*",
    ),
    "certificate-that-is-not-there": (
        ["serve", "--tls-cert", "cert.pem"], r"Invalid value for '--tls-cert': File 'cert\.pem' does not exist\.", ".*",
    ),
    "name-of-other-servers": (
        ["serve", "--port", "80"], r"No such option.* '?--port'?\.?", "write --bind 127.0.0.1:8000, or --bind :8000 .*"
    ),
    "file-before-url": (
        ["upload", "hello.py", "http://h/"], r"'hello\.py' is a file", "write the URL first: gruvihttp upload URL FILE"
    ),
    "no-url": (["get"], "Missing argument 'URL...'.", "gruvihttp get --help lists what there is"),
    "url-without-scheme": (["get", "localhost:80/x"], "'localhost:80/x' has no scheme", "write http://localhost:80/x"),
    "url-without-scheme-or-host": (["get", "//h/x"], "'//h/x' has no scheme", "write http://h/x"),
    "misspelled-scheme": (
        ["get", "htp://h/"], "'htp' in 'htp://h/' is no scheme for HTTP", r"did you mean http://h/\?",
    ),
    "other-scheme": (["get", "gopher://h/"], "'gopher' in 'gopher://h/' is no .*", "write http:// or https://"),
    "url-without-host": (["get", "http:///x"], "'http:///x' is no URL", "a URL looks like http://localhost:8000/.*"),
    "url-with-bad-port": (["get", "http://h:x/"], "'http://h:x/' is no URL", "a URL looks like .*"),
    "url-with-blank": (
        ["get", "http://h/a b"], "'http://h/a b' is no URL", "a blank in a URL is written %20: http://h/a%20b",
    ),
    "no-field": (["get", "-H", "x", "http://h/"], "'x' is no header field", "write -H 'Name: value'"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "what", "advice"), USAGES.values(), ids=USAGES)
def test_argument_that_is_wrong(run: Run, expect: Expect, arguments: list[str], what: str, advice: str) -> None:
    expect(run(*arguments, files={"hello.py": APP}), USAGE, what, advice)


def test_key_of_another_certificate_is_named(run: Run, expect: Expect, certificate: dict[str, str]) -> None:
    result = run("serve", "--tls-cert", certificate["cert"], "--tls-key", certificate["other"])
    expect(result, USAGE, "cannot use .*: the key belongs to another certificate", "give its own key")


# addresses


def test_port_in_use_names_who_uses_it(run: Run, expect: Expect) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--bind", f"127.0.0.1:{port}")
    holder = rf".* \(process {os.getpid()}\)" if Path("/proc/net/tcp").exists() else "another process"
    another = 8000 if port == 65535 else port + 1
    expect(
        result, BIND,
        rf"cannot listen on 127\.0\.0\.1:{port}: {holder} does",
        rf"stop it, or choose another port: --bind 127\.0\.0\.1:{another}",
    )  # fmt: skip


def test_unix_socket_in_use_names_who_uses_it(run: Run, expect: Expect, tmp_path: Path) -> None:
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
        taken.listen()
        result = run("serve", "--bind", f"unix:{path}")
    expect(result, BIND, "cannot listen on unix:.*: .* does", "stop it, or choose another path")


BINDS = {
    "address-of-another-machine": (
        "192.0.2.1:8000", "this machine has no such address", "use 127.0.0.1, or all that it has: --bind :8000",
    ),
    "host-without-address": ("nobody.invalid:0", ".*", "give an address of this machine, .*"),
    "no-directory": ("unix:none/a.sock", "there is no such directory", "make it first: mkdir -p none"),
    "file": ("unix:hello.py", "there is a file, and it is not a socket", "choose a path where nothing is"),
    "long-path": (f"unix:{'x' * 200}", ".*path too long", "choose another path, .*"),
}  # fmt: skip


@pytest.mark.parametrize("workers", [[], ["--workers", "2"]], ids=["alone", "workers"])
@pytest.mark.parametrize(("address", "what", "advice"), BINDS.values(), ids=BINDS)
def test_address_that_cannot_be_listened_on(
    run: Run, expect: Expect, address: str, what: str, advice: str, workers: list[str]
) -> None:
    result = run("serve", "--bind", address, *workers, files={"hello.py": APP})
    expect(result, BIND, f"cannot listen on {re.escape(address)}: {what}", advice)


# what fails in a worker is said by the first, and by nobody else
IN_WORKERS = {
    "application": (["nosuch"], APPLICATION, "there is no module 'nosuch' in .*, nor installed", ".*"),
    "log": (["--access-log-file", "none/a"], USAGE, "--access-log-file: cannot write to none/a: .*", "give .*"),
    "proxy": (["--trusted-proxy", "*"], USAGE, r"--trusted-proxy: '\*' is neither .*", "name the network .*"),
}  # fmt: skip


@pytest.mark.parametrize(("arguments", "code", "what", "advice"), IN_WORKERS.values(), ids=IN_WORKERS)
def test_mistake_with_workers_is_said_once(
    run: Run, expect: Expect, arguments: list[str], code: int, what: str, advice: str
) -> None:
    expect(run("serve", "--workers", "3", "--bind", "127.0.0.1:0", *arguments), code, what, advice)


def test_help_that_nobody_reads_to_its_end_is_no_mistake() -> None:
    shell = f"set -o pipefail; {sys.executable} -m gruvihttp serve --help-all | head -1"
    result = subprocess.run(["bash", "-c", shell], cwd=ROOT, capture_output=True, timeout=40)
    assert (result.stdout, result.stderr) == (b"Usage: gruvihttp serve [OPTIONS] [APP]\n", b"")


@pytest.mark.parametrize(
    ("address", "advice"),
    [("127.0.0.1:80", "choose a port from 1024 on"), ("unix:/run/a.sock", "choose a directory that this user may")],
    ids=["port", "path"],
)
def test_address_that_is_not_permitted(address: str, advice: str) -> None:
    cause = PermissionError(13, "Permission denied")
    exc = TransportError(13, "cannot listen: Permission denied")
    exc.__cause__ = cause
    mistake = refusal(parse_bind(address), exc)
    assert (mistake.message, mistake.exit_code) == (f"cannot listen on {address}: Permission denied", BIND)
    assert mistake.advice.startswith(advice)
