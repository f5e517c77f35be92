"""Connections of the http.client door: nothing blocks the hub, and nothing is taken for the answer to something else.

Server and client run in one hub without monkey-patching, so a call that blocked the hub would never get its answer.
"""

from __future__ import annotations

import http.client as stock
import re
import socket as stdlib_socket
import ssl
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest
import trustme
from gevent import socket as gevent_socket
from gevent import ssl as gevent_ssl

from gruvihttp.compat import http_client
from gruvihttp.compat.http_client import patch, patched
from gruvihttp.testing import RawPeer, ScriptedPeer, replies

GUARD_SECONDS = 10.0

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
ANOTHER = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nanother"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.fixture(params=["standard library", "gevent"])
def client_tls(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the authority, of either library."""
    if request.param == "gevent":
        context: ssl.SSLContext = gevent_ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(autouse=True)
def guard() -> Iterator[None]:
    with gevent.Timeout(GUARD_SECONDS):
        yield


def connect(peer: ScriptedPeer) -> Any:
    return http_client.HTTPConnection(*peer.address, timeout=GUARD_SECONDS)


def get(connection: Any) -> bytes:
    connection.request("GET", "/")
    content: bytes = connection.getresponse().read()
    return content


# -- names ---------------------------------------------------------------------------------------------------------


def test_every_name_of_http_client_is_here() -> None:
    names = {name for name in dir(stock) if not name.startswith("_")}

    assert names <= set(dir(http_client))
    assert [name for name in names if not hasattr(http_client, name)] == []
    assert set(stock.__all__) <= set(http_client.__all__)


@pytest.mark.parametrize(
    "name", ["HTTPException", "RemoteDisconnected", "IncompleteRead", "HTTPMessage", "responses", "OK", "NOT_FOUND"]
)
def test_what_is_not_replaced_is_the_very_object(name: str) -> None:
    assert getattr(http_client, name) is getattr(stock, name)


@pytest.mark.parametrize("name", ["HTTPConnection", "HTTPSConnection", "HTTPResponse"])
def test_what_is_replaced_is_a_subclass(name: str) -> None:
    assert issubclass(getattr(http_client, name), getattr(stock, name))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        http_client.no_such_name  # noqa: B018


# -- waiting ---------------------------------------------------------------------------------------------------------


def when_others_had_their_turn(answer: bytes) -> Any:
    """A script that answers once another greenlet has run ten times while the client waited."""

    def script(peer: RawPeer) -> None:
        peer.read_until()
        for _ in range(10):
            gevent.sleep(0)
        peer.send(answer)

    return script


def test_other_greenlets_run_while_a_response_is_awaited() -> None:
    with ScriptedPeer(when_others_had_their_turn(OK)) as peer:
        assert get(connect(peer)) == b"ok"


def test_other_greenlets_run_with_tls_of_any_context(server_tls: Any, client_tls: Any) -> None:
    with ScriptedPeer(when_others_had_their_turn(CHUNKED), context=server_tls) as peer:
        connection = http_client.HTTPSConnection("localhost", peer.port, timeout=GUARD_SECONDS, context=client_tls)

        assert get(connection) == b"hello"
        assert connection.sock.version().startswith("TLS")
        assert connection.sock.getpeercert()["subjectAltName"]
        connection.close()


@pytest.mark.parametrize("library", ["urllib3", "requests", "httplib2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_other_greenlets_run_while_a_library_waits(
    library: str, scheme: str, authority: trustme.CA, server_tls: Any, tmp_path: Any
) -> None:
    module: Any = pytest.importorskip(library)
    authorities = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(str(authorities))
    context = server_tls if scheme == "https" else None

    with patched(), ScriptedPeer(when_others_had_their_turn(OK), context=context) as peer:
        url = f"{scheme}://127.0.0.1:{peer.port}/"
        if library == "urllib3":
            options = {"ca_certs": str(authorities)} if context else {}
            content = module.PoolManager(timeout=GUARD_SECONDS, retries=False, **options).request("GET", url).data
        elif library == "requests":
            session = module.Session()
            session.trust_env = False
            content = session.get(url, timeout=GUARD_SECONDS, verify=str(authorities)).content
        else:
            content = module.Http(timeout=GUARD_SECONDS, ca_certs=str(authorities)).request(url)[1]

    assert content == b"ok"


def test_socket_timeout_is_the_standard_librarys() -> None:
    with ScriptedPeer(RawPeer.read_to_end) as peer:
        connection = http_client.HTTPConnection(*peer.address, timeout=0.01)
        connection.request("GET", "/")
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()


def test_refused_connection_is_the_standard_librarys_error() -> None:
    with gevent_socket.create_server(("127.0.0.1", 0)) as unused:
        address = unused.getsockname()

    with pytest.raises(ConnectionRefusedError):
        http_client.HTTPConnection(*address).request("GET", "/")


# -- sockets of others ---------------------------------------------------------------------------------------------


def test_connection_is_made_by_what_the_caller_puts_in() -> None:
    asked: list[Any] = []

    def create(address: Any, timeout: Any, source_address: Any) -> Any:
        asked.append((address, timeout, source_address))
        return gevent_socket.create_connection(peer.address)

    with ScriptedPeer(replies(OK)) as peer:
        connection = http_client.HTTPConnection("name.test", 81, 5, ("127.0.0.1", 0))
        connection._create_connection = create  # type: ignore[attr-defined]

        assert get(connection) == b"ok"
        assert asked == [(("name.test", 81), 5, ("127.0.0.1", 0))]
        connection.close()


def test_blocking_socket_of_the_caller_is_used_as_it_is() -> None:
    ours, theirs = stdlib_socket.socketpair()
    with theirs:
        connection = http_client.HTTPConnection("name.test")
        connection.sock = ours
        theirs.sendall(OK + ANOTHER)
        connection.request("GET", "/")
        response = connection.getresponse()
        assert not type(response.fp).__module__.startswith("gruvihttp")
        assert response.read() == b"ok"
        connection.close()


def test_context_with_its_own_wrap_socket_is_asked(server_tls: Any) -> None:
    class Context(ssl.SSLContext):
        def wrap_socket(self, *args: Any, **kwargs: Any) -> Any:
            raise LookupError("asked")

    with ScriptedPeer(RawPeer.read_to_end) as peer:
        connection = http_client.HTTPSConnection("localhost", peer.port, context=Context(ssl.PROTOCOL_TLS_CLIENT))
        with pytest.raises(LookupError):
            connection.request("GET", "/")
        assert connection.sock is None


def test_certificate_that_nobody_trusts_leaves_no_socket(server_tls: Any) -> None:
    with ScriptedPeer(RawPeer.read_to_end, context=server_tls) as peer:
        connection = http_client.HTTPSConnection("localhost", peer.port)
        with pytest.raises(ssl.SSLCertVerificationError):
            connection.request("GET", "/")
        assert connection.sock is None


# -- one answer for one request --------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [OK, CHUNKED], ids=["length", "chunked"])
def test_bytes_that_nobody_asked_for_end_the_connection(first: bytes) -> None:
    with ScriptedPeer(replies(first + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"), replies(ANOTHER)) as peer:
        connection = connect(peer)
        get(connection)

        assert connection.sock is None  # who polls it, as urllib3 does, sees that it is of no use
        assert get(connection) == b"another"
        assert len(peer.connections) == 2


def test_urllib3_does_not_use_a_connection_with_bytes_that_nobody_asked_for() -> None:
    urllib3: Any = pytest.importorskip("urllib3")
    evil = CHUNKED + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    with patched(), ScriptedPeer(replies(evil), replies(ANOTHER)) as peer:
        pool = urllib3.HTTPConnectionPool(*peer.address, retries=False, timeout=GUARD_SECONDS)
        with pool:
            assert [pool.request("GET", "/").data for _ in range(2)] == [b"hello", b"another"]


@pytest.mark.parametrize("first", [OK, CHUNKED], ids=["length", "chunked"])
@pytest.mark.parametrize("amount", [0, 1], ids=["unread", "half read"])
def test_response_that_was_not_read_is_not_read_as_the_next(first: bytes, amount: int) -> None:
    with ScriptedPeer(replies(first), replies(ANOTHER)) as peer:
        connection = connect(peer)
        connection.request("GET", "/")
        with connection.getresponse() as response:
            response.read(amount)

        assert get(connection) == b"another"


def test_response_closed_while_the_next_request_is_put_together_does_not_spoil_it() -> None:
    with ScriptedPeer(replies(OK), replies(ANOTHER)) as peer:
        connection = connect(peer)
        connection.request("GET", "/")
        response = connection.getresponse()
        connection.putrequest("GET", "/")
        response.close()
        connection.endheaders()

        assert connection.getresponse().read() == b"another"


def test_response_that_came_early_is_the_next_requests() -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(OK[:-1])
        peer.read_until()
        peer.send(OK[-1:] + ANOTHER)
        peer.read_to_end()

    with ScriptedPeer(script) as peer:
        connection = connect(peer)
        connection.request("GET", "/1")
        first = connection.getresponse()
        connection.request("GET", "/2")

        assert first.read() == b"ok"
        assert connection.getresponse().read() == b"another"
        assert len(peer.connections) == 1
        connection.close()


def test_response_that_announces_the_end_owns_the_socket() -> None:
    closing = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with ScriptedPeer(replies(closing), replies(ANOTHER)) as peer:
        connection = connect(peer)
        connection.request("GET", "/")
        response = connection.getresponse()

        assert (response.will_close, connection.sock) == (True, None)
        assert response.read() == b"ok"
        assert get(connection) == b"another"


@pytest.mark.parametrize("sent", range(0, len(OK) - 2, 7))
def test_timeout_of_the_caller_within_a_head_never_leads_to_a_wrong_answer(sent: int) -> None:
    def script(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(OK[:sent])
        half_sent.set()
        interrupted.wait()
        peer.send(OK[sent:])
        peer.read_to_end()

    half_sent, interrupted = gevent.event.Event(), gevent.event.Event()
    with ScriptedPeer(script, replies(ANOTHER)) as peer:
        connection = connect(peer)
        connection.request("GET", "/")
        waiting = gevent.spawn(connection.getresponse)
        half_sent.wait()
        gevent.idle()
        waiting.kill(gevent.Timeout)
        interrupted.set()

        try:
            assert connection.getresponse().read() == b"ok"  # as nothing was lost
            assert sent == 0
        except ConnectionError:
            assert sent > 0
            assert get(connection) == b"another"
        connection.close()


# -- tunnels, 100 (Continue) -------------------------------------------------------------------------------------------


def test_tunnel_through_a_proxy(server_tls: Any, client_tls: Any) -> None:
    def proxy(peer: RawPeer) -> None:
        peer.read_until()
        peer.send(b"HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n")
        peer.channel.start_tls(server_tls, True)
        replies(OK, CHUNKED)(peer)

    with ScriptedPeer(proxy) as peer:
        connection = http_client.HTTPSConnection(*peer.address, timeout=GUARD_SECONDS, context=client_tls)
        connection.set_tunnel("localhost", 443, {"Proxy-Authorization": "secret"})

        assert (get(connection), get(connection)) == (b"ok", b"hello")
        assert peer.received.startswith(b"CONNECT localhost:443 HTTP/1.")
        assert b"Proxy-Authorization: secret\r\n" in peer.received
        connection.close()


def test_proxy_that_refuses_leaves_no_socket() -> None:
    with ScriptedPeer(replies(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as peer:
        connection = connect(peer)
        connection.set_tunnel("name.test", 80)
        with pytest.raises(OSError, match="403 Forbidden"):
            connection.request("GET", "/")

        assert connection.sock is None


def test_timeout_of_the_caller_in_a_tunnel_leaves_no_socket_to_the_proxy() -> None:
    with ScriptedPeer(RawPeer.read_to_end) as peer:
        connection = connect(peer)
        connection.set_tunnel("name.test", 80)
        connecting = gevent.spawn(connection.connect)
        peer.wait_for_connections()
        gevent.idle()
        connecting.kill(gevent.Timeout)

        assert connection.sock is None


def test_bytes_that_come_with_the_proxys_answer_are_no_response() -> None:
    with ScriptedPeer(replies(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")) as peer:
        connection = connect(peer)
        connection.set_tunnel("name.test", 80)

        with pytest.raises(OSError):
            get(connection)


def test_100_continue_is_passed_over() -> None:
    with ScriptedPeer(replies(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)) as peer:
        connection = connect(peer)
        connection.request("POST", "/", b"", {"Expect": "100-continue"})

        assert connection.getresponse().read() == b"ok"


def test_content_larger_than_the_systems_buffers_is_sent_as_a_whole() -> None:
    content = b"0123456789" * 1_000_000

    def script(peer: RawPeer) -> None:
        peer.read_until()
        assert peer.read(len(content)) == content
        peer.send(OK)

    with ScriptedPeer(script) as peer:
        connection = connect(peer)
        connection.request("PUT", "/", content)
        assert connection.getresponse().read() == b"ok"


# -- patch ------------------------------------------------------------------------------------------------------------


class Derived(stock.HTTPConnection):
    """As urllib3 has one: made before anything was patched."""


class DerivedResponse(stock.HTTPResponse):
    pass


class Holder:
    kept = stock.HTTPConnection


HTTPSConnection = stock.HTTPSConnection
THE_STOCK_CLASSES = [stock.HTTPConnection, stock.HTTPSConnection, stock.HTTPResponse]


def state() -> list[object]:
    return [
        stock.HTTPConnection, stock.HTTPSConnection, stock.HTTPResponse, HTTPSConnection, Holder.kept,
        Derived.__bases__, DerivedResponse.__bases__,
    ]  # fmt: skip


def test_patch_reaches_names_bases_and_attributes_and_undoes_it() -> None:
    before = state()
    with patched():
        ours = [http_client.HTTPConnection, http_client.HTTPSConnection, http_client.HTTPResponse]
        assert state() == [
            *ours, ours[1], ours[0], (ours[0],), (ours[2],),
        ]  # fmt: skip
        assert isinstance(Derived("name.test"), http_client.HTTPConnection)

    assert state() == before


def test_patches_nest() -> None:
    before = state()
    outer = patch()
    inside = state()
    late = types.ModuleType("late")
    late.HTTPConnection = THE_STOCK_CLASSES[0]  # type: ignore[attr-defined]
    sys.modules["late"] = late
    try:
        inner = patch()
        assert late.HTTPConnection is http_client.HTTPConnection
        inner()
        assert state() == inside
    finally:
        del sys.modules["late"]
        outer()
        outer()

    assert state() == before


@pytest.mark.parametrize("number", range(2))
def test_stock_class_that_was_not_reached_still_works(number: int) -> None:
    classes = tuple(THE_STOCK_CLASSES)
    with patched():
        connection = classes[number]("name.test", timeout=1)

    assert (connection.host, connection.timeout) == ("name.test", 1)


def test_class_derived_while_patched_goes_on_working() -> None:
    with patched():

        class Late(stock.HTTPSConnection):
            pass

    assert isinstance(Late("name.test"), http_client.HTTPSConnection)


def test_patched_modules_are_put_back() -> None:
    util: Any = pytest.importorskip("urllib3").util
    httplib2: Any = pytest.importorskip("httplib2")
    names = [
        (util.connection, "socket"), (util.wait, "select"), (util.ssl_, "_ssl_wrap_socket_impl"),
        (httplib2, "socket"), (httplib2, "ssl"),
    ]  # fmt: skip
    before = [getattr(*name) for name in names]
    with patched():
        assert all(getattr(*name) is not value for name, value in zip(names, before, strict=True))

    assert [getattr(*name) for name in names] == before
    assert stock.HTTPConnection is THE_STOCK_CLASSES[0]


# -- the documentation ----------------------------------------------------------------------------------------------

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto" / "replace-http-client.rst"


@pytest.mark.parametrize("number", range(2))
def test_examples_of_the_howto_run(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("requests")
    blocks = re.findall(r"code-block:: python\n\n((?:    .*\n|\n)+)", HOWTO.read_text())
    with ScriptedPeer(replies(OK)) as peer:
        program = textwrap.dedent(blocks[number])
        for theirs, ours in [
            ('HTTPSConnection("example.org"', f'HTTPConnection("127.0.0.1", {peer.port}'),
            ("https://example.org", f"http://127.0.0.1:{peer.port}"),
        ]:
            program = program.replace(theirs, ours)
        names: dict[str, Any] = {}
        exec(program, names)

    assert peer.received.startswith(b"GET / HTTP/1.1\r\n")
    if number == 0:
        assert (names["content"], capsys.readouterr().out) == (b"ok", "200 OK text/plain\n")
