"""26 checks that programs go on working when the http.client door takes the place of ``http.client``.

The libraries were imported before `patched()`, nothing is monkey-patched, and the server is another process: ours,
and nginx in front of ours. Those who do not have a library skip its checks.
"""

from __future__ import annotations

import http.client
import http.cookiejar
import io
import logging
import shutil
import subprocess
import sys
import urllib.request
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from gruvihttp.compat.http_client import patched

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = Path(__file__).with_name("http_client_application.py")
GUARD_SECONDS = 10.0

LINES = b"one\ntwo\nthree\n\nlast"
PIECES = b"first piece\nsecond, a longer piece\n" + b"x" * 5000 + b"\nlast piece\n"

NGINX = """
daemon off;
master_process off;
worker_processes 1;
pid {directory}/pid;
error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_max_body_size 0;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen unix:{directory}/socket;
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection "";
        }}
    }}
}}
"""


def _wait_for(condition: Any, process: subprocess.Popen[bytes]) -> None:
    with gevent.Timeout(GUARD_SECONDS):
        while not condition():
            assert process.poll() is None, "the server has ended"
            gevent.sleep(0.01)  # nothing else tells that another process is ready


def _answers(port: int) -> bool:
    try:
        gevent.socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    port_file = tmp_path_factory.mktemp("server") / "port"
    process = subprocess.Popen([sys.executable, str(PROGRAM), str(port_file)], env={"PYTHONPATH": str(REPOSITORY)})
    try:
        _wait_for(lambda: port_file.exists() and port_file.read_text(), process)
        yield int(port_file.read_text())
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def nginx(upstream: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    program = shutil.which("nginx", path="/usr/bin:/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")
    if program is None:
        pytest.skip("nginx is not installed")
    directory = tmp_path_factory.mktemp("nginx")
    with gevent.socket.create_server(("127.0.0.1", 0)) as reserved:  # nginx cannot tell which port it got
        port = int(reserved.getsockname()[1])
    configuration = directory / "nginx.conf"
    configuration.write_text(NGINX.format(directory=directory, port=port, upstream=upstream))
    command = [program, "-p", str(directory), "-e", "stderr", "-c", str(configuration)]
    process = subprocess.Popen(command)
    try:
        _wait_for(lambda: _answers(port), process)
        yield port
    finally:
        process.kill()
        process.wait()


@pytest.fixture(params=["gruvihttp", "nginx"])
def port(request: pytest.FixtureRequest, upstream: int) -> int:
    """The port of a server; all checks run on both."""
    return upstream if request.param == "gruvihttp" else int(request.getfixturevalue("nginx"))


@pytest.fixture(autouse=True)
def door() -> Iterator[None]:
    for library in ("requests", "botocore.session", "botocore.httpsession", "httplib2"):
        try:
            __import__(library)
        except ImportError:  # the checks that need it skip
            pass
    with patched():
        yield


@pytest.fixture
def connection(port: int) -> Iterator[Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD_SECONDS)
    assert type(connection).__module__.startswith("gruvihttp.")
    yield connection
    connection.close()


@pytest.fixture
def url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def got(connection: Any, path: str, method: str = "GET") -> Any:
    connection.request(method, path)
    return connection.getresponse()


# -- http.client itself --------------------------------------------------------------------------------------------


def test_01_status_reason_and_version(connection: Any) -> None:
    response = got(connection, "/lines")

    assert (response.status, response.code, response.reason, response.version) == (200, 200, "OK", 11)
    assert response.read() == LINES


def test_02_two_set_cookie_fields_stay_two(connection: Any) -> None:
    response = got(connection, "/cookies")

    assert response.headers.get_all("set-cookie") == ["first=1; Path=/", "second=2; Path=/"]
    assert response.getheader("Set-Cookie") == "first=1; Path=/, second=2; Path=/"
    assert [name for name, _ in response.getheaders()].count("Set-Cookie") == 2


def test_03_headers_are_a_message(connection: Any) -> None:
    response = got(connection, "/")

    assert isinstance(response.msg, http.client.HTTPMessage)
    assert response.msg is response.headers is response.info()
    assert response.headers.get_content_type() == "text/plain"
    assert response.headers.get_content_charset() == "utf-8"


@pytest.mark.parametrize(("path", "content"), [("/lines", LINES), ("/pieces", PIECES)])
def test_04_readinto(connection: Any, path: str, content: bytes) -> None:
    response = got(connection, path)
    target = bytearray(7)
    found = b""
    while count := response.readinto(target):
        found += target[:count]

    assert found == content


@pytest.mark.parametrize(("path", "content"), [("/lines", LINES), ("/pieces", PIECES)])
def test_05_read1_peek_and_readline(connection: Any, path: str, content: bytes) -> None:
    response = got(connection, path)

    assert content.startswith(response.peek(3)[:3])
    first = response.readline()
    second = response.read1(4)

    assert first == content[: content.index(b"\n") + 1]
    assert first + second + b"".join(iter(response.readline, b"")) == content


def test_06_text_wrapper(connection: Any) -> None:
    with io.TextIOWrapper(got(connection, "/lines"), "ascii") as text:
        assert text.read() == LINES.decode()


def test_07_buffered_reader(connection: Any) -> None:
    with io.BufferedReader(got(connection, "/pieces")) as reader:
        assert reader.readlines() == PIECES.splitlines(keepends=True)


def test_08_length_chunked_will_close_and_isclosed(connection: Any) -> None:
    response = got(connection, "/lines")
    assert (response.length, response.chunked) == (len(LINES), False)
    assert (response.will_close, response.isclosed()) == (False, False)
    response.read()
    assert (response.length, response.isclosed(), response.closed) == (0, True, False)

    response = got(connection, "/pieces")
    assert (response.length, response.chunked, response.chunk_left, response.will_close) == (None, True, None, False)
    assert response.read() == PIECES


def test_09_head_204_and_304_on_one_connection(connection: Any) -> None:
    seen = []
    for method, path in [("HEAD", "/lines"), ("GET", "/204"), ("GET", "/304"), ("HEAD", "/pieces"), ("GET", "/lines")]:
        response = got(connection, path, method)
        seen.append((response.status, response.read()))
        sock = connection.sock
        assert sock is not None

    assert seen == [(200, b""), (204, b""), (304, b""), (200, b""), (200, LINES)]
    assert connection.sock is sock


def test_10_with_statement_and_errors_of_state(connection: Any) -> None:
    with pytest.raises(http.client.ResponseNotReady):
        connection.getresponse()
    with pytest.raises(http.client.CannotSendHeader):
        connection.putheader("X", "y")
    connection.request("GET", "/")
    with pytest.raises(http.client.CannotSendRequest):
        connection.request("GET", "/")
    with connection.getresponse() as response:
        assert response.read() == b"Hello, World!\n"
    assert response.closed
    connection.close()
    connection.auto_open = 0
    with pytest.raises(http.client.NotConnected):
        connection.request("GET", "/")


# -- the standard library's users ---------------------------------------------------------------------------------


def test_11_urllib_request_with_chunks(url: str) -> None:
    with urllib.request.urlopen(url + "/pieces", timeout=GUARD_SECONDS) as response:
        assert (response.status, response.msg, response.url) == (200, response.reason, url + "/pieces")
        assert response.headers.get_content_type() == "text/plain"
        assert response.read() == PIECES


def test_12_urllib_request_with_redirect_and_cookie_jar(url: str) -> None:
    jar = http.cookiejar.CookieJar()
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))

    with opener.open(url + "/redirect", timeout=GUARD_SECONDS) as response:
        assert response.read() == b"redirected=yes"
        assert response.geturl() == url + "/show-cookies"
    assert {cookie.name for cookie in jar} == {"redirected"}


def test_13_xmlrpc(url: str) -> None:
    with xmlrpc.client.ServerProxy(url + "/RPC2") as proxy:
        assert [proxy.add(2, 3), proxy.add(4, 5)] == [5, 9]


# -- urllib3 -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pool(port: int) -> Iterator[Any]:
    urllib3 = pytest.importorskip("urllib3")
    with urllib3.HTTPConnectionPool("127.0.0.1", port, timeout=GUARD_SECONDS, retries=False) as pool:
        yield pool


def test_14_urllib3_stream(pool: Any) -> None:
    response = pool.request("GET", "/pieces", preload_content=False)

    assert b"".join(response.stream(100)) == PIECES


def test_15_urllib3_read_chunked(pool: Any) -> None:
    response = pool.request("GET", "/pieces", preload_content=False)

    assert b"".join(response.read_chunked()) == PIECES


def test_16_urllib3_read1(pool: Any) -> None:
    response = pool.request("GET", "/lines", preload_content=False)

    assert b"".join(iter(lambda: response.read1(5), b"")) == LINES


def test_17_urllib3_reuses_one_connection(pool: Any) -> None:
    for path in ["/", "/pieces", "/lines", "/204", "/pieces", "/"]:
        assert pool.request("GET", path).status in (200, 204)
        b"".join(pool.request("GET", path, preload_content=False).stream(64))

    assert (pool.num_connections, pool.num_requests) == (1, 12)


def test_18_urllib3_has_nothing_to_warn_of(pool: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for path in ["/", "/pieces", "/cookies", "/304"]:
            pool.request("GET", path)

    assert caplog.records == []


# -- requests ------------------------------------------------------------------------------------------------------


@pytest.fixture
def session() -> Iterator[Any]:
    requests = pytest.importorskip("requests")
    with requests.Session() as session:
        session.trust_env = False
        yield session


def test_19_requests_get_and_gzip(session: Any, url: str) -> None:
    assert session.get(url + "/").text == "Hello, World!\n"
    response = session.get(url + "/gzip")
    assert (response.content, response.headers["Content-Encoding"], response.reason) == (LINES, "gzip", "OK")


def test_20_requests_follows_redirects_with_cookies(session: Any, url: str) -> None:
    session.get(url + "/cookies")
    response = session.get(url + "/redirect")

    assert set(response.text.split("; ")) == {"first=1", "second=2", "redirected=yes"}
    assert [step.status_code for step in response.history] == [302]


def test_21_requests_iter_content(session: Any, url: str) -> None:
    with session.get(url + "/pieces", stream=True) as response:
        assert b"".join(response.iter_content(100)) == PIECES
    with session.get(url + "/lines", stream=True) as response:
        assert list(response.iter_lines()) == LINES.splitlines()


def test_22_requests_uploads_a_generator(session: Any, url: str) -> None:
    response = session.post(url + "/echo", data=iter([b"one ", b"two ", b"three"]))

    assert (response.content, response.headers["X-Method"]) == (b"one two three", "POST")


def test_23_requests_uploads_files(session: Any, url: str, tmp_path: Path) -> None:
    path = tmp_path / "content"
    path.write_bytes(b"0123456789" * 20_000)
    with path.open("rb") as file:
        assert session.put(url + "/echo", data=file).content == path.read_bytes()
    with path.open("rb") as file:
        sent = session.post(url + "/echo", files={"file": file}).content

    assert path.read_bytes() in sent


# -- botocore, httplib2, vcrpy --------------------------------------------------------------------------------------


@pytest.fixture
def s3(url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    botocore = pytest.importorskip("botocore.session")
    config = pytest.importorskip("botocore.config")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent")
    monkeypatch.setenv("no_proxy", "*")
    return botocore.Session().create_client(
        "s3", "us-east-1", endpoint_url=url, aws_access_key_id="key", aws_secret_access_key="secret",
        config=config.Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )  # fmt: skip


def test_24_botocore_puts_with_expect_and_gets_with_a_socket_timeout(s3: Any) -> None:
    content = b"0123456789" * 30_000
    expectations = []
    s3.meta.events.register("before-send.s3", lambda request, **_: expectations.append(request.headers.get("Expect")))

    s3.put_object(Bucket="bucket", Key="key", Body=io.BytesIO(content))
    body = s3.get_object(Bucket="bucket", Key="key")["Body"]
    body.set_socket_timeout(GUARD_SECONDS)
    start = body.read(10)
    target = bytearray(10)
    body.readinto(target)

    assert start + bytes(target) + body.read() == content
    assert expectations[0] in ("100-continue", b"100-continue")
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket="bucket", Key="another")


def test_25_httplib2(url: str) -> None:
    httplib2 = pytest.importorskip("httplib2")
    client = httplib2.Http(timeout=GUARD_SECONDS)

    response, content = client.request(url + "/gzip")
    assert (response.status, response.reason, content) == (200, "OK", LINES)
    response, content = client.request(url + "/echo", "PUT", body=b"content")
    assert (response["x-method"], content) == ("PUT", b"content")
    response, content = client.request(url + "/redirect")
    assert (response.status, response.previous.status) == (200, 302)


def test_26_vcrpy_records_and_replays(url: str, tmp_path: Path, session: Any) -> None:
    vcr = pytest.importorskip("vcr")
    cassette = str(tmp_path / "cassette.yaml")

    def fetch() -> list[tuple[int, str, bytes]]:
        with urllib.request.urlopen(url + "/lines") as plain:
            first = (plain.status, plain.reason, plain.read())
        response = session.get(url + "/pieces")
        return [first, (response.status_code, response.reason, response.content)]

    with vcr.use_cassette(cassette) as recording:
        recorded = fetch()
        assert recording.play_count == 0
    with vcr.use_cassette(cassette, record_mode="none") as replaying:
        replayed = fetch()
        assert replaying.play_count == 2

    assert [content for _, _, content in recorded] == [LINES, PIECES]
    assert replayed == recorded


# -- all of it once more ----------------------------------------------------------------------------------------------

MONKEY_PATCHED = """
from gevent import monkey

monkey.patch_all()
import sys

import pytest

options = ["-q", "-p", "no:cacheprovider", "-p", "no:cov", "--timeout", "30", "-k", "test_0 or test_1 or test_2"]
sys.exit(pytest.main([*options, sys.argv[1]]))
"""


def test_all_checks_pass_in_a_program_that_is_monkey_patched() -> None:
    run = subprocess.run(
        [sys.executable, "-c", MONKEY_PATCHED, __file__],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip

    assert run.returncode == 0, run.stdout + run.stderr
