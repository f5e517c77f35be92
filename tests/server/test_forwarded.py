"""What trusted proxies say about a request: the fields by themselves, and what an application and the log see of them.

The tables try what RFC 7239 and waitress's documentation describe, and what else proxies are known to write.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gruvihttp.errors import RemoteProtocolError
from gruvihttp.forwarded import FIELDS, Node, Route, TrustedProxies, of_forwarded, of_x_forwarded

PROXIES = ("10.0.0.0/8", "2001:db8:ffff::/48", "unix")
PEER = ("10.0.0.1", 4711)
CLIENT = "192.0.2.43"


def trusts(node: Node) -> bool:
    return node.host.startswith("10.") or node.host == "" or node.host.startswith("2001:db8:ffff:")


# Forwarded


@pytest.mark.parametrize(
    ("value", "route"),
    [
        pytest.param("for=192.0.2.43", Route(Node(CLIENT)), id="ipv4"),
        pytest.param('For="[2001:db8:cafe::17]:4711"', Route(Node("2001:db8:cafe::17", "4711")), id="ipv6-with-port"),
        pytest.param('for="[2001:DB8:CAFE:0::17]"', Route(Node("2001:db8:cafe::17")), id="ipv6-in-one-spelling"),
        pytest.param('for="192.0.2.43:47011"', Route(Node(CLIENT, "47011")), id="ipv4-with-port"),
        pytest.param("for=192.0.2.43:47011", Route(Node(CLIENT, "47011")), id="port-without-quotes"),
        pytest.param("for=[2001:db8::1]", Route(Node("2001:db8::1")), id="ipv6-without-quotes"),
        pytest.param('for="[::ffff:192.0.2.43]"', Route(Node(CLIENT)), id="mapped-ipv4"),
        pytest.param('for="_gazonk"', Route(Node("_gazonk")), id="hidden"),
        pytest.param("for=_hidden, for=_SEVKISEK", Route(Node("_SEVKISEK")), id="hidden-vouches-for-nobody"),
        pytest.param("for=unknown", Route(Node("unknown")), id="unknown"),
        pytest.param('for="_gazonk:_port"', Route(Node("_gazonk", "_port")), id="hidden-port"),
        pytest.param(
            "for=192.0.2.60;proto=http;by=203.0.113.43", Route(Node("192.0.2.60"), "http"), id="all-parameters"
        ),
        pytest.param(
            'For=192.0.2.60;Proto=HTTPS;Host="Example.com:8443"',
            Route(Node("192.0.2.60"), "https", "Example.com:8443"),
            id="names-and-schemes-in-any-case",
        ),
        pytest.param("for=192.0.2.60;secret=ruewiu", Route(Node("192.0.2.60")), id="unknown-parameter"),
        pytest.param("for=192.0.2.60; proto=https ;host=a", Route(Node("192.0.2.60"), "https", "a"), id="blanks"),
        pytest.param(";;for=192.0.2.60;;", Route(Node("192.0.2.60")), id="empty-parameters"),
        pytest.param(",,for=192.0.2.60 ,\t,", Route(Node("192.0.2.60")), id="empty-elements"),
        pytest.param('for="\\192.0.2.60"', Route(Node("192.0.2.60")), id="escapes"),
        pytest.param("for=192.0.2.43, for=198.51.100.17", Route(Node("198.51.100.17")), id="untrusted-vouches-not"),
        pytest.param("for=1.1.1.1, for=192.0.2.43, for=10.1.1.1", Route(Node(CLIENT)), id="walk-from-the-right"),
        pytest.param(
            'for=192.0.2.43, for="[2001:db8:ffff::1]", for=10.1.1.1', Route(Node(CLIENT)), id="two-trusted-proxies"
        ),
        pytest.param("for=10.0.0.3, for=10.0.0.2", Route(Node("10.0.0.3")), id="all-trusted"),
        pytest.param("for=nonsense, for=192.0.2.43", Route(Node(CLIENT)), id="nonsense-of-others-is-not-looked-at"),
        pytest.param(
            "for=192.0.2.43;proto=https;host=example.com, for=10.0.0.2;proto=http;host=internal",
            Route(Node(CLIENT), "https", "example.com"),
            id="outermost-proxy-decides",
        ),
        pytest.param(
            "for=192.0.2.43;proto=https, for=10.0.0.2;host=internal",
            Route(Node(CLIENT), "https", "internal"),
            id="each-parameter-by-itself",
        ),
        pytest.param(
            "for=1.1.1.1;proto=http;host=evil, for=192.0.2.43;proto=https",
            Route(Node(CLIENT), "https"),
            id="parameters-of-others-do-not-count",
        ),
        pytest.param("proto=https", Route(None, "https"), id="nobody-named"),
        pytest.param("for=1.1.1.1, proto=https, for=10.0.0.2", Route(Node("10.0.0.2"), "https"), id="gap-ends-walk"),
        pytest.param("", Route(), id="empty"),
    ],
)
def test_forwarded_names_the_client_that_trusted_proxies_vouch_for(value: str, route: Route) -> None:
    assert of_forwarded(value, trusts) == route


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("for", id="no-value"),
        pytest.param("for=", id="empty-value"),
        pytest.param("=192.0.2.43", id="no-name"),
        pytest.param("for =192.0.2.43", id="blank-before-equals"),
        pytest.param("for= 192.0.2.43", id="blank-after-equals"),
        pytest.param("for=192.0.2.43 for=192.0.2.44", id="no-separator"),
        pytest.param("for=192.0.2.43;for=192.0.2.44", id="repeated"),
        pytest.param("for=192.0.2.43;FOR=192.0.2.44", id="repeated-in-another-case"),
        pytest.param('for="192.0.2.43', id="open-quote"),
        pytest.param('for="x, for=192.0.2.43', id="open-quote-of-somebody-else"),
        pytest.param('for="192.0.2.43"x', id="text-after-quote"),
        pytest.param("for=192.0.2.256", id="no-address"),
        pytest.param("for=192.0.2", id="three-numbers"),
        pytest.param("for=192.0.2.043", id="leading-zero"),
        pytest.param("for=example.com", id="name"),
        pytest.param('for="2001:db8::x"', id="no-ipv6"),
        pytest.param('for="192.0.2.43:port"', id="port-in-words"),
        pytest.param("for=192.0.2.43;proto=ftp", id="protocol"),
        pytest.param('for=192.0.2.43;proto=""', id="empty-protocol"),
        pytest.param('for=192.0.2.43;host="a b"', id="host-with-blank"),
        pytest.param("for=192.0.2.43;host=a/b", id="host-with-slash"),
        pytest.param('for=192.0.2.43;host=""', id="empty-host"),
        pytest.param("for=192.0.2.43;host=caf\xe9", id="host-beyond-ascii"),
    ],
)
def test_malformed_forwarded_is_refused(value: str) -> None:
    with pytest.raises(RemoteProtocolError, match="^Forwarded: "):
        of_forwarded(value, trusts)


@given(st.lists(st.sampled_from(["for", "=", '"', "\\", ",", ";", " ", "10.0.0.1", "[::1]", ":", "_x", "proto"])))
def test_any_text_is_either_understood_or_refused(pieces: list[str]) -> None:
    text = "".join(pieces)
    for read in (of_forwarded, lambda value, trusts: of_x_forwarded({"HTTP_X_FORWARDED_FOR": value}, trusts)):
        try:
            assert isinstance(read(text, trusts), Route)
        except RemoteProtocolError:
            pass


@given(st.text(max_size=40))
def test_what_came_with_the_request_changes_nothing(claims: str) -> None:
    claims = claims.replace("\n", " ")
    assert of_x_forwarded({"HTTP_X_FORWARDED_FOR": f"{claims}, 192.0.2.43, 10.0.0.2"}, trusts).client == Node(CLIENT)


def test_forwarded_takes_time_in_proportion_to_its_length() -> None:
    with pytest.raises(RemoteProtocolError):
        of_forwarded('for="' + "\\a" * 30000, trusts)
    with pytest.raises(RemoteProtocolError):
        of_forwarded("a=b;" * 15000 + "c", trusts)


# X-Forwarded-*


@pytest.mark.parametrize(
    ("value", "client"),
    [
        pytest.param("192.0.2.43", Node(CLIENT), id="ipv4"),
        pytest.param("2001:db8::1", Node("2001:db8::1"), id="ipv6"),
        pytest.param("[2001:db8::1]:4711", Node("2001:db8::1", "4711"), id="ipv6-with-port"),
        pytest.param('"[2001:db8::1]:4711"', Node("2001:db8::1", "4711"), id="quoted"),
        pytest.param("192.0.2.43:4711", Node(CLIENT, "4711"), id="ipv4-with-port"),
        pytest.param("::ffff:192.0.2.43", Node(CLIENT), id="mapped-ipv4"),
        pytest.param("1.1.1.1, 192.0.2.43", Node(CLIENT), id="rightmost"),
        pytest.param("1.1.1.1,192.0.2.43 ,\t10.9.9.9", Node(CLIENT), id="walk-from-the-right"),
        pytest.param("192.0.2.43, 10.0.0.2, 10.0.0.3", Node(CLIENT), id="two-trusted-proxies"),
        pytest.param("10.0.0.3, 10.0.0.2", Node("10.0.0.3"), id="all-trusted"),
        pytest.param("192.0.2.43, unix:", Node(CLIENT), id="nginx-behind-a-unix-socket"),
        pytest.param("unknown", Node("unknown"), id="unknown"),
        pytest.param("192.0.2.43,,", Node(CLIENT), id="empty-members"),
        pytest.param("<script>, 192.0.2.43", Node(CLIENT), id="nonsense-of-others-is-not-looked-at"),
        pytest.param("", None, id="empty"),
        pytest.param(" , ", None, id="nobody"),
    ],
)
def test_x_forwarded_for_names_the_client_that_trusted_proxies_vouch_for(value: str, client: Node | None) -> None:
    assert of_x_forwarded({"HTTP_X_FORWARDED_FOR": value}, trusts).client == client


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        pytest.param("proto", "https", "https", id="scheme"),
        pytest.param("proto", "HTTPS", "https", id="scheme-in-capitals"),
        pytest.param("proto", "https, https", "https", id="scheme-twice"),
        pytest.param("proto", "wss", "https", id="websocket"),
        pytest.param("proto", '"http"', "http", id="scheme-in-quotes"),
        pytest.param("host", "example.com", "example.com", id="host"),
        pytest.param("host", "example.com:8443", "example.com:8443", id="host-with-port"),
        pytest.param("host", "[2001:db8::1]:80", "[2001:db8::1]:80", id="host-ipv6"),
        pytest.param("port", "8443", "8443", id="port"),
        pytest.param("port", "00080", "80", id="port-with-zeros"),
        pytest.param("prefix", "/shop", "/shop", id="prefix"),
        pytest.param("prefix", "/shop/", "/shop", id="prefix-with-slash"),
        pytest.param("prefix", "/", "", id="prefix-root"),
        pytest.param("prefix", "/caf%C3%A9", "/caf\xc3\xa9", id="prefix-encoded"),
        pytest.param("host", "", None, id="empty"),
    ],
)
def test_x_forwarded_field_is_read(field: str, value: str, expected: str | None) -> None:
    name = {"proto": "scheme"}.get(field, field)
    assert getattr(of_x_forwarded({f"HTTP_X_FORWARDED_{field.upper()}": value}, trusts), name) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("for", "nonsense", id="for-nonsense"),
        pytest.param("for", "192.0.2.43, nonsense", id="for-nonsense-of-the-proxy"),
        pytest.param("for", "nonsense, 10.0.0.2", id="for-nonsense-behind-a-trusted-proxy"),
        pytest.param("for", "192.0.2.43:99999999", id="for-long-port"),
        pytest.param("proto", "ftp", id="proto-ftp"),
        pytest.param("proto", "https, http", id="proto-several"),
        pytest.param("host", "evil, example.com", id="host-several"),
        pytest.param("host", "exa mple", id="host-blank"),
        pytest.param("host", "a@b", id="host-user"),
        pytest.param("host", "example.com/path", id="host-path"),
        pytest.param("port", "0", id="port-zero"),
        pytest.param("port", "65536", id="port-high"),
        pytest.param("port", "-1", id="port-sign"),
        pytest.param("port", "\u0661", id="port-other-digits"),
        pytest.param("prefix", "shop", id="prefix-relative"),
        pytest.param("prefix", "//evil.example", id="prefix-authority"),
        pytest.param("prefix", "/a?b", id="prefix-query"),
        pytest.param("prefix", "/a<b", id="prefix-markup"),
        pytest.param("prefix", "/a, /b", id="prefix-several"),
    ],
)
def test_malformed_x_forwarded_field_is_refused(field: str, value: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^X-Forwarded-{field.title()}: "):
        of_x_forwarded({f"HTTP_X_FORWARDED_{field.upper()}": value}, trusts)


# environ


def environ_of(host: str | None = "direct.example", *, tls: bool = False, **fields: str) -> dict[str, Any]:
    environ = {
        "REMOTE_ADDR": "10.0.0.1",
        "REMOTE_PORT": "4711",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SCRIPT_NAME": "",
        "wsgi.url_scheme": "https" if tls else "http",
        "REQUEST_SCHEME": "https" if tls else "http",
    }
    if tls:
        environ["HTTPS"] = "on"
    if host is not None:
        environ["HTTP_HOST"] = host
    environ.update({"HTTP_" + name.upper(): value for name, value in fields.items()})
    return environ


def adjusted(
    environ: dict[str, Any], fields: tuple[str, ...] = FIELDS, peer: Any = PEER, **options: Any
) -> dict[str, Any]:
    TrustedProxies(PROXIES, fields, **options).adjust(environ, peer)
    return environ


@pytest.mark.parametrize(
    ("fields", "scheme", "host", "name", "port"),
    [
        pytest.param({"proto": "https"}, "https", "direct.example", "127.0.0.1", "443", id="scheme"),
        pytest.param({"proto": "http"}, "http", "direct.example", "127.0.0.1", "80", id="same-scheme"),
        pytest.param({"host": "example.com"}, "http", "example.com", "example.com", "80", id="host"),
        pytest.param({"host": "example.com:81"}, "http", "example.com:81", "example.com", "81", id="host-with-port"),
        pytest.param({"host": "[::1]"}, "http", "[::1]", "[::1]", "80", id="host-ipv6"),
        pytest.param({"host": "[::1]:81"}, "http", "[::1]:81", "[::1]", "81", id="host-ipv6-with-port"),
        pytest.param({"host": "example.com:"}, "http", "example.com", "example.com", "80", id="host-with-empty-port"),
        pytest.param({"port": "8443"}, "http", "direct.example:8443", "127.0.0.1", "8443", id="port"),
        pytest.param({"port": "80"}, "http", "direct.example", "127.0.0.1", "80", id="usual-port"),
        pytest.param({"port": "443"}, "http", "direct.example:443", "127.0.0.1", "443", id="port-of-another-scheme"),
        pytest.param({"proto": "https", "host": "a.example"}, "https", "a.example", "a.example", "443", id="two"),
        pytest.param(
            {"proto": "https", "host": "example.com", "port": "8443"},
            "https", "example.com:8443", "example.com", "8443", id="all",
        ),
        pytest.param({"host": "a.example:81", "port": "8"}, "http", "a.example:81", "a.example", "81", id="hosts-port"),
        pytest.param({"proto": "https", "port": "443"}, "https", "direct.example", "127.0.0.1", "443", id="tls-port"),
    ],
)  # fmt: skip
def test_scheme_host_and_port_are_those_that_the_client_used(
    fields: dict[str, str], scheme: str, host: str, name: str, port: str
) -> None:
    environ = adjusted(environ_of(**{f"x_forwarded_{field}": value for field, value in fields.items()}))
    assert (environ["wsgi.url_scheme"], environ["REQUEST_SCHEME"]) == (scheme, scheme)
    assert (environ["HTTP_HOST"], environ["SERVER_NAME"], environ["SERVER_PORT"]) == (host, name, port)
    assert environ.get("HTTPS") == ("on" if scheme == "https" else None)


def test_scheme_is_taken_back_where_only_the_proxy_speaks_tls() -> None:
    environ = adjusted(environ_of(tls=True, x_forwarded_proto="http"))
    assert (environ["wsgi.url_scheme"], environ["SERVER_PORT"]) == ("http", "80")
    assert "HTTPS" not in environ


def test_port_that_the_client_wrote_in_host_stays() -> None:
    environ = adjusted(environ_of("example.com:8443", x_forwarded_proto="https"))
    assert (environ["HTTP_HOST"], environ["SERVER_PORT"]) == ("example.com:8443", "8443")


def test_request_without_host_gets_none_from_a_port() -> None:
    environ = adjusted(environ_of(None, x_forwarded_port="8443"))
    assert "HTTP_HOST" not in environ
    assert environ["SERVER_PORT"] == "8443"


def test_prefix_becomes_the_script_name() -> None:
    assert adjusted(environ_of(x_forwarded_prefix="/shop/"))["SCRIPT_NAME"] == "/shop"


@pytest.mark.parametrize(
    ("client", "address", "port"),
    [
        pytest.param("192.0.2.43", CLIENT, "", id="without-port"),  # the peer's would be somebody else's
        pytest.param("192.0.2.43:99", CLIENT, "99", id="with-port"),
        pytest.param("192.0.2.43, unix:", CLIENT, "", id="through-a-unix-socket"),
        pytest.param("unix:", "", "", id="unix-socket"),
    ],
)
def test_remote_address_is_the_clients(client: str, address: str, port: str) -> None:
    environ = adjusted(environ_of(x_forwarded_for=client))
    assert (environ["REMOTE_ADDR"], environ["REMOTE_PORT"]) == (address, port)


def test_nothing_changes_where_a_trusted_proxy_says_nothing() -> None:
    assert adjusted(environ_of()) == environ_of()


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(("10.255.0.1", 1), id="ipv4"),
        pytest.param(("::ffff:10.0.0.1", 1, 0, 0), id="mapped-ipv4"),
        pytest.param(("2001:db8:ffff::9", 1, 0, 0), id="ipv6"),
        pytest.param("", id="unix"),
        pytest.param("/run/proxy.sock", id="unix-with-a-name"),
        pytest.param(b"\0proxy", id="unix-abstract"),
    ],
)
def test_peer_in_a_trusted_network_is_believed(peer: Any) -> None:
    assert adjusted(environ_of(x_forwarded_for=CLIENT), peer=peer)["REMOTE_ADDR"] == CLIENT


@pytest.mark.parametrize(
    "peer",
    [
        pytest.param(("11.0.0.1", 1), id="ipv4"),
        pytest.param(("2001:db8:fffe::9", 1, 0, 0), id="ipv6"),
        pytest.param(None, id="gone"),
    ],
)
def test_other_peers_are_not_believed_and_their_fields_are_removed(peer: Any) -> None:
    claims = {"x_forwarded_for": CLIENT, "forwarded": "for=1.1.1.1;host=evil", "x_forwarded_user": "root"}
    assert adjusted(environ_of(**claims, cookie="a=b"), peer=peer) == environ_of(cookie="a=b")
    kept = adjusted(environ_of(**claims), peer=peer, strip_untrusted=False)
    assert kept == environ_of(**claims)


def test_malformed_field_of_another_peer_is_not_looked_at() -> None:
    assert adjusted(environ_of(forwarded='for="'), peer=("192.0.2.1", 1)) == environ_of()


def test_unix_sockets_are_trusted_only_by_name() -> None:
    environ = environ_of(x_forwarded_for=CLIENT)
    TrustedProxies(["10.0.0.0/8"]).adjust(environ, "")
    assert environ == environ_of()


def test_field_that_the_proxies_do_not_set_is_removed_and_not_believed() -> None:
    claims = {"forwarded": "for=1.1.1.1;host=evil", "x_forwarded_host": "evil", "x_forwarded_prefix": "/evil"}
    environ = adjusted(environ_of(x_forwarded_for=CLIENT, **claims), ("X-Forwarded-For",))
    assert environ["REMOTE_ADDR"] == CLIENT
    assert environ["HTTP_HOST"] == "direct.example"
    assert [key for key in environ if "FORWARDED" in key] == ["HTTP_X_FORWARDED_FOR"]


def test_other_fields_of_trusted_proxies_stay() -> None:
    assert adjusted(environ_of(x_forwarded_user="root"))["HTTP_X_FORWARDED_USER"] == "root"


def test_only_client_and_protocol_are_believed_by_default() -> None:
    environ = environ_of(x_forwarded_for=CLIENT, x_forwarded_proto="https", x_forwarded_host="evil")
    TrustedProxies(PROXIES).adjust(environ, PEER)
    assert (environ["REMOTE_ADDR"], environ["wsgi.url_scheme"]) == (CLIENT, "https")
    assert environ["HTTP_HOST"] == "direct.example"


# both kinds


def test_forwarded_decides_where_both_kinds_are_set() -> None:
    environ = adjusted(environ_of(forwarded="for=192.0.2.43;host=example.com", x_forwarded_for=CLIENT))
    assert (environ["REMOTE_ADDR"], environ["HTTP_HOST"]) == (CLIENT, "example.com")


@pytest.mark.parametrize(
    ("forwarded", "other"),
    [
        pytest.param("for=192.0.2.43", {"x_forwarded_for": "1.1.1.1"}, id="client"),
        pytest.param("for=192.0.2.43;proto=http", {"x_forwarded_proto": "https"}, id="protocol"),
        pytest.param("for=192.0.2.43;host=a.example", {"x_forwarded_host": "b.example"}, id="host"),
    ],
)
def test_kinds_that_contradict_each_other_are_refused(forwarded: str, other: dict[str, str]) -> None:
    with pytest.raises(RemoteProtocolError, match="^Forwarded: it names another"):
        adjusted(environ_of(forwarded=forwarded, **other))


@pytest.mark.parametrize(
    ("forwarded", "other"),
    [
        pytest.param('for="192.0.2.43:1"', {"x_forwarded_for": CLIENT}, id="port"),
        pytest.param("for=192.0.2.43;host=A.example", {"x_forwarded_host": "a.example"}, id="case"),
        pytest.param("for=192.0.2.43;proto=https", {"x_forwarded_proto": "wss"}, id="websocket"),
    ],
)
def test_kinds_that_say_the_same_differently_are_accepted(forwarded: str, other: dict[str, str]) -> None:
    assert adjusted(environ_of(forwarded=forwarded, **other))["REMOTE_ADDR"] == CLIENT


# options


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        pytest.param("10.0.0.1/8", "write 10.0.0.0/8, or leave out /8", id="host-bits"),
        pytest.param("*", "name the network that they are in", id="star"),
        pytest.param("localhost", "write 127.0.0.1", id="name"),
        pytest.param("10.0.0", "write 127.0.0.1", id="short"),
    ],
)
def test_mistaken_proxy_is_refused_with_advice(name: str, advice: str) -> None:
    with pytest.raises(ValueError, match=advice):
        TrustedProxies([name])


def test_proxies_are_a_list() -> None:
    with pytest.raises(TypeError, match="a list of addresses"):
        TrustedProxies("127.0.0.1")


def test_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="'X-Real-IP' is not a field of proxies that is known"):
        TrustedProxies(PROXIES, ["X-Real-IP"])


# the server


def facts(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    seen = [environ["REMOTE_ADDR"], environ["wsgi.url_scheme"], environ["HTTP_HOST"], str("HTTP_FORWARDED" in environ)]
    return [" ".join(seen).encode("latin-1")]


CLAIMS = b"X-Forwarded-For: 192.0.2.43\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\n"


def test_nobody_is_believed_by_default(serve: Any, delivery: None) -> None:
    assert serve(facts).get("/", CLAIMS).content == b"127.0.0.1 http example.com True"


def test_trusted_peer_is_believed(serve: Any, delivery: None) -> None:
    served = serve(facts, trusted_proxies=["127.0.0.1"])
    assert served.get("/", CLAIMS).content == b"192.0.2.43 https example.com False"


def test_empty_list_of_proxies_removes_all_claims(serve: Any) -> None:
    assert serve(facts, trusted_proxies=[]).get("/", CLAIMS).content == b"127.0.0.1 http example.com False"


def test_each_request_of_a_connection_has_its_own_client(serve: Any, delivery: None) -> None:
    talk = serve(facts, trusted_proxies=["127.0.0.1"]).connect()
    for number in range(3):
        answer = talk.get("/", b"X-Forwarded-For: 192.0.2.%d\r\n" % number)
        assert answer.content.startswith(b"192.0.2.%d http" % number)
    assert talk.get("/").content.startswith(b"127.0.0.1 ")


def test_trusted_unix_socket_is_believed(serve: Any, tmp_path: Path) -> None:
    served = serve(facts, trusted_proxies=["unix"], address=str(tmp_path / "socket"))
    assert served.get("/", CLAIMS).content == b"192.0.2.43 https example.com False"


def test_malformed_field_is_answered_with_400_and_the_connection_goes_on(
    serve: Any, delivery: None, errors: Any, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[Any] = []

    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        calls.append(environ)
        return facts(environ, start_response)

    talk = serve(application, trusted_proxies=["127.0.0.1"]).connect()
    answer = talk.get("/", b"X-Forwarded-For: <script>\r\n")
    assert (answer.status, answer.content) == (400, b"400 Bad Request\n")
    assert calls == []
    assert talk.get("/", CLAIMS).status == 200
    assert errors() == []


def test_operator_can_find_out_what_was_malformed(serve: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gruvihttp.server")
    serve(facts, trusted_proxies=["127.0.0.1"]).get("/", b"X-Forwarded-For: <script>\r\n")
    assert [record.getMessage() for record in caplog.records] == [
        "GET / from the trusted proxy 127.0.0.1 was refused: X-Forwarded-For: it has no address where one should be"
    ]


def test_mistaken_option_is_refused_by_the_server(serve: Any) -> None:
    with pytest.raises(ValueError, match="10.0.0.0/8"):
        serve(facts, trusted_proxies=["10.0.0.1/8"])
