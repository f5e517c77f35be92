"""Connections that an application takes away from HTTP, seen from bare sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.errors import TransportError

UPGRADE = b"Connection: upgrade\r\nUpgrade: %b\r\n"
ECHO = UPGRADE % b"echo"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
ASK = b"GET / HTTP/1.1\r\nHost: a\r\n" + ECHO + b"\r\n"


def plain(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [])
    return [b"plain"]


def echo(environ: Any, start_response: Any) -> list[bytes]:
    """Speaks the protocol "echo": what comes goes back, until the client ends."""
    sock = environ["gruvihttp.upgrade"]("echo")
    while received := sock.recv(4096):
        sock.send(received)
    return []


def switched(sock: Any) -> None:
    """The 101 as a library writes it."""
    sock.send(SWITCHED)


# what is offered to whom


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        pytest.param(b"", False, id="nothing"),
        pytest.param(b"Upgrade: echo\r\n", False, id="no-Connection"),
        pytest.param(b"Connection: upgrade\r\n", False, id="no-Upgrade"),
        pytest.param(ECHO, True, id="both"),
        pytest.param(b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n", True, id="in-a-list"),
        pytest.param(UPGRADE % b"h2c", False, id="h2c"),
        pytest.param(UPGRADE % b"H2C", False, id="H2C"),
    ],
)
@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
def test_hijack_is_offered_to_those_who_ask_in_http_1_1(
    serve: Any, delivery: None, fields: bytes, offered: bool, version: bytes
) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [repr(sorted(key for key in environ if key in ("gruvihttp.hijack", "gruvihttp.upgrade"))).encode()]

    answer = serve(application).connect().ask(b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, fields))
    assert bool(eval(answer.content)) is (offered and version == b"1.1")


@pytest.mark.parametrize("protocol", [b"echo", b"h2c", b"websocket"])
def test_who_asks_and_is_not_heard_is_served_and_goes_on(serve: Any, protocol: bytes) -> None:
    talk = serve(plain).connect()
    for _ in range(2):
        answer = talk.get(fields=UPGRADE % protocol)
        assert (answer.status, answer.content, answer["Connection"]) == (200, b"plain", None)
    assert talk.is_open()


def look(environ: Any) -> None:
    sock = environ["gruvihttp.hijack"]()
    repr(sock), sock.fileno(), sock.getpeername(), sock.getsockname(), sock.gettimeout(), sock.dup(), sock.close()
    sock.settimeout(3)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    assert environ["gruvihttp.hijack"]() is sock


def test_looking_at_the_socket_changes_nothing(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        if "gruvihttp.hijack" in environ:
            look(environ)
        return plain(environ, start_response)

    talk = serve(application).connect()
    assert talk.get(fields=ECHO).content == b"plain"
    assert talk.is_open()


@pytest.mark.parametrize(
    ("compat", "key"),
    [("werkzeug", "werkzeug.socket"), ("gunicorn", "gunicorn.socket"), ("gevent", None), (None, None)],
    ids=str,
)
def test_libraries_find_the_socket_where_their_server_has_it(serve: Any, compat: str | None, key: str | None) -> None:
    seen: list[dict[str, Any]] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        seen.append(environ)
        return plain(environ, start_response)

    talk = serve(application, websocket_compat=compat).connect()
    talk.get(fields=ECHO)
    talk.get()
    asked, plainly = seen
    sock = asked["gruvihttp.hijack"]()
    assert {name for name in asked if name.endswith(".socket")} == ({key} if key else set())
    assert key is None or asked[key] is sock
    found = getattr(getattr(asked["wsgi.input"], "raw", None), "_sock", None)
    assert (found is sock, asked["SERVER_SOFTWARE"].startswith("gevent/")) == (compat == "gevent",) * 2
    assert not {name for name in plainly if name.endswith(".socket")}
    assert not hasattr(plainly["wsgi.input"], "raw")
    assert plainly["SERVER_SOFTWARE"].startswith("gruvihttp/")


def test_input_can_be_read_where_the_socket_is_found_in_it(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return list(environ["wsgi.input"])

    assert serve(application).connect().post(b"a\nb", fields=ECHO).content == b"a\nb"


# taking the connection


def test_upgrade_writes_101_and_gives_the_connection(serve: Any, delivery: None, errors: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        with environ["gruvihttp.upgrade"]("Echo", [("X-A", "b")]) as sock:
            sock.sendall(sock.recv(100).upper())
        return []

    talk = serve(application).connect()
    talk.say(ASK)
    head = talk.head()
    assert (head.status, head["Connection"], head["Upgrade"], head["X-A"]) == (101, "Upgrade", "Echo", "b")
    talk.send(b"hello")
    assert talk.read_to_end() == b"HELLO"
    assert errors() == []


def test_bytes_that_came_too_early_are_read_first(serve: Any) -> None:
    talk = serve(echo).connect()
    talk.send(ASK + b"early")
    assert talk.read(len(SWITCHED) + 5) == SWITCHED + b"early"
    talk.send(b"late")
    assert talk.read(4) == b"late"
    talk.half_close()
    assert talk.ends()


def test_answers_to_earlier_requests_go_first(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        return (echo if "gruvihttp.hijack" in environ else plain)(environ, start_response)

    talk = serve(application).connect()
    talk.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2 + ASK + b"x")
    assert [talk.answer().content for _ in range(2)] == [b"plain"] * 2
    assert talk.read(len(SWITCHED) + 1) == SWITCHED + b"x"


def test_send_sends_everything_to_a_slow_reader(serve: Any) -> None:
    content = bytes(range(256)) * 16384  # 4 MiB: more than the system takes at once

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.upgrade"]("echo")
        assert sock.send(content) == len(content)
        return []

    talk = serve(application).connect()
    talk.send(ASK)
    assert talk.read_to_end() == SWITCHED + content


def test_greenlets_that_send_at_once_follow_one_another(serve: Any) -> None:
    size = 1 << 20

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.upgrade"]("echo")
        gevent.joinall([gevent.spawn(sock.sendall, letter * size) for letter in (b"a", b"b", b"c")], raise_error=True)
        return []

    talk = serve(application).connect()
    talk.send(ASK)
    content = talk.read_to_end()[len(SWITCHED) :]
    assert sorted(content[at : at + 1] * size for at in (0, size, 2 * size)) == [b"a" * size, b"b" * size, b"c" * size]
    assert content == content[:1] * size + content[size : size + 1] * size + content[-1:] * size


def test_socket_reads_into_buffers_and_files(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.upgrade"]("echo")
        buffer = bytearray(4)
        assert sock.recv_into(buffer, 2) == 2
        with sock.makefile("rb") as file:
            line = file.readline()
        with sock.makefile("w", encoding="utf-8") as text:
            text.write(f"{bytes(buffer)!r} {line!r}\n")
        sock.sendall(sock.makefile("rwb").read())
        return []

    talk = serve(application).connect()
    talk.send(ASK)
    talk.read(len(SWITCHED))
    talk.send(b"abline\nrest")
    talk.half_close()
    heard = talk.read_to_end()
    assert heard.startswith(b"b'ab\\x00\\x00' b'line\\n'\n")


@pytest.mark.parametrize("timeout", [0, 0.01])
def test_recv_waits_no_longer_than_it_was_told(serve: Any, timeout: float) -> None:
    raised: list[type[BaseException]] = []

    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.upgrade"]("echo")
        sock.settimeout(timeout)
        try:
            sock.recv(1)
        except OSError as exc:
            raised.append(type(exc))
            assert isinstance(exc, TimeoutError if timeout else BlockingIOError)
        sock.send(b"still usable")
        return []

    talk = serve(application).connect()
    talk.send(ASK)
    assert talk.read_to_end() == SWITCHED + b"still usable"
    assert len(raised) == 1


def test_tls_connection_is_taken_too(serve: Any, server_tls: Any, client_tls: Any) -> None:
    talk = serve(echo, ssl=server_tls).connect(client_tls)
    talk.send(ASK)
    talk.read(len(SWITCHED))
    for piece in (b"a", b"b" * 100_000):
        talk.send(piece)
        assert talk.read(len(piece)) == piece


def test_another_thread_may_use_the_socket(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        sock = environ["gruvihttp.hijack"]()

        def talk() -> None:
            switched(sock)
            while received := sock.recv(4096):
                sock.send(received)
            sock.close()

        gevent.get_hub().threadpool.apply(talk)
        return []

    talk = serve(application).connect()
    talk.send(ASK + b"early")
    assert talk.read(len(SWITCHED) + 5) == SWITCHED + b"early"
    talk.send(b"x" * 300_000)
    assert talk.read(300_000) == b"x" * 300_000
    talk.half_close()
    assert talk.ends()


# how an application may end


def started(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [("Content-Length", "5")])
    return [b"never"]


def written(environ: Any, start_response: Any) -> Any:
    start_response("200 OK", [])(b"never")
    return []


def stops(environ: Any, start_response: Any) -> Any:
    raise StopIteration


def loses(environ: Any, start_response: Any) -> Any:
    raise ConnectionError("as werkzeug's way has it")


def yields(environ: Any, start_response: Any) -> Iterator[bytes]:
    yield b"never"


AFTERWARDS = [
    pytest.param(lambda e, s: [], id="empty-list"),
    pytest.param(lambda e, s: None, id="None"),
    pytest.param(lambda e, s: [b"never"], id="content-without-start_response"),
    pytest.param(lambda e, s: (b"never",), id="tuple"),
    pytest.param(started, id="start_response-and-content"),
    pytest.param(written, id="write"),
    pytest.param(stops, id="StopIteration"),
    pytest.param(loses, id="ConnectionError"),
    pytest.param(yields, id="generator"),
]


@pytest.mark.parametrize("closes", [False, True], ids=["left-open", "closed"])
@pytest.mark.parametrize("afterwards", AFTERWARDS)
def test_whatever_the_application_does_afterwards_is_not_sent(
    serve: Any, errors: Any, afterwards: Callable[..., Any], closes: bool
) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        sock = environ["gruvihttp.hijack"]()
        switched(sock)
        if closes:
            sock.close()
        return afterwards(environ, start_response)

    talk = serve(application).connect()
    talk.send(ASK)
    assert talk.read_to_end() == SWITCHED
    assert errors() == []


def test_a_mistake_afterwards_is_logged_and_not_sent(serve: Any, errors: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        switched(environ["gruvihttp.hijack"]())
        raise KeyError("mine")

    talk = serve(application).connect()
    talk.send(ASK)
    assert talk.read_to_end() == SWITCHED
    assert errors() == ["GET / failed: KeyError('mine')"]


def test_iterable_is_closed_whatever_was_taken(serve: Any) -> None:
    closed = Event()

    class Content:
        def __iter__(self) -> Iterator[bytes]:
            return iter([b"never"])

        def close(self) -> None:
            closed.set()

    def application(environ: Any, start_response: Any) -> Any:
        switched(environ["gruvihttp.hijack"]())
        return Content()

    talk = serve(application).connect()
    talk.send(ASK)
    assert talk.read_to_end() == SWITCHED
    assert closed.wait(10)


def test_generator_may_take_the_connection_when_it_is_asked_for_content(serve: Any, errors: Any) -> None:
    def application(environ: Any, start_response: Any) -> Iterator[bytes]:
        switched(environ["gruvihttp.hijack"]())
        yield b""
        yield b"never"

    talk = serve(application).connect()
    talk.send(ASK)
    assert talk.read_to_end() == SWITCHED
    assert errors() == []


def test_client_that_goes_ends_the_application_quietly(serve: Any, errors: Any, until: Any) -> None:
    ended = Event()

    def application(environ: Any, start_response: Any) -> Any:
        try:
            return echo(environ, start_response)
        finally:
            ended.set()

    served = serve(application)
    talk = served.connect()
    talk.send(ASK)
    talk.read(len(SWITCHED))
    talk.reset()
    assert ended.wait(10)
    until(lambda: not served.server.connections)
    assert errors() == []


def test_socket_that_was_closed_refuses_everything(serve: Any) -> None:
    refused: list[int | None] = []

    def application(environ: Any, start_response: Any) -> Any:
        sock = environ["gruvihttp.upgrade"]("echo")
        sock.close()
        sock.close()
        for use in (lambda: sock.recv(1), lambda: sock.send(b"x"), lambda: sock.shutdown(socket.SHUT_WR)):
            with pytest.raises(OSError) as caught:
                use()
            refused.append(caught.value.errno)
        assert sock.fileno() == -1
        return []

    talk = serve(application).connect()
    talk.send(ASK)
    assert talk.read_to_end() == SWITCHED
    assert len(refused) == 3


# when it is too late


def test_upgrade_to_what_was_not_asked_for_is_refused(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        with pytest.raises(ValueError, match="'other'"):
            environ["gruvihttp.upgrade"]("other")
        with pytest.raises(ValueError, match="Connection"):
            environ["gruvihttp.upgrade"]("echo", [("Connection", "close")])
        return plain(environ, start_response)

    talk = serve(application).connect()
    assert talk.get(fields=ECHO).content == b"plain"
    assert talk.is_open()


def test_connection_cannot_be_taken_once_the_response_has_begun(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        start_response("200 OK", [])(b"begun")
        with pytest.raises(RuntimeError, match="begun"):
            environ["gruvihttp.hijack"]().recv(1)
        return []

    talk = serve(application).connect()
    assert talk.get(fields=ECHO).content == b"begun"
    assert talk.is_open()


def test_connection_cannot_be_taken_when_the_exchange_is_over(serve: Any) -> None:
    kept: list[Any] = []

    def application(environ: Any, start_response: Any) -> Any:
        kept.append(environ["gruvihttp.hijack"]() if "gruvihttp.hijack" in environ else None)
        return plain(environ, start_response)

    talk = serve(application).connect()
    talk.get(fields=ECHO)
    with pytest.raises(RuntimeError):
        kept[0].send(b"too late")
    assert talk.is_open()


def test_content_must_be_read_first(serve: Any) -> None:
    def application(environ: Any, start_response: Any) -> Any:
        with pytest.raises(RuntimeError, match="content must be read"):
            environ["gruvihttp.hijack"]().recv(1)
        environ["wsgi.input"].read()
        return echo(environ, start_response)

    talk = serve(application).connect()
    talk.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n" + ECHO + b"\r\nabcdef")
    assert talk.read(len(SWITCHED) + 3) == SWITCHED + b"def"


# the server's end


def test_polite_end_leaves_the_connection_until_the_grace_ends(serve: Any) -> None:
    served = serve(echo)
    talk = served.connect()
    talk.send(ASK)
    talk.read(len(SWITCHED))
    served.server.drain()
    talk.send(b"still here")
    assert talk.read(10) == b"still here"
    served.server.close(timeout=0)
    with pytest.raises(TransportError):
        talk.read(1)
