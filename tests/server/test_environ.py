"""The environ of a request: PEP 3333, RFC 3875, and rows S28 to S32 of the reference."""

from __future__ import annotations

import json
import os
import socket
import ssl
from typing import Any
from wsgiref.util import request_uri

import pytest

from gruvihttp import environ as environ_module
from gruvihttp._version import PRODUCT_ID
from gruvihttp.net.channel import Channel
from gruvihttp.testing import RawPeer


@pytest.fixture
def environs(serve: Any) -> Any:
    """Serves an application that records its environs; returns the server and the list of them."""

    def environs(**options: Any) -> tuple[Any, list[dict[str, Any]]]:
        seen: list[dict[str, Any]] = []

        def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
            environ["wsgi.input"].read()
            seen.append(environ)
            start_response("200 OK", [])
            return []

        return serve(application, **options), seen

    return environs


def fields_of(environ: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in environ.items() if key.startswith(("HTTP_", "CONTENT_"))}


# target


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        pytest.param("/", "/", "", id="root"),
        pytest.param("/a/b", "/a/b", "", id="path"),
        pytest.param("/a?b=c&d=%20", "/a", "b=c&d=%20", id="query-stays-encoded"),
        pytest.param("/a?b?c/d", "/a", "b?c/d", id="question-marks"),
        pytest.param("/a?", "/a", "", id="empty-query"),
        pytest.param("/%61%2Fb%3F", "/a/b?", "", id="decoded"),
        pytest.param("/caf%C3%A9", "/caf\xc3\xa9", "", id="utf-8-as-latin-1"),
        pytest.param("/%E9%FF%00", "/\xe9\xff\x00", "", id="any-byte"),
        pytest.param("/%zz%4", "/%zz%4", "", id="not-an-escape"),
        pytest.param("/a+b", "/a+b", "", id="plus-is-plus"),
        pytest.param("/a;b=c", "/a;b=c", "", id="parameters"),
        pytest.param("/../a/./b//c", "/../a/./b//c", "", id="not-normalised"),
        pytest.param("//evil/x", "//evil/x", "", id="two-slashes"),
        pytest.param("//evil/x?y", "//evil/x", "y", id="two-slashes-query"),
        pytest.param("///", "///", "", id="three-slashes"),
        pytest.param("/http://evil/x", "/http://evil/x", "", id="url-in-path"),
        pytest.param("/?u=http://evil/x", "/", "u=http://evil/x", id="url-in-query"),
    ],
)
def test_target_becomes_path_and_query(
    environs: Any, delivery: None, target: str, path: str, query: str
) -> None:
    served, seen = environs()
    served.get(target)
    [environ] = seen
    assert (environ["SCRIPT_NAME"], environ["PATH_INFO"], environ["QUERY_STRING"]) == ("", path, query)
    assert environ["REQUEST_URI"] == target
    assert environ["HTTP_HOST"] == "example.com"


@pytest.mark.parametrize(
    ("target", "path", "query", "host"),
    [
        pytest.param("http://other/a?b", "/a", "b", "other", id="plain"),
        pytest.param("http://other:81/%61", "/a", "", "other:81", id="port"),
        pytest.param("HTTP://other", "/", "", "other", id="no-path"),
        pytest.param("http://other?a=/b", "/", "a=/b", "other", id="query-without-path"),
        pytest.param("http://[::1]:80/", "/", "", "[::1]:80", id="ipv6"),
        pytest.param("https://other/", "/", "", "other", id="other-scheme"),
        pytest.param("http://other//x", "//x", "", "other", id="two-slashes"),
        pytest.param("http://other/?u=http://evil/", "/", "u=http://evil/", "other", id="url-in-query"),
    ],
)
def test_absolute_target_replaces_host(
    environs: Any, delivery: None, target: str, path: str, query: str, host: str
) -> None:
    served, seen = environs()
    assert served.get(target).status == 200
    [environ] = seen
    assert (environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_HOST"]) == (path, query, host)
    assert (environ["REQUEST_URI"], environ["wsgi.url_scheme"]) == (target, "http")


def test_absolute_target_gives_an_old_client_a_host(environs: Any) -> None:
    served, seen = environs()
    served.ask(b"GET http://other/ HTTP/1.0\r\n\r\n")
    assert seen[0]["HTTP_HOST"] == "other"


@pytest.mark.parametrize(
    ("method", "target"), [("OPTIONS", "*"), ("CONNECT", "other:443")], ids=["asterisk", "authority"]
)
def test_target_that_is_no_path_leaves_it_empty(environs: Any, method: str, target: str) -> None:
    served, seen = environs()
    served.ask(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    [environ] = seen
    assert (environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]) == (method, "", "")
    assert environ["REQUEST_URI"] == target


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PATCH", "get", "Purge", "X-!#$%&'*+.^_`|~9"])
def test_method_is_passed_as_it_is(environs: Any, method: str) -> None:
    served, seen = environs()
    served.ask(f"{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert seen[0]["REQUEST_METHOD"] == method


@pytest.mark.parametrize(("sent", "seen_as"), [("1.1", "HTTP/1.1"), ("1.0", "HTTP/1.0"), ("1.3", "HTTP/1.1")])
def test_protocol_is_the_version_that_is_spoken(environs: Any, sent: str, seen_as: str) -> None:
    served, seen = environs()
    served.ask(f"GET / HTTP/{sent}\r\nHost: a\r\n\r\n".encode())
    assert seen[0]["SERVER_PROTOCOL"] == seen_as


# fields


@pytest.mark.parametrize(
    ("lines", "keys"),
    [
        pytest.param(b"X-Name: value", {"HTTP_X_NAME": "value"}, id="field"),
        pytest.param(b"x-NAME:value", {"HTTP_X_NAME": "value"}, id="any-case"),
        pytest.param(b"X-Name: \t a b \t ", {"HTTP_X_NAME": "a b"}, id="blanks-around"),
        pytest.param(b"X-Name:", {"HTTP_X_NAME": ""}, id="empty"),
        pytest.param(b"X-Name: caf\xe9\xff", {"HTTP_X_NAME": "caf\xe9\xff"}, id="latin-1"),
        pytest.param(b"X-Name: =?utf-8?q?=E2?=", {"HTTP_X_NAME": "=?utf-8?q?=E2?="}, id="rfc-2047"),
        pytest.param(b"Content-Type: a/b", {"CONTENT_TYPE": "a/b"}, id="content-type"),
        pytest.param(b"Content-Length: 0", {"CONTENT_LENGTH": "0"}, id="content-length"),
        pytest.param(b"A: 1\r\nB: 2\r\na: 3", {"HTTP_A": "1, 3", "HTTP_B": "2"}, id="repeated"),
        pytest.param(b"X-Forwarded-For: 1\r\nX-Forwarded-For: 2", {"HTTP_X_FORWARDED_FOR": "1, 2"}, id="forwarded"),
        pytest.param(b"Cookie: a=1\r\nCookie: b=2; c=3", {"HTTP_COOKIE": "a=1; b=2; c=3"}, id="cookies"),
        pytest.param(b"X_Name: value", {}, id="underscore"),
        pytest.param(b"X-Name: good\r\nX_Name: bad", {"HTTP_X_NAME": "good"}, id="underscore-beside-hyphen"),
        pytest.param(b"X_Name: bad\r\nX-Name: good", {"HTTP_X_NAME": "good"}, id="underscore-first"),
        pytest.param(b"Content_Length: 5\r\nContent_Type: x", {}, id="underscore-of-cgi"),
        pytest.param(b"Proxy: http://evil", {}, id="httpoxy"),
        pytest.param(b"Remote-Addr: 6.6.6.6", {"HTTP_REMOTE_ADDR": "6.6.6.6"}, id="name-of-cgi"),
        pytest.param(b"Https: on", {"HTTP_HTTPS": "on"}, id="name-of-tls"),
        pytest.param(b"!#$%&'*+.^`|~: x", {"HTTP_!#$%&'*+.^`|~": "x"}, id="odd-name"),
        pytest.param(b"Expect: 100-continue", {"HTTP_EXPECT": "100-continue"}, id="expect"),
        pytest.param(b"Upgrade: h2c\r\nConnection: upgrade", {"HTTP_UPGRADE": "h2c", "HTTP_CONNECTION": "upgrade"},
                     id="upgrade"),
    ],
)  # fmt: skip
def test_fields_become_variables(environs: Any, delivery: None, lines: bytes, keys: dict[str, str]) -> None:
    served, seen = environs()
    served.get(fields=lines + b"\r\n")
    assert fields_of(seen[0]) == {"HTTP_HOST": "example.com", **keys}
    assert seen[0]["REMOTE_ADDR"] == "127.0.0.1"


def test_chunked_content_has_no_length(environs: Any) -> None:
    served, seen = environs()
    served.ask(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")
    assert fields_of(seen[0]) == {"HTTP_HOST": "a", "HTTP_TRANSFER_ENCODING": "chunked"}


def test_nothing_of_a_request_leaks_into_the_next(environs: Any) -> None:
    served, seen = environs()
    talk = served.connect()
    talk.post(b"body", "/first?query", b"X-Secret: 1\r\nCookie: a\r\nContent-Type: a/b\r\n")
    seen[0]["added.by.the.application"] = True
    seen[0]["REMOTE_ADDR"] = "changed"
    talk.get("/second")
    first, second = seen
    assert first is not second
    assert fields_of(second) == {"HTTP_HOST": "example.com"}
    assert (second["PATH_INFO"], second["QUERY_STRING"], second["REMOTE_ADDR"]) == ("/second", "", "127.0.0.1")
    assert "added.by.the.application" not in second
    assert second["gruvihttp.trailers"] is not first["gruvihttp.trailers"]


def test_thousands_of_names_fill_no_memory(environs: Any) -> None:
    served, seen = environs()
    talk = served.connect()
    for start in range(0, 3000, 50):
        talk.get(fields=b"".join(b"X-%d: 1\r\n" % number for number in range(start, start + 50)))
    assert seen[-1]["HTTP_X_2999"] == "1"
    assert len(environ_module._keys) <= environ_module._keys.MOST


# server and client


def test_addresses_are_text(environs: Any) -> None:
    served, seen = environs()
    talk = served.connect()
    talk.get()
    host, port = served.server.address
    client = talk.channel.get_extra_info("sockname")
    [environ] = seen
    assert (environ["SERVER_NAME"], environ["SERVER_PORT"]) == (host, str(port))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (client[0], str(client[1]))
    assert environ["gruvihttp.sockname"] == (host, port)
    assert environ["gruvihttp.peername"] == client
    assert environ["gruvihttp.transport"].get_extra_info("peername") == client
    assert type(environ["gruvihttp.protocol"]).__name__ == "HttpProtocol"
    assert environ["SERVER_SOFTWARE"] == PRODUCT_ID
    assert environ["GATEWAY_INTERFACE"] == "CGI/1.1"


def test_application_hears_of_other_processes(environs: Any) -> None:
    served, seen = environs(multiprocess=True)
    served.get()
    assert seen[0]["wsgi.multiprocess"] is True


def test_wsgi_variables_are_those_of_pep_3333(environs: Any) -> None:
    served, seen = environs()
    served.get()
    [environ] = seen
    assert type(environ) is dict
    assert environ["wsgi.version"] == (1, 0)
    assert (environ["wsgi.url_scheme"], environ["REQUEST_SCHEME"]) == ("http", "http")
    assert [environ[f"wsgi.{name}"] for name in ("multithread", "multiprocess", "run_once")] == [True, False, False]
    assert environ["wsgi.input_terminated"] is True
    assert "HTTPS" not in environ
    assert all(type(value) is str for key, value in environ.items() if "." not in key)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        pytest.param({"address": ("127.0.0.1", 0)}, "127.0.0.1", id="listen-address"),
        pytest.param({"address": ("localhost", 0)}, "localhost", id="listen-name"),
        pytest.param({"address": ("0.0.0.0", 0)}, "127.0.0.1", id="any-address"),
        pytest.param({"address": ("", 0)}, "127.0.0.1", id="no-address"),
        pytest.param({"server_name": "shop.example"}, "shop.example", id="given"),
        pytest.param({"server_name": "shop.example", "address": ("0.0.0.0", 0)}, "shop.example", id="given-any"),
        pytest.param({"server_name": "2001:db8::1"}, "[2001:db8::1]", id="given-ipv6"),
        pytest.param({"server_name": "[2001:db8::1]"}, "[2001:db8::1]", id="given-ipv6-in-brackets"),
        pytest.param({"server_name": "fe80::1%eth0"}, "[fe80::1]", id="given-ipv6-with-a-zone"),
    ],
)
def test_server_name_comes_from_the_option_or_the_listen_address(
    environs: Any, options: dict[str, Any], name: str
) -> None:
    served, seen = environs(**options)
    port = served.server.address[1]
    served.connect(address=("127.0.0.1", port)).ask(b"GET /a?b HTTP/1.0\r\n\r\n")
    [environ] = seen
    assert environ["SERVER_NAME"] == name
    assert request_uri(environ) == f"http://{name}:{port}/a?b"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="needs IPv6")
def test_address_of_ipv6_makes_urls_too(environs: Any) -> None:
    served, seen = environs(address=("::1", 0))
    served.connect().ask(b"GET /a?b HTTP/1.0\r\n\r\n")
    [environ] = seen
    assert environ["SERVER_NAME"] == "[::1]"
    assert request_uri(environ) == f"http://[::1]:{served.server.address[1]}/a?b"


def test_each_listener_has_its_name(environs: Any) -> None:
    served, seen = environs(address=("127.0.0.1", 0))
    port = served.server.address[1]
    served.server.listen(("127.0.0.2", port))
    served.server.listen(("localhost", 0), family=2)
    for address in served.server.addresses:
        served.connect(address=address).get()
    assert [environ["SERVER_NAME"] for environ in seen] == ["127.0.0.1", "127.0.0.2", "localhost"]


@pytest.mark.parametrize("abstract", [False, True], ids=["path", "abstract"])
def test_unix_socket_has_addresses_of_text_too(environs: Any, tmp_path: Any, abstract: bool) -> None:
    path = f"\0gruvihttp-test-{os.getpid()}" if abstract else str(tmp_path / "socket")
    served, seen = environs(address=path)
    served.connect().ask(b"GET /a?b HTTP/1.0\r\n\r\n")
    [environ] = seen
    assert (environ["SERVER_NAME"], environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == ("localhost", "", "")
    assert environ["SERVER_PORT"] == "80"  # PEP 3333: never empty
    assert request_uri(environ) == "http://localhost/a?b"
    assert all(type(value) is str for key, value in environ.items() if "." not in key)


def test_tls_has_its_variables(
    environs: Any, server_tls: ssl.SSLContext, client_tls: ssl.SSLContext
) -> None:
    served, seen = environs(ssl=server_tls)
    talk = served.connect(client_tls)
    talk.ask(b"GET /a HTTP/1.0\r\n\r\n")
    [environ] = seen
    session = talk.channel.get_extra_info("ssl")
    cipher, _, bits = session.cipher()
    assert (environ["wsgi.url_scheme"], environ["REQUEST_SCHEME"], environ["HTTPS"]) == ("https", "https", "on")
    assert (environ["SSL_PROTOCOL"], environ["SSL_CIPHER"]) == (session.version(), cipher)
    assert environ["SSL_CIPHER_USEKEYSIZE"] == str(bits)
    assert request_uri(environ) == f"https://127.0.0.1:{served.server.address[1]}/a"
    assert all(type(value) is str for key, value in environ.items() if "." not in key)


def test_proxies_are_not_believed(environs: Any) -> None:
    served, seen = environs()
    served.get(fields=b"X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\n")
    assert (seen[0]["REMOTE_ADDR"], seen[0]["wsgi.url_scheme"]) == ("127.0.0.1", "http")


def test_environ_can_be_told_as_json_but_for_its_objects(environs: Any) -> None:
    served, seen = environs()
    served.get()
    json.dumps({key: value for key, value in seen[0].items() if "." not in key})


def test_connection_given_by_hand_is_served(environs: Any) -> None:
    served, seen = environs()
    ours, theirs = socket.socketpair()
    served.server.accept_connection(ours)
    with RawPeer(Channel(theirs)) as peer:
        peer.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert peer.read_to_end().startswith(b"HTTP/1.1 200 ")
    assert seen[0]["SERVER_NAME"] == "localhost"
