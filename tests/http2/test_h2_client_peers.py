"""The client's HTTP/2 over the servers that there are: nghttpd, nginx, and our own; in plain text and over TLS."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import subprocess as gevent_subprocess
from nghttpd import nghttpd
from relays import tunnelling

from gruvihttp import Http2Client, HttpClient, HttpError, HttpServer, StreamError, TransportError
from gruvihttp.testing import ScriptedPeer

GUARD = 20.0
CONTENT = bytes(range(256)) * 1172  # 300,032 bytes
NGINX = shutil.which("nginx", path=os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin")))

needs_nghttpd = pytest.mark.skipif(shutil.which("nghttpd") is None, reason="nghttpd is not installed")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("files")
    (directory / "hello").write_bytes(b"hello\n")
    (directory / "large").write_bytes(CONTENT * 35)  # 10.5 MB
    return directory


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Key and certificate of ``localhost``, as files."""
    made = authority.issue_cert("localhost", "127.0.0.1")
    directory = tmp_path_factory.mktemp("certificate")
    made.private_key_pem.write_to_path(directory / "key.pem")
    made.cert_chain_pems[0].write_to_path(directory / "cert.pem")
    return directory / "key.pem", directory / "cert.pem"


@pytest.fixture(scope="session")
def trusting(authority: trustme.CA) -> Callable[..., ssl.SSLContext]:
    """Makes a client's context that offers these protocols."""

    def make(*alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    return make


@pytest.fixture
def start(files: Path) -> Iterator[Callable[..., int]]:
    """Starts an nghttpd with these options; returns its port."""
    with ExitStack() as stack:
        yield lambda *options, **more: stack.enter_context(nghttpd(files, *options, **more))


@pytest.fixture
def plain() -> Iterator[Callable[[int], Http2Client]]:
    """Connects to a port in plain text."""
    with ExitStack() as stack:

        def connect(port: int, **options: Any) -> Http2Client:
            client = stack.enter_context(Http2Client(GUARD, **options))
            client.connect(("127.0.0.1", port), ssl=False)
            return client

        yield connect


# nghttpd


WINDOWS = [(), ("-w", "10"), ("-w", "12"), ("-w", "16"), ("-w", "10", "-W", "12"), ("-m", "1")]


@needs_nghttpd
@pytest.mark.parametrize("options", WINDOWS, ids=lambda options: " ".join(options) or "defaults")
def test_upload_comes_back_whole(start: Any, plain: Any, options: tuple[str, ...]) -> None:  # T4, T8, T9, T15
    client = plain(start("--echo-upload", *options))
    assert client.request("POST", "/echo", [], CONTENT).getresponse().read() == CONTENT


@needs_nghttpd
@pytest.mark.parametrize("options", WINDOWS, ids=lambda options: " ".join(options) or "defaults")
def test_hundred_uploads_at_once_come_back_whole(start: Any, plain: Any, options: tuple[str, ...]) -> None:
    def echo(number: int) -> bool:
        content = CONTENT[number : number + 20000]
        body: bytes = client.request("POST", "/echo", [], content).getresponse().read()
        return body == content

    # nghttpd breaks off when more requests have come than it allows, even if it had not said so yet
    client = plain(start("--echo-upload", *options), wait_for_settings="-m" in options)
    greenlets = [gevent.spawn(echo, number) for number in range(100)]
    gevent.joinall(greenlets, GUARD, raise_error=True)
    assert all(one.value for one in greenlets)
    engine = client.protocol.connection.engine
    assert (engine.streams, engine.taken_slots) == ([], 0)


@needs_nghttpd
def test_large_response_arrives_in_small_windows(start: Any, plain: Any) -> None:  # T15
    port = start()
    for window in (65535, 1 << 20):
        response = plain(port, window=window).request("GET", "/large").getresponse()
        digest = sha256()
        while piece := response.read1():
            digest.update(piece)
        assert digest.digest() == sha256(CONTENT * 35).digest()


@needs_nghttpd
def test_trailers_of_nghttpd(start: Any, plain: Any) -> None:  # T16
    response = plain(start("--trailer", "x-sum: 7")).request("GET", "/hello").getresponse()
    assert (response.read(), response.trailers) == (b"hello\n", [("x-sum", "7")])


@needs_nghttpd
def test_early_answer_of_nghttpd_ends_the_upload(start: Any, plain: Any) -> None:  # T16; httpx hangs here
    client = plain(start("--early-response", "-w", "10"))
    for _ in range(3):
        response = client.request("POST", "/hello", [], CONTENT).getresponse()
        assert (response.status, response.read()) == (200, b"hello\n")


@needs_nghttpd
def test_ping_of_nghttpd(start: Any, plain: Any) -> None:  # T16
    assert 0 < plain(start()).ping() < GUARD


@needs_nghttpd
def test_wait_for_settings_with_nghttpd(start: Any, plain: Any) -> None:  # T4
    client = plain(start("--echo-upload", "-w", "10"), wait_for_settings=True)
    assert client.request("POST", "/echo", [], CONTENT).getresponse().read() == CONTENT


@needs_nghttpd
def test_tls_of_nghttpd(start: Any, certificate: Any, trusting: Any) -> None:  # T2
    port = start("--echo-upload", certificate=certificate)
    with Http2Client(GUARD) as client:
        client.connect(("localhost", port), ssl=trusting("h2"))
        assert client.request("POST", "/echo", [], CONTENT).getresponse().read() == CONTENT
        assert client.version == "2"


@needs_nghttpd
def test_response_closed_early_leaves_the_connection_usable(start: Any, plain: Any) -> None:  # urllib3, httpx hang here
    client = plain(start())
    for _ in range(20):
        client.request("GET", "/large").getresponse().close()
    assert client.request("GET", "/hello").getresponse().read() == b"hello\n"


# nginx


CONFIGURATION = """
daemon off; master_process off; worker_processes 1; pid {directory}/pid; error_log stderr crit;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy; fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    client_max_body_size 1m;
    ssl_certificate {cert}; ssl_certificate_key {key};
    server {{
        listen unix:{directory}/plain http2;
        listen unix:{directory}/tls ssl http2;
        root {files};
        keepalive_requests 100;
        location /upload {{ proxy_pass http://unix:{directory}/backend; }}
    }}
    server {{
        listen unix:{directory}/backend;
        location / {{ return 200 "taken"; }}
    }}
    server {{
        listen unix:{directory}/http1 ssl;
        location / {{ return 200 "old"; }}
    }}
}}
"""


@pytest.fixture(scope="session")
def nginx(tmp_path_factory: pytest.TempPathFactory, files: Path, certificate: tuple[Path, Path]) -> Iterator[Path]:
    """The directory of an nginx, with the sockets ``plain``, ``tls`` and ``http1``."""
    directory = tmp_path_factory.mktemp("nginx")
    key, cert = certificate
    configuration = CONFIGURATION.format(directory=directory, files=files, key=key, cert=cert)
    (directory / "nginx.conf").write_text(configuration)
    command = [str(NGINX), "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")]
    with subprocess.Popen(command) as process:
        try:
            with gevent.Timeout(GUARD):
                while not (directory / "http1").exists():
                    assert process.poll() is None
                    gevent.sleep(0.01)
            yield directory
        finally:
            process.kill()


def connect(nginx: Path, name: str, context: Any, client: HttpClient) -> HttpClient:
    with gevent.Timeout(GUARD):
        while True:
            try:
                client.connect(str(nginx / name), ssl=context, server_hostname="localhost")
                return client
            except TransportError:  # its socket is there, and it does not listen yet
                gevent.sleep(0.01)


@needs_nginx
@pytest.mark.parametrize("socket", ["plain", "tls"])
def test_nginx_answers(nginx: Path, trusting: Any, socket: str) -> None:
    context = trusting("h2") if socket == "tls" else False
    with connect(nginx, socket, context, Http2Client(GUARD)) as client:
        requests = [client.request("GET", path) for path in ("/hello", "/large", "/nowhere", "/hello")]
        assert requests[3].getresponse().read() == b"hello\n"
        assert sha256(requests[1].getresponse().read()).digest() == sha256(CONTENT * 35).digest()
        assert [requests[2].getresponse().status, requests[0].getresponse().status] == [404, 200]
        response = client.request("POST", "/upload", [], CONTENT).getresponse()
        assert (response.status, response.read()) == (200, b"taken")


@needs_nginx
def test_nginx_refuses_a_large_upload_early(nginx: Path) -> None:
    with connect(nginx, "plain", False, Http2Client(GUARD)) as client:
        for _ in range(3):
            response = client.request("POST", "/upload", [], bytes(2 << 20)).getresponse()
            assert response.status == 413
            assert b"413" in response.read()
        assert client.request("GET", "/hello").getresponse().read() == b"hello\n"


@needs_nginx
def test_nginx_leaves_after_its_number_of_requests(nginx: Path) -> None:  # GOAWAY amid many requests
    with connect(nginx, "plain", False, Http2Client(GUARD)) as client:
        requests = [client.request("GET", "/hello") for _ in range(90)]
        assert {request.getresponse().read() for request in requests} == {b"hello\n"}
        with pytest.raises(HttpError) as caught:
            for _ in range(30):
                client.request("GET", "/hello").getresponse().read()
        assert caught.value.retryable


# which version


@needs_nginx
@pytest.mark.parametrize(
    ("socket", "offers", "version", "spoken"),
    [
        ("tls", ("h2", "http/1.1"), "auto", "2"),
        ("tls", ("http/1.1",), "auto", "1.1"),
        ("tls", (), "auto", "1.1"),
        ("http1", ("h2", "http/1.1"), "auto", "1.1"),
        ("http1", ("h2", "http/1.1"), "1.1", "1.1"),
        ("tls", ("h2",), "2", "2"),
    ],
)
def test_tls_settles_the_version(
    nginx: Path, trusting: Any, socket: str, offers: tuple[str, ...], version: str, spoken: str
) -> None:
    client = HttpClient(GUARD, version=version)
    assert client.version == version
    with connect(nginx, socket, trusting(*offers), client):
        assert client.version == spoken
        response = client.request("GET", "/hello").getresponse()
        assert (response.status, response.version) == (200, (2, 0) if spoken == "2" else (1, 1))
    assert client.version == version


@pytest.mark.parametrize("offers", [(), ("h2",), ("h2", "http/1.1")], ids=" ".join)
@pytest.mark.parametrize("agreed", [None, "http/1.1"])
def test_server_without_http2_hears_nothing(
    server_tls: ssl.SSLContext, trusting: Any, offers: tuple[str, ...], agreed: str | None, authority: trustme.CA
) -> None:  # T2
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    if agreed is not None:
        context.set_alpn_protocols([agreed])
    with ScriptedPeer(lambda peer: peer.read_to_end(), context=context) as peer:
        for client in (Http2Client(GUARD), HttpClient(GUARD, version="2")):
            with pytest.raises(HttpError, match="does not agree to HTTP/2") as caught:
                client.connect(peer.address, ssl=trusting(*offers), server_hostname="localhost")
            settled = agreed if agreed in offers else None
            assert str(settled or "no protocol at all") in str(caught.value)
            assert not client.connected
        assert peer.received == b""


@needs_nginx
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_context_that_offers_more_than_is_spoken_is_a_mistake(nginx: Path, trusting: Any, version: str) -> None:
    with pytest.raises(HttpError, match="TLS has settled on HTTP/2"):
        connect(nginx, "tls", trusting("h2"), HttpClient(GUARD, version=version))


def test_client_offers_h2_by_itself(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With ssl=True the context is ours, so it offers what is wanted."""
    (tmp_path / "ca.pem").write_bytes(authority.cert_pem.bytes())
    script = (
        "import sys\nfrom gruvihttp import Http2Client, HttpClient\n"
        "for client in (Http2Client(10), HttpClient(10, version='auto'), HttpClient(10)):\n"
        "    client.connect(('localhost', int(sys.argv[1])), ssl=True)\n"
        "    print(client.version, client.request('GET', '/').getresponse().read().decode())\n"
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = HttpServer(tell_protocol)
    server.listen(("127.0.0.1", 0), context)
    try:
        environment = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem")}
        environment["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
        command = [sys.executable, "-c", script, str(server.address[1])]
        done = gevent_subprocess.run(command, capture_output=True, env=environment, timeout=GUARD, text=True)
    finally:
        server.close(0)
    assert done.stdout.split("\n")[:3] == ["2 HTTP/2", "2 HTTP/2", "1.1 HTTP/1.1"], done.stderr


def tell_protocol(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [environ["SERVER_PROTOCOL"].encode()]


# our own server


def our_application(environ: dict[str, Any], start_response: Any) -> Any:
    path = environ["PATH_INFO"]
    if path == "/echo":
        start_response("200 OK", [("X-Length", environ.get("CONTENT_LENGTH", "none"))])
        return [environ["wsgi.input"].read()]
    if path == "/large":
        start_response("200 OK", [])
        return (CONTENT for _ in range(35))
    if path == "/trailers":
        environ["gruvihttp.trailers"].append(("X-Sum", "7"))
        start_response("200 OK", [])
        return [environ["wsgi.input"].read(), str(environ["gruvihttp.request_trailers"]).encode()]
    if path == "/hints":
        environ["wsgi.early_hints"]([("Link", "</a>")])
    if path == "/broken":
        start_response("200 OK", [("Content-Length", "10")])
        return [b"short"]
    start_response("200 OK", [])
    return [f"{environ['wsgi.url_scheme']} {environ['SERVER_PROTOCOL']} {environ['HTTP_HOST']}".encode()]


@pytest.fixture(params=["plain", "tls"])
def ours(request: pytest.FixtureRequest, server_tls: ssl.SSLContext, trusting: Any) -> Iterator[Http2Client]:
    """A client of our own server."""
    server = HttpServer(our_application)
    context: Any = False
    if request.param == "tls":
        server_tls.set_alpn_protocols(["h2", "http/1.1"])
        context = trusting("h2")
    server.listen(("127.0.0.1", 0), server_tls if context else False)
    with Http2Client(GUARD) as client:
        client.connect(server.address, ssl=context)
        yield client
    server.close(0)


def test_our_server_answers(ours: Http2Client) -> None:
    content = ours.request("GET", "/").getresponse().read().decode()
    scheme, protocol, host = content.split()
    assert (scheme, protocol) == ("http" if ours.transport.get_extra_info("ssl") is None else "https", "HTTP/2")
    assert host == f"127.0.0.1:{ours.transport.get_extra_info('peername')[1]}"


def test_our_server_takes_uploads(ours: Http2Client) -> None:
    response = ours.request("POST", "/echo", [], CONTENT).getresponse()
    assert (response.get_header("X-Length"), response.read()) == (str(len(CONTENT)), CONTENT)
    response = ours.request("POST", "/echo", [], iter([CONTENT, CONTENT])).getresponse()
    assert (response.get_header("X-Length"), response.read()) == ("none", CONTENT * 2)


def test_our_server_gives_much(ours: Http2Client) -> None:
    assert sha256(ours.request("GET", "/large").getresponse().read()).digest() == sha256(CONTENT * 35).digest()


def test_trailers_go_both_ways(ours: Http2Client) -> None:  # T16
    request = ours.request("POST", "/trailers", body=None)
    request.write(b"content ")
    request.end_request([("X-Mine", "1")])
    response = request.getresponse()
    assert response.read() == b"content " + str([("x-mine", "1")]).encode()
    assert response.trailers == [("x-sum", "7")]


def test_early_hints_of_our_server(ours: Http2Client) -> None:  # T16
    response = ours.request("GET", "/hints").getresponse()
    assert [(one.status, one.headers) for one in response.informational] == [(103, [("link", "</a>")])]


def test_broken_application_breaks_its_stream_alone(ours: Http2Client) -> None:
    with pytest.raises(StreamError) as caught:
        ours.request("GET", "/broken").getresponse().read()
    assert caught.value.error_code == 2
    assert ours.request("GET", "/").getresponse().status == 200


def test_hundred_uploads_to_our_server_at_once(ours: Http2Client) -> None:
    def echo(number: int) -> bool:
        content = CONTENT[number : number + 20000]
        return ours.request("POST", "/echo", [], content).getresponse().read() == content

    greenlets = [gevent.spawn(echo, number) for number in range(100)]
    gevent.joinall(greenlets, GUARD, raise_error=True)
    assert all(one.value for one in greenlets)


def test_upgrade_to_http2_is_not_asked_for_in_plain_text() -> None:
    server = HttpServer(tell_protocol)
    server.listen(("127.0.0.1", 0))
    with HttpClient(GUARD, version="auto") as client:
        client.connect(server.address)
        assert client.version == "1.1"
        assert client.request("GET", "/").getresponse().read() == b"HTTP/1.1"
    server.close(0)


def test_lost_connection_leaves_no_descriptor(start: Any, plain: Any) -> None:  # T14
    port = start()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        with Http2Client(GUARD) as client:
            client.connect(("127.0.0.1", port), ssl=False)
            client.request("GET", "/hello").getresponse()
    assert len(os.listdir("/proc/self/fd")) <= before


def test_tunnel_through_a_proxy_carries_http2(serve: Any, server_tls: ssl.SSLContext, trusting: Any) -> None:
    server_tls.set_alpn_protocols(["h2", "http/1.1"])
    server = HttpServer(tell_protocol)
    server.listen(("127.0.0.1", 0), server_tls)
    proxy = serve(tunnelling)
    with HttpClient(GUARD, version="auto") as client:
        client.connect(("localhost", server.address[1]), ssl=trusting("h2", "http/1.1"), proxy=proxy.address)
        assert client.version == "2"
        assert client.request("GET", "/").getresponse().read() == b"HTTP/2"
    server.close(0)
