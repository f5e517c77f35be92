"""What options mean: addresses, numbers with units, fields, URLs; and that each declared number has its option."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from gruvihttp.commands.addresses import parse_bind
from gruvihttp.commands.declared import (
    count,
    count_or_none,
    declared_options,
    seconds,
    seconds_or_none,
    take_h2_limits,
    take_limits,
    take_timeouts,
)
from gruvihttp.commands.holder import holder_of
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.targets import Origin, parse_field, parse_target
from gruvihttp.limits import H2Limits, Limits, Timeouts

# addresses

ADDRESSES = [
    ("127.0.0.1:80", ("127.0.0.1", 80), "http://127.0.0.1:80"),
    ("localhost:8000", ("localhost", 8000), "http://localhost:8000"),
    ("8000", ("127.0.0.1", 8000), "http://127.0.0.1:8000"),
    (":8000", ("", 8000), "http://127.0.0.1:8000, on all interfaces"),
    ("*:8000", ("", 8000), "http://127.0.0.1:8000, on all interfaces"),
    ("0.0.0.0:8000", ("0.0.0.0", 8000), "http://127.0.0.1:8000, on all interfaces"),
    ("[::]:8000", ("::", 8000), "http://[::1]:8000, on all interfaces"),
    ("[::1]:8000", ("::1", 8000), "http://[::1]:8000"),
    ("unix:/run/a.sock", "/run/a.sock", "unix:/run/a.sock"),
    ("unix:a.sock", "a.sock", "unix:a.sock"),
    ("unix:@name", "\0name", "unix:@name"),
]


@pytest.mark.parametrize(("text", "address", "place"), ADDRESSES, ids=[row[0] for row in ADDRESSES])
def test_address_is_understood_and_shown(text: str, address: object, place: str) -> None:
    bind = parse_bind(text)
    assert bind.address == address
    assert bind.place(bind.port, tls=False) == place


def test_address_with_tls_is_shown_as_https() -> None:
    assert parse_bind("localhost:0").place(8443, tls=True) == "https://localhost:8443"


NO_ADDRESSES = [
    ("localhost", "it has no port", "write localhost:8000"),
    ("[::1]", "it has no port", "write [::1]:8000"),
    ("", "it has no port", "write 127.0.0.1:8000"),
    ("::1:8000", "an IPv6 address needs brackets", "write [::1]:8000"),
    ("localhost:http", "its port is no number", "write host:port"),
    ("localhost:65536", "there is no port 65536", "ports go from 1 to 65535"),
    ("99999", "there is no port 99999", "ports go from 1 to 65535"),
    ("http://localhost:80/", "it is a URL", "write localhost:80"),
    ("/run/a.sock", "it looks like a path", "write unix:/run/a.sock"),
    ("unix:", "it has no path", "write unix:/path"),
]


@pytest.mark.parametrize(("text", "what", "advice"), NO_ADDRESSES, ids=[row[0] or "nothing" for row in NO_ADDRESSES])
def test_what_is_no_address_is_refused_with_the_right_spelling(text: str, what: str, advice: str) -> None:
    with pytest.raises(UsageMistake) as caught:
        parse_bind(text)
    assert caught.value.message == f"cannot listen on {text!r}: {what}"
    assert caught.value.advice.startswith(advice)


# numbers

NUMBERS: list[tuple[Callable[[Any], object], str, object]] = [
    (seconds, "75", 75.0),
    (seconds, "0", 0.0),
    (seconds, "0.5", 0.5),
    (seconds, "500ms", 0.5),
    (seconds, "30 s", 30.0),
    (seconds, "5m", 300.0),
    (seconds, "1H", 3600.0),
    (seconds_or_none, "none", None),
    (seconds_or_none, "2", 2.0),
    (count, "100", 100),
    (count, "64k", 65536),
    (count, "1.5M", 1572864),
    (count, "1G", 1 << 30),
    (count_or_none, "None", None),
    (count_or_none, "8", 8),
]


def number_id(value: object) -> str:
    return value.__name__ if callable(value) else str(value)


@pytest.mark.parametrize(("kind", "text", "value"), NUMBERS, ids=number_id)
def test_number_is_understood(kind: Callable[[Any], object], text: str, value: object) -> None:
    assert kind(text) == value


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (seconds, "none"), (seconds, "-1"), (seconds, "5 days"), (seconds, ""), (seconds_or_none, "x"),
        (count, "0"), (count, "-1"), (count, "1.5"), (count, "none"), (count, "1x"), (count_or_none, "0"),
    ],
    ids=number_id,
)  # fmt: skip
def test_what_is_no_such_number_is_refused(kind: Callable[[Any], object], text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"is not a (number of seconds|positive whole number)"):
        kind(text)


def test_every_number_of_a_server_has_an_option() -> None:
    names = {option.name for option in declared_options()}
    client_s = {"connect", "pool", "read", "total"}
    assert names == {f"limit_{item.name}" for item in fields(Limits)} | {
        f"timeout_{item.name}" for item in fields(Timeouts) if item.name not in client_s
    } | {f"http2_{item.name}" for item in fields(H2Limits)}


def test_options_that_are_not_given_leave_the_defaults() -> None:
    command = click.Command("serve", callback=lambda **values: values, params=list(declared_options()))
    values = command.main([], standalone_mode=False)
    taken = (take_limits(values), take_h2_limits(values), take_timeouts(values))
    assert (taken, values) == ((Limits(), H2Limits(), Timeouts()), {})


def test_options_that_are_given_reach_their_fields() -> None:
    command = click.Command("serve", callback=lambda **values: values, params=list(declared_options()))
    arguments = ["--timeout-idle", "5m", "--timeout-head", "none", "--limit-content-bytes", "10M"]
    arguments += ["--http2-window-bytes", "128k"]
    values = command.main(arguments, standalone_mode=False)
    assert take_limits(values) == Limits(content_bytes=10 << 20)
    assert take_h2_limits(values) == H2Limits(window_bytes=131072)
    assert take_timeouts(values) == Timeouts(idle=300.0, head=None)


@pytest.mark.parametrize(
    "wrong", [{"frame_bytes": 16383}, {"window_bytes": 1 << 31}, {"window_bytes": 2, "widest_window_bytes": 1}]
)
def test_number_that_http2_does_not_allow_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        H2Limits(**wrong)


# URLs and fields

URLS = [
    ("http://localhost", Origin("http", "localhost", 80), "/"),
    ("HTTP://localhost:8000/a?b=c#d", Origin("http", "localhost", 8000), "/a?b=c"),
    ("https://localhost/%20", Origin("https", "localhost", 443), "/%20"),
    ("http://[::1]:8000/", Origin("http", "::1", 8000), "/"),
    ("http://localhost/caf\u00e9?\u00e9", Origin("http", "localhost", 80), "/caf%C3%A9?%C3%A9"),
]


@pytest.mark.parametrize(("url", "origin", "target"), URLS, ids=[row[0] for row in URLS])
def test_url_is_taken_apart(url: str, origin: Origin, target: str) -> None:
    parsed = parse_target(url)
    assert (parsed.url, parsed.origin, parsed.target) == (url, origin, target)


def test_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageMistake) as caught:
        parse_target("http://user:s3cret@localhost/")
    assert "s3cret" not in caught.value.message + caught.value.advice
    assert caught.value.advice == "write -H 'Authorization: ...' http://localhost/"


def test_field_is_taken_apart_at_its_first_colon() -> None:
    assert parse_field("Referer:  http://localhost/ ") == ("Referer", "http://localhost/")


@pytest.mark.parametrize("text", ["", "Accept", ": x", "Accept : x", " Accept: x"])
def test_what_is_no_field_is_refused(text: str) -> None:
    with pytest.raises(UsageMistake, match="is no header field"):
        parse_field(text)


# who listens

needs_proc = pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="only Linux tells")


@needs_proc
@pytest.mark.parametrize("wanted", ["127.0.0.1", "0.0.0.0", "", "localhost"])
def test_process_that_listens_on_a_port_is_found(wanted: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        holder = holder_of((wanted, listening.getsockname()[1]))
    assert holder is not None
    assert (holder.pid, holder.name) == (os.getpid(), comm())


def comm() -> str:
    return Path("/proc/self/comm").read_text().strip()


@needs_proc
def test_process_that_listens_on_another_address_is_not_in_the_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert holder_of(("127.0.0.2", listening.getsockname()[1])) is None


@needs_proc
def test_port_that_nobody_listens_on_has_no_holder() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        assert holder_of(bound.getsockname()) is None


@needs_proc
@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6")
def test_process_that_listens_on_ipv6_is_found() -> None:
    try:
        listening = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("no IPv6")
    with listening:
        holder = holder_of(("::1", listening.getsockname()[1]))
    assert holder is not None and holder.pid == os.getpid()


@needs_proc
def test_process_that_listens_on_a_unix_socket_is_found(tmp_path: Path) -> None:
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        assert holder_of(path) is None
        listening.listen()
        holder = holder_of(path)
    assert holder is not None and holder.pid == os.getpid()
