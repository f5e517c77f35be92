"""What peers do who mean harm, frame by frame against a running server: our outcome, and the counter that has moved.

An attack is sent as raw frames. Whatever it is, the server either goes on and answers a good request on the same
connection, or says GOAWAY and closes. What else it says is listed with each attack.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import pytest
from attacker import GET, SLOW, Attacker, Held, block, data, headers, serving

from gruvihttp.limits import H2Limits, Limits, Timeouts
from gruvihttp.sansio import frames as f
from gruvihttp.server import HttpServer

Serve = Callable[..., HttpServer]
GUARD = 10.0

GOOD = 99_001  # the stream of the good request
CALM = "GOAWAY ENHANCE_YOUR_CALM"


@pytest.fixture
def site() -> Iterator[Held]:
    made = Held()
    yield made
    made.opened.set()


@pytest.fixture
def serve(site: Held) -> Iterator[Serve]:
    with serving(site) as start:
        yield start


def moved(server: HttpServer) -> dict[str, int]:
    """The counters that are not 0."""
    return {name: count for name, count in server.stats()["http2_defences"].items() if count}


# attacks: (what is sent, what the server says to it, which counters have moved, options of the server)


class Row(NamedTuple):
    attack: Callable[[Attacker], object]
    faults: list[str]
    counted: dict[str, int]
    options: dict[str, Any] = {}


def says(content: bytes) -> Callable[[Attacker], object]:
    return lambda attacker: attacker.say(content)


def many(make: Callable[[int], bytes], count: int, first: bytes = b"") -> Callable[[Attacker], object]:
    return says(first + b"".join(make(number) for number in range(count)))


def rapid_reset(attacker: Attacker) -> None:
    """CVE-2023-44487: forty at a time."""
    for begin in range(1, 2000, 80):
        attacker.say(b"".join(headers(n) + f.reset(n, 8) for n in range(begin, begin + 80, 2)))
        attacker.pause()


def made_to_reset(attacker: Attacker) -> None:
    """CVE-2025-8671: the server resets the streams, since the client makes it."""
    for begin in range(1, 2000, 80):
        attacker.say(b"".join(headers(n, end=False) + f.window_update(n, 0) for n in range(begin, begin + 80, 2)))
        attacker.pause()


def unread_upload(attacker: Attacker) -> None:
    attacker.say(headers(1, SLOW, end=False) + data(1, bytes(15_000)) * 4)


def unpacked(size: int) -> bytes:
    """An entry of 4000 bytes in the table, and references to it."""
    return block(GET) + b"\x40\x01a" + b"\x7f\xa1\x1e" + b"x" * 4000 + b"\xbe" * size


ATTACKS = {
    # http2.md's own list
    "upload that nobody reads": Row(unread_upload, [], {}),
    "rapid reset": Row(rapid_reset, [CALM], {"rapid_reset": 1}),
    "streams that the server has to reset": Row(
        made_to_reset, ["*", CALM], {"zero_increment": 166, "fault_flood": 1},
        {"h2_limits": H2Limits(tokens_per_second=1)},
    ),
    "PING flood": Row(many(lambda n: f.ping(bytes(8)), 10_000), [CALM], {"ping_flood": 1}),
    "SETTINGS flood": Row(many(lambda n: f.settings([]), 10_000), [CALM], {"settings_flood": 1}),
    "CONTINUATION flood": Row(
        many(lambda n: f.frame(f.CONTINUATION, 0, 1, bytes(16_000)), 81, headers(1, flags=0)),
        [CALM], {"continuation_flood": 1},
    ),
    "small CONTINUATION flood": Row(
        many(lambda n: f.frame(f.CONTINUATION, 0, 1, b"\x82"), 9, headers(1, flags=0)),
        [CALM], {"continuation_flood": 1},
    ),
    "empty CONTINUATION": Row(
        says(headers(1, flags=0) + f.frame(f.CONTINUATION, 0, 1)), [CALM], {"continuation_flood": 1}
    ),
    "HPACK bomb": Row(says(f.frame(f.HEADERS, 5, 1, unpacked(7000))), ["431 1"], {"hpack_bomb": 1}),
    "more streams than allowed": Row(
        many(lambda n: headers(2 * n + 1, SLOW), 120),
        [f"RST {2 * n + 1} REFUSED_STREAM" for n in range(100, 120)], {"stream_limit": 20},
    ),
    "malformed request": Row(says(headers(1, GET[1:])), ["RST 1 PROTOCOL_ERROR"], {"malformed": 1}),
    "empty DATA": Row(
        many(lambda n: data(1), 10_000, headers(1, SLOW, end=False)), [CALM], {"empty_data_flood": 1}
    ),
    # further floods
    "streams far beyond the limit": Row(
        many(lambda n: headers(2 * n + 1, SLOW), 1000), ["*", CALM], {"stream_limit": 500, "stream_flood": 1}
    ),
    "malformed requests": Row(
        many(lambda n: headers(2 * n + 1, GET[1:]), 300), ["*", CALM], {"malformed": 200, "fault_flood": 1}
    ),
    "PRIORITY flood": Row(
        many(lambda n: f.frame(f.PRIORITY, 0, 1, bytes(5)), 2000), [CALM], {"priority_flood": 1}
    ),
    "unknown frames": Row(many(lambda n: f.frame(0x77, 0, 0), 2000), [CALM], {"unknown_flood": 1}),
    "WINDOW_UPDATE flood": Row(many(lambda n: f.window_update(0, 1), 2000), [CALM], {"update_flood": 1}),
    "RST_STREAM of a stream that is over": Row(
        many(lambda n: f.reset(1, 8), 2000, headers(1, SLOW)), [CALM], {"late_flood": 1}
    ),
    "GOAWAY flood": Row(many(lambda n: f.goaway(0, 0), 1000), [CALM], {"goaway_flood": 1}),
    # windows
    "stream's window too wide": Row(
        says(headers(1, SLOW) + f.window_update(1, f.HIGHEST_ID)), ["RST 1 FLOW_CONTROL_ERROR"], {"window_overflow": 1}
    ),
    "connection's window too wide": Row(
        says(f.window_update(0, f.HIGHEST_ID)), ["GOAWAY FLOW_CONTROL_ERROR"], {"window_overflow": 1}
    ),
    "SETTINGS make a window too wide": Row(
        says(headers(1, SLOW) + f.window_update(1, f.HIGHEST_ID - 65535) + f.settings([(4, 65536)])),
        ["GOAWAY FLOW_CONTROL_ERROR"], {"window_overflow": 1},
    ),
    "stream's window wider by nothing": Row(
        says(headers(1, SLOW) + f.window_update(1, 0)), ["RST 1 PROTOCOL_ERROR"], {"zero_increment": 1}
    ),
    "connection's window wider by nothing": Row(
        says(f.window_update(0, 0)), ["GOAWAY PROTOCOL_ERROR"], {"zero_increment": 1}
    ),
    "more than the stream's window": Row(
        says(headers(1, SLOW, end=False) + data(1, bytes(16384)) * 4 + data(1, b"x")),
        ["RST 1 FLOW_CONTROL_ERROR"], {"window_exceeded": 1},
    ),
    # fields
    "list too large": Row(
        says(headers(1, [*GET, (b"x", b"y" * 10_000)])), ["431 1"], {"header_list": 1},
        {"limits": Limits(fields_bytes=9000)},
    ),
    "field too long": Row(
        says(headers(1, [*GET, (b"x", b"y" * 1000)])), ["431 1"], {"header_list": 1},
        {"h2_limits": H2Limits(field_bytes=999)},
    ),
    "too many fields": Row(says(headers(1, GET + [(b"x", b"y")] * 120)), ["431 1"], {"header_list": 1}),
    "trailers too large": Row(
        says(headers(1, SLOW, end=False) + headers(1, [(b"x", b"y" * 9000)])), ["RST 1 PROTOCOL_ERROR"],
        {"header_list": 1},
    ),
    # breaches
    "index beyond the table": Row(
        says(f.frame(f.HEADERS, 5, 1, b"\xff\x7f")), ["GOAWAY COMPRESSION_ERROR"], {"protocol": 1}
    ),
    "even stream": Row(says(headers(2)), ["GOAWAY PROTOCOL_ERROR"], {"protocol": 1}),
    "frame too large": Row(says(data(1, bytes(16385))), ["GOAWAY FRAME_SIZE_ERROR"], {"protocol": 1}),
    "PUSH_PROMISE": Row(
        says(f.frame(f.PUSH_PROMISE, 4, 1, bytes(4))), ["GOAWAY PROTOCOL_ERROR"], {"protocol": 1}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
def test_attack_has_its_outcome_and_its_counter(name: str, serve: Serve, site: Held) -> None:
    row = ATTACKS[name]
    server = serve(**row.options)
    attacker = Attacker(server.address)
    attacker.greet()
    row.attack(attacker)
    if row.faults and row.faults[-1].startswith("GOAWAY"):
        attacker.hear_until(lambda: attacker.over)
    else:
        attacker.pause()
        if server.stats()["active_requests"] >= 100:
            site.opened.set()
            attacker.hear_until(lambda: len(attacker.ended) == 100)
        attacker.say(headers(GOOD))
        attacker.hear_until(lambda: GOOD in attacker.ended)
        assert attacker.statuses[GOOD] == b"200"
    refusals = [f"{status.decode()} {stream}" for stream, status in attacker.statuses.items() if status >= b"400"]
    said = refusals + attacker.faults
    if row.faults[:1] == ["*"]:  # some streams are reset; how many of that can be heard depends on the system
        assert all(fault.startswith("RST ") for fault in said[:-1])
        said[:-1] = ["*"]
    assert said == row.faults
    assert moved(server) == row.counted


def test_rapid_reset_reaches_the_application_two_hundred_times_at_most(
    serve: Serve, site: Held
) -> None:
    attacker = Attacker(serve().address)
    attacker.greet()
    rapid_reset(attacker)
    attacker.hear_until(lambda: attacker.over)
    assert 0 < site.calls <= 210


# windows


def test_window_of_nothing_then_five_bytes_lets_five_bytes_through(serve: Serve) -> None:
    server = serve()
    attacker = Attacker(server.address)
    attacker.greet((4, 0))
    attacker.say(headers(1, [*GET[:3], (b":path", b"/large")]))
    attacker.hear_until(lambda: 1 in attacker.statuses)
    attacker.pause()
    assert 1 not in attacker.content
    attacker.say(f.window_update(1, 5))
    attacker.hear_until(lambda: attacker.content.get(1))
    attacker.pause()
    assert attacker.content[1] == b"xxxxx"
    assert moved(server) == {}


def test_window_that_settings_made_negative_has_to_be_filled_first(serve: Serve) -> None:
    attacker = Attacker(serve().address)
    attacker.greet((4, 10))
    attacker.say(headers(1, [*GET[:3], (b":path", b"/large")]))
    attacker.hear_until(lambda: len(attacker.content.get(1, b"")) == 10)
    attacker.say(f.settings([(4, 0)]) + f.window_update(1, 10))  # 10 were sent: -10, and then 0
    attacker.pause()
    assert len(attacker.content[1]) == 10
    attacker.say(f.window_update(1, 1))
    attacker.hear_until(lambda: len(attacker.content[1]) > 10)
    assert len(attacker.content[1]) == 11


# time


def test_stream_whose_window_stays_shut_is_given_up(serve: Serve) -> None:
    server = serve(timeouts=Timeouts(write=0.05))
    attacker = Attacker(server.address)
    attacker.greet((4, 0))
    attacker.say(headers(1, [*GET[:3], (b":path", b"/large")]))
    attacker.hear_until(lambda: attacker.faults)
    assert attacker.faults == ["RST 1 CANCEL"]
    assert moved(server) == {"slow_reader": 1}
    attacker.say(f.settings([(4, 100)]) + headers(GOOD))
    attacker.hear_until(lambda: GOOD in attacker.ended)
    assert attacker.statuses[GOOD] == b"200"


def test_streams_that_together_exceed_a_window_are_given_up_beside_one_that_runs(serve: Serve) -> None:
    server = serve(timeouts=Timeouts(write=0.05))
    attacker = Attacker(server.address)
    attacker.greet()
    share = [*GET[:3], (b":path", b"/share")]  # each alone would fit into the connection's window
    attacker.say(headers(1, SLOW) + b"".join(headers(number, share) for number in (3, 5, 7)))
    attacker.hear_until(lambda: len(attacker.faults) == 2)
    assert attacker.faults == ["RST 5 CANCEL", "RST 7 CANCEL"]
    assert server.stats()["active_requests"] == 1
    attacker.say(f.window_update(0, 65535))
    attacker.hear_until(lambda: 3 in attacker.ended)
    assert len(attacker.content[3]) == 40_000


@pytest.mark.parametrize(
    "drip",
    [
        pytest.param(f.window_update(1, 1), id="opens its window by a byte"),
        pytest.param(data(1, b"x"), id="sends a byte of content"),
        pytest.param(f.window_update(0, 1000), id="opens another window"),
    ],
)
def test_stream_that_is_taken_too_slowly_is_given_up(serve: Serve, drip: bytes) -> None:
    server = serve(timeouts=Timeouts(write=0.2), limits=Limits(write_rate=1000))
    attacker = Attacker(server.address)
    attacker.greet((4, 0))
    attacker.say(headers(1, [*GET[:3], (b":path", b"/large")], end=False))
    with gevent.Timeout(GUARD):
        while not moved(server):
            attacker.say(drip)
            gevent.sleep(0.01)
    attacker.hear_until(lambda: attacker.faults)
    assert attacker.faults == ["RST 1 CANCEL"]
    assert moved(server) == {"slow_reader": 1}


def test_streams_that_share_a_narrow_connection_are_not_given_up(serve: Serve) -> None:
    server = serve(timeouts=Timeouts(write=0.2), limits=Limits(write_rate=5000))
    attacker = Attacker(server.address)
    attacker.greet((4, f.HIGHEST_ID))
    streams = range(1, 180, 2)
    attacker.say(b"".join(headers(stream, [*GET[:3], (b":path", b"/large")]) for stream in streams))
    for _ in range(60):
        attacker.say(f.window_update(0, 500))  # for one of them after the other: together they are fast enough
        gevent.sleep(0.01)
    attacker.pause()
    assert attacker.faults == []
    assert moved(server) == {}


def test_connection_that_takes_nothing_is_given_up(
    serve: Serve, site: Held, tmp_path: Path
) -> None:
    server = serve(str(tmp_path / "socket"), timeouts=Timeouts(write=0.05))
    attacker = Attacker(server.address)
    attacker.greet((4, f.HIGHEST_ID))
    attacker.say(f.window_update(0, f.HIGHEST_ID - 65535) + headers(1, [*GET[:3], (b":path", b"/large")]))
    with gevent.Timeout(GUARD):
        while server.connections or not site.calls:
            gevent.sleep(0.01)
    assert set(moved(server)) == {"slow_reader"}


def test_answers_that_nobody_reads_end_the_connection(serve: Serve, tmp_path: Path) -> None:
    server = serve(str(tmp_path / "socket"), h2_limits=H2Limits(tokens=1 << 30, control_count=100))
    attacker = Attacker(server.address)
    attacker.greet()
    pings = f.ping(bytes(8)) * 1000
    while not moved(server):
        attacker.say(pings)
        gevent.idle()
    assert moved(server) == {"unread_answers": 1}
    attacker.hear_until(lambda: attacker.over)
    assert attacker.faults == [CALM]


@pytest.mark.parametrize(
    "begun",
    [
        f.PREFACE[:10],
        f.PREFACE,
        f.PREFACE + f.settings([]) + headers(1, flags=0),
        f.PREFACE + f.settings([]) + headers(1)[:12],
    ],
    ids=["preface", "settings", "continuation", "headers"],
)
def test_beginning_without_an_end_is_not_waited_for(serve: Serve, begun: bytes) -> None:
    server = serve(timeouts=Timeouts(head=0.05))
    attacker = Attacker(server.address)
    attacker.say(begun)
    attacker.hear_until(lambda: attacker.over)
    assert attacker.faults == []
    assert moved(server) == ({"slow_head": 1} if len(begun) > 10 else {})  # that little may be HTTP/1 as well


def test_settings_that_are_not_acknowledged_end_the_connection(serve: Serve) -> None:
    server = serve(timeouts=Timeouts(head=0.05))
    attacker = Attacker(server.address)
    attacker.say(f.PREFACE + f.settings([]) + headers(1))
    attacker.hear_until(lambda: attacker.over)
    assert attacker.statuses[1] == b"200"  # what has come by then is answered
    assert attacker.faults == ["GOAWAY SETTINGS_TIMEOUT"]
    assert moved(server) == {"settings_timeout": 1}
