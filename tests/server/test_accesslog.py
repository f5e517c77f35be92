"""The access log: what is recorded, how it is written, and that nobody can forge a line or break the server with it."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gevent
import pytest
from gevent.event import Event
from hypothesis import given
from hypothesis import strategies as st

from gruvihttp.accesslog import AccessLog, as_log
from gruvihttp.accessrecord import AccessRecord
from gruvihttp.exchanges.response import ResponseHead
from gruvihttp.limits import Limits, Timeouts
from gruvihttp.sansio.events import Request

Until = Callable[[Callable[[], object]], None]

MOMENT = 1793890800.123456  # 2026-11-05 15:00:00 UTC


def record_of(
    method: str = "GET", target: str = "/", fields: dict[str, str] | None = None, **facts: Any
) -> AccessRecord:
    """A record without a connection."""
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in (fields or {}).items()]
    request = Request(method=method, target=target, headers=[(b"Host", b"example.com"), *raw])
    known = {"time": MOMENT, "outcome": "complete", "status": 200, "connection_requests": 1, "duration_us": 1500}
    channel = SimpleNamespace(get_extra_info={"peername": ("192.0.2.1", 4711)}.get)
    return AccessRecord(channel, request, **{**known, **facts})


def line_of(format: str, record: AccessRecord) -> str:  # noqa: A002
    stream = io.StringIO()
    AccessLog(format, to=stream)(record)
    text = stream.getvalue()
    assert text.endswith("\n")
    return text[:-1]


@pytest.fixture
def local_time() -> Iterator[Callable[[str], None]]:
    """Sets the time zone until the test ends."""

    def local_time(zone: str) -> None:
        patch.setenv("TZ", zone)
        time.tzset()

    with pytest.MonkeyPatch.context() as patch:
        yield local_time
    time.tzset()


# formats


def test_common_format(local_time: Callable[[str], None]) -> None:
    local_time("UTC")
    assert line_of("common", record_of("GET", "/a?b=c", content_bytes=2326)) == (
        '192.0.2.1 - - [05/Nov/2026:15:00:00 +0000] "GET /a?b=c HTTP/1.1" 200 2326'
    )


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        pytest.param("XYZ-5:30", "05/Nov/2026:20:30:00 +0530", id="east"),
        pytest.param("XYZ3:30", "05/Nov/2026:11:30:00 -0330", id="west"),
        pytest.param("XYZ-12", "06/Nov/2026:03:00:00 +1200", id="tomorrow"),
    ],
)
def test_time_is_local_with_its_offset(local_time: Callable[[str], None], zone: str, shown: str) -> None:
    local_time(zone)
    assert line_of("{time}", record_of()) == shown


def test_combined_format(local_time: Callable[[str], None]) -> None:
    local_time("UTC")
    fields = {"Referer": "http://example.com/start", "User-Agent": "Mozilla/4 (X)"}
    assert line_of("combined", record_of(fields=fields, environ={"REMOTE_USER": "frank"})) == (
        '192.0.2.1 - frank [05/Nov/2026:15:00:00 +0000] "GET / HTTP/1.1" 200 0 '
        '"http://example.com/start" "Mozilla/4 (X)"'
    )


def test_json_format() -> None:
    fields = {"User-Agent": 'a "quoted"\xe9 agent', "X-Request-Id": "abc-1"}
    line = line_of("json", record_of("POST", "/a", fields, content_bytes=5))
    assert json.loads(line) == {
        "time": "2026-11-05T15:00:00.123Z",
        "client": "192.0.2.1",
        "user": None,
        "method": "POST",
        "target": "/a",
        "protocol": "HTTP/1.1",
        "request_line": "POST /a HTTP/1.1",
        "scheme": None,
        "host": "example.com",
        "status": 200,
        "content_bytes": 5,
        "duration_us": 1500,
        "referer": None,
        "user_agent": 'a "quoted"\xe9 agent',
        "request_id": "abc-1",
        "connection_requests": 1,
        "outcome": "complete",
    }
    assert line.isascii()


@pytest.mark.parametrize(
    ("format", "line"),
    [
        pytest.param("{client}:{client_port}", "192.0.2.1:4711", id="client"),
        pytest.param("{method} {target} {protocol}", "GET /a?b HTTP/1.1", id="request"),
        pytest.param("{status} {outcome} {content_bytes}", "200 complete 7", id="response"),
        pytest.param("{duration_us} {duration_ms}", "1500 1.500", id="duration"),
        pytest.param("{iso_time}", "2026-11-05T15:00:00.123Z", id="time"),
        pytest.param("{scheme} {host}", "https shop.example", id="environ"),
        pytest.param("{request_id} {connection_requests}", "r-1 1", id="ids"),
        pytest.param("{header:X-Tenant} {header:x-none}", "blue -", id="fields-of-the-request"),
        pytest.param("{response_header:content-type} {response_header:etag}", "text/plain -", id="of-the-response"),
        pytest.param("{environ:shop.user} {environ:shop.none}", "17 -", id="of-the-application"),
        pytest.param("100% {{literal}} {status}", "100% {literal} 200", id="literals"),
    ],
)
def test_field_of_a_format(format: str, line: str) -> None:  # noqa: A002
    record = record_of(
        target="/a?b",
        fields={"X-Tenant": "blue", "X-Request-Id": "r-1"},
        content_bytes=7,
        environ={"wsgi.url_scheme": "https", "HTTP_HOST": "shop.example", "shop.user": 17},
        head=ResponseHead(200, b"OK", [(b"Content-Type", b"text/plain")]),
    )
    assert line_of(format, record) == line


@pytest.mark.parametrize(
    ("format", "message"),
    [
        pytest.param("comined", "'comined' is no format", id="unknown-name"),
        pytest.param("", "'' is no format", id="empty"),
        pytest.param("%(h)s", "is no format", id="percent"),
        pytest.param("{clinet}", r"no field \{clinet\}: is it \{client\}\?", id="misspelled"),
        pytest.param("{nonsense}", "there are time, client, .*header:name", id="unknown-field"),
        pytest.param("{header}", "Write {header:x-name}", id="header-without-name"),
        pytest.param("{status:d}", "no field {status:d}", id="argument-too-many"),
        pytest.param("{status!r}", "takes no conversion", id="conversion"),
        pytest.param("{status", "expected '}'", id="open-brace"),
    ],
)
def test_mistaken_format_is_refused_with_advice(format: str, message: str) -> None:  # noqa: A002
    with pytest.raises(ValueError, match=message):
        AccessLog(format)


# nobody forges

EVIL = '1.2.3.4 - - [01/Jan/2000:00:00:00 +0000] "GET /evil HTTP/1.1" 200 1'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param('"', '\\"', id="quote"),
        pytest.param("\\", "\\\\", id="backslash"),
        pytest.param("a b", "a b", id="blank"),
        pytest.param("a\tb", "a\\x09b", id="tab"),
        pytest.param("\x1b[31m", "\\x1b[31m", id="escape-sequence"),
        pytest.param("\x7f\x80\x9b", "\\x7f\\x80\\x9b", id="control-characters-beyond-ascii"),
        pytest.param("caf\xe9", "caf\\xe9", id="latin-1"),
        pytest.param(f'x"\r\n{EVIL}', 'x\\"\\x0d\\x0a' + EVIL.replace('"', '\\"'), id="line"),
    ],
)
def test_quoted_field_is_escaped(value: str, shown: str) -> None:
    record = record_of(environ={"value": value})
    assert line_of('"{environ:value}" {status}', record) == f'"{shown}" 200'


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("frank", "frank", id="plain"),
        pytest.param("frank [", "frank\\x20\\x5b", id="blank-and-bracket"),
        pytest.param('a"b\\c', 'a\\"b\\\\c', id="quote"),
        pytest.param("a\nb", "a\\x0ab", id="newline"),
        pytest.param("\u2028\U0001f600", "\\u2028\\U0001f600", id="beyond-latin-1"),
        pytest.param("", "-", id="empty"),
    ],
)
def test_bare_field_is_escaped_so_that_it_stays_one(value: str, shown: str) -> None:
    assert line_of("{user} {status}", record_of(environ={"REMOTE_USER": value})) == f"{shown} 200"


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_ends_a_line_or_a_field(quoted: str, bare: str) -> None:
    record = record_of(environ={"quoted": quoted, "bare": bare})
    line = line_of('[{time}] "{environ:quoted}" {environ:bare} 200', record)
    assert line.isascii() and line.isprintable()
    assert re.fullmatch(r'\[[^]]+\] "(?:[^"\\]|\\.)*" (?:[^ "\\\[\]]|\\.)+ 200', line)


def test_user_agent_with_a_quote_forges_no_field_in_json() -> None:
    agent = '","status":500,"x":"'
    found = json.loads(line_of("json", record_of(fields={"User-Agent": agent})))
    assert (found["user_agent"], found["status"]) == (agent, 200)


def test_line_separators_of_unicode_forge_no_line_in_json() -> None:
    assert len(line_of("json", record_of(environ={"REMOTE_USER": "a\u2028b\nc"})).splitlines()) == 1


@pytest.mark.parametrize(
    ("authorization", "user"),
    [
        pytest.param("Basic " + b64encode(b"frank:secret").decode(), "frank", id="basic"),
        pytest.param("bAsIc " + b64encode("j\xfcrgen:x".encode()).decode(), "j\xfcrgen", id="utf-8"),
        pytest.param("Basic " + b64encode(b":secret").decode(), None, id="no-name"),
        pytest.param("Basic " + b64encode(b"frank").decode(), None, id="no-password"),
        pytest.param("Basic !!!", None, id="no-base64"),
        pytest.param("Basic", None, id="nothing"),
        pytest.param("Bearer " + b64encode(b"frank:secret").decode(), None, id="token"),
    ],
)
def test_user_of_basic_credentials_is_shown_and_never_the_password(authorization: str, user: str | None) -> None:
    record = record_of(fields={"Authorization": authorization})
    assert record.user == user
    assert "secret" not in line_of("combined", record) + line_of("json", record)


# where lines go


def test_stderr_of_the_moment_is_the_default(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    access_log = AccessLog("{status}")
    access_log(record_of())
    assert capsys.readouterr().err == "200\n"
    monkeypatch.setattr(sys, "stderr", None)
    access_log(record_of())


def test_logger_gets_messages(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("shop.access")
    caplog.set_level(logging.INFO, "shop.access")
    AccessLog("{status} %s", to=logger)(record_of())
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", "200 %s")]


def test_each_line_is_flushed(tmp_path: Path) -> None:
    with open(tmp_path / "access.log", "w") as file:
        AccessLog("{status}", to=file)(record_of())
        assert (tmp_path / "access.log").read_text() == "200\n"


@pytest.mark.parametrize("option", [logging.getLogger("x"), sys.stderr, 1, True], ids=["logger", "stream", "1", "True"])
def test_what_is_neither_format_nor_callable_is_refused_with_advice(option: Any) -> None:
    with pytest.raises(TypeError, match=r"AccessLog\('combined', to=...\)"):
        as_log(option)


# a server


@pytest.fixture
def records() -> list[AccessRecord]:
    return []


def hello(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def test_each_request_is_recorded(serve: Any, records: list[AccessRecord], delivery: None) -> None:
    talk = serve(hello, access_log=records.append).connect()
    talk.get("/a?b", b"User-Agent: test\r\nReferer: /start\r\nX-Request-Id: r-1\r\n")
    talk.post(b"content", "/c")
    talk.ask(b"HEAD /d HTTP/1.0\r\n\r\n")
    assert [record.request_line for record in records] == ["GET /a?b HTTP/1.1", "POST /c HTTP/1.1", "HEAD /d HTTP/1.0"]
    assert [record.connection_requests for record in records] == [1, 2, 3]
    assert [record.content_bytes for record in records] == [5, 5, 0]
    assert {record.outcome for record in records} == {"complete"}
    assert {record.client for record in records} == {"127.0.0.1"}
    first = records[0]
    assert (first.user_agent, first.referer, first.request_id) == ("test", "/start", "r-1")
    assert (first.host, first.scheme, first.status) == ("example.com", "http", 200)
    assert first.duration_us is not None and 0 < first.duration_us < 10_000_000
    assert first.response_header("Content-Type") == "text/plain"


def test_format_is_written_to_stderr(serve: Any, capsys: pytest.CaptureFixture[str]) -> None:
    serve(hello, access_log="common").get("/a")
    assert re.fullmatch(r'127\.0\.0\.1 - - \[[^]]+\] "GET /a HTTP/1\.1" 200 5\n', capsys.readouterr().err)


def streaming(environ: dict[str, Any], start_response: Any) -> Any:
    start_response("200 OK", [])
    yield b"x" * 100_000
    gevent.sleep(0)
    yield b"y" * 10
    yield b"z" * 70_000


@pytest.mark.parametrize(
    ("request_line", "content_bytes"),
    [
        pytest.param(b"GET / HTTP/1.1", 170_010, id="chunked"),  # without what frames it
        pytest.param(b"GET / HTTP/1.0", 170_010, id="until-close"),
        pytest.param(b"HEAD / HTTP/1.1", 0, id="head"),
    ],
)
def test_content_of_streams_is_counted(
    serve: Any, records: list[AccessRecord], request_line: bytes, content_bytes: int
) -> None:
    served = serve(streaming, access_log=records.append)
    served.ask(request_line + b"\r\nHost: example.com\r\nConnection: close\r\n\r\n")
    assert [record.content_bytes for record in records] == [content_bytes]


@pytest.mark.parametrize(
    ("said", "status", "line"),
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, "GET / HTTP/1.1", id="no-host"),
        pytest.param(b"nonsense\r\n\r\n", 400, "nonsense", id="nonsense"),
        pytest.param(b"GET /\x1b]0;evil\x07 HTTP/1.1\r\n\r\n", 400, "GET /\x1b]0;evil\x07 HTTP/1.1", id="controls"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\xfc\x03", 400, "\x16\x03\x01\x02\x00\x01\xfc\x03", id="tls"),
        pytest.param(b"GET /" + b"a" * 9000, 414, "GET /" + "a" * 1019, id="long"),
        pytest.param(b"GET / HTTP/9.9\r\nHost: a\r\n\r\n", 505, "GET / HTTP/9.9", id="version"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n", 413, "GET / HTTP/1.1", id="content"),
    ],
)
def test_refused_request_is_recorded(
    serve: Any, records: list[AccessRecord], said: bytes, status: int, line: str, delivery: None
) -> None:
    served = serve(hello, access_log=records.append, limits=Limits(content_bytes=100))
    talk = served.connect()
    talk.say(said)
    assert talk.answer().status == status
    [record] = records
    assert (record.status, record.outcome, record.connection_requests) == (status, "refused", 1)
    assert (record.client, record.duration_us, record.content_bytes) == ("127.0.0.1", None, 0)
    assert line.startswith(record.request_line)  # byte by byte it is refused as soon as it shows
    assert record.request_line == line or (talk.piece_bytes and said[0] < 0x20)
    assert line_of("combined", record).isascii() and line_of("combined", record).isprintable()
    assert json.loads(line_of("json", record))["request_line"] == record.request_line


def test_refused_request_that_was_understood_is_recorded_with_its_fields(
    serve: Any, records: list[AccessRecord]
) -> None:
    served = serve(hello, access_log=records.append, limits=Limits(content_bytes=100))
    served.connect().post(bytes(101), "/upload", b"User-Agent: test\r\n")
    [record] = records
    assert (record.method, record.target, record.user_agent, record.host) == ("POST", "/upload", "test", "example.com")


def test_request_that_was_not_understood_has_no_method(serve: Any, records: list[AccessRecord]) -> None:
    serve(hello, access_log=records.append).hear(b"nonsense\r\n\r\n")
    [record] = records
    assert (record.method, record.target, record.protocol, record.user_agent) == (None, None, None, None)


def test_head_that_does_not_end_in_time_is_recorded(serve: Any, records: list[AccessRecord]) -> None:
    served = serve(hello, access_log=records.append, timeouts=Timeouts(head=0.05))
    assert served.hear(b"GET /slow HT").startswith(b"HTTP/1.1 408 ")
    assert [(record.status, record.request_line) for record in records] == [(408, "GET /slow HT")]


def test_head_that_is_cut_is_recorded_without_status(serve: Any, records: list[AccessRecord], until: Until) -> None:
    talk = serve(hello, access_log=records.append).connect()
    talk.say(b"GET /cut HT")
    talk.half_close()
    talk.read_to_end()
    until(lambda: records)
    [record] = records
    assert (record.status, record.request_line) in ((None, "GET /cut HT"), (400, "GET /cut HT"))


def test_idle_connection_leaves_no_record(serve: Any, records: list[AccessRecord]) -> None:
    talk = serve(hello, access_log=records.append, timeouts=Timeouts(first_byte=0.05)).connect()
    assert talk.ends()
    assert records == []


def test_failing_application_is_recorded(serve: Any, records: list[AccessRecord]) -> None:
    def failing(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        raise ZeroDivisionError

    serve(failing, access_log=records.append).get("/")
    assert [(record.status, record.outcome) for record in records] == [(500, "complete")]


def test_response_that_is_broken_off_is_recorded_as_incomplete(serve: Any, records: list[AccessRecord]) -> None:
    def failing(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        yield b"some"
        gevent.sleep(0)
        raise ZeroDivisionError

    serve(failing, access_log=records.append).hear(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert [(record.status, record.outcome, record.content_bytes) for record in records] == [(200, "incomplete", 4)]


def test_client_that_goes_before_the_answer_is_recorded(serve: Any, records: list[AccessRecord], until: Until) -> None:
    gone = Event()

    def slow(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        gone.wait(10)
        for _ in range(100):
            yield b"x" * 65536

    talk = serve(slow, access_log=records.append).connect()
    talk.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    gevent.idle()
    talk.reset()
    gone.set()
    until(lambda: records)
    assert [record.outcome for record in records] == ["incomplete"]


def test_client_behind_a_trusted_proxy_is_recorded(serve: Any, records: list[AccessRecord]) -> None:
    served = serve(hello, access_log=records.append, trusted_proxies=["127.0.0.1"])
    served.get("/", b"X-Forwarded-For: 192.0.2.43:99\r\nX-Forwarded-Proto: https\r\n")
    served.get("/", b"X-Forwarded-For: nonsense\r\n")
    assert [(each.client, each.client_port, each.scheme, each.status) for each in records[:1]] == [
        ("192.0.2.43", "99", "https", 200)
    ]
    assert [(each.client, each.status) for each in records[1:]] == [("127.0.0.1", 400)]


def test_user_and_facts_that_the_application_sets_are_recorded(serve: Any, records: list[AccessRecord]) -> None:
    def application(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["REMOTE_USER"] = "frank"
        return hello(environ, start_response)

    serve(application, access_log=records.append).get("/")
    assert (records[0].user, records[0].environ["REMOTE_USER"]) == ("frank", "frank")


def test_unix_client_has_no_address(serve: Any, records: list[AccessRecord], tmp_path: Path) -> None:
    serve(hello, access_log=records.append, address=str(tmp_path / "socket")).get("/")
    assert (records[0].client, records[0].client_port) == ("", "")
    assert line_of("{client}", records[0]) == "-"
    assert json.loads(line_of("json", records[0]))["client"] is None


def test_failing_log_is_reported_once_and_harms_no_request(serve: Any, errors: Any) -> None:
    working = False

    def log(record: AccessRecord) -> None:
        if not working:
            raise OSError("disk full")

    served = serve(hello, access_log=log)
    talk = served.connect()
    assert [talk.get("/").status for _ in range(3)] == [200, 200, 200]
    assert served.hear(b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert errors() == ["the access log failed; this is reported once, until it works again: OSError('disk full')"]
    working = True
    talk.get("/")
    working = False
    talk.get("/")
    assert len(errors()) == 2


def test_timer_that_strikes_in_the_log_harms_no_request(serve: Any, errors: Any) -> None:
    def log(record: AccessRecord) -> None:
        with gevent.Timeout(0.01):
            gevent.sleep(10)

    talk = serve(hello, access_log=log).connect()
    assert [talk.get("/").status for _ in range(2)] == [200, 200]


def test_log_may_wait(serve: Any) -> None:
    def log(record: AccessRecord) -> None:
        gevent.sleep(0.01)

    talk = serve(hello, access_log=log).connect()
    talk.say(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 3)
    assert [talk.answer().status for _ in range(3)] == [200, 200, 200]


def test_mistaken_option_is_refused_by_the_server(serve: Any) -> None:
    with pytest.raises(ValueError, match="is no format"):
        serve(hello, access_log="comined")
