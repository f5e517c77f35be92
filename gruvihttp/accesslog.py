"""`AccessLog`: a line for each request, in a format that is compiled once. `Recorder` makes the records.

What stands in a line may come from anybody, so nothing of it gets there as it is: control characters, quotes and
whatever is not ASCII are escaped, and blanks too where no quotes stand around. Nobody can forge a line, or a field.
"""

from __future__ import annotations

import logging
import re
import string
import sys
from collections.abc import Callable
from difflib import get_close_matches
from json import JSONEncoder
from time import localtime, perf_counter, time
from typing import Any, Protocol

from gevent import Timeout

from gruvihttp.accessrecord import AccessRecord
from gruvihttp.exchanges.base import Handler, ServedConnection, ServerExchange

__all__ = ["FORMATS", "AccessLog", "Log", "Recorder", "as_log"]

Log = Callable[[AccessRecord], object]
_COMMON = '{client} - {user} [{time}] "{request_line}" {status} {content_bytes}'
FORMATS = {"common": _COMMON, "combined": _COMMON + ' "{referer}" "{user_agent}"'}

log = logging.getLogger("gruvihttp.server")


class TextStream(Protocol):
    """What lines can be written to."""

    def write(self, text: str, /) -> object: ...
    def flush(self) -> object: ...


class AccessLog:
    """Writes a line for each record.

    `format` is ``"common"``, ``"combined"``, ``"json"`` or a text with fields, such as
    ``'{client} "{request_line}" {status} {header:x-tenant}'``. `to` is a text stream, or a `logging.Logger`, which gets
    the lines as messages of level INFO; by default sys.stderr, as it is when a line is written.

    Raises ValueError for a format that cannot be understood, TypeError for what cannot be written to.
    """

    def __init__(self, format: str = "combined", to: TextStream | logging.Logger | None = None) -> None:  # noqa: A002
        self._line = _as_json if format == "json" else _compile(_format_of(format))
        if to is not None and not isinstance(to, logging.Logger) and not hasattr(to, "write"):
            raise TypeError(f"an access log is written to a text stream or a logger, not to {to!r}")
        self._to = to

    def __call__(self, record: AccessRecord) -> None:
        line = self._line(record)
        to: Any = sys.stderr if self._to is None else self._to
        if isinstance(to, logging.Logger):
            to.info("%s", line)
        elif to is not None:  # a process may have no stderr
            to.write(line + "\n")
            to.flush()


def as_log(option: str | Log | None) -> Log | None:
    """What is called with each record, for what a user gives: None, a format, or something to call."""
    if isinstance(option, str):
        return AccessLog(option)
    if option is not None and not callable(option):
        raise TypeError(
            f"access_log must be a format, such as 'combined', or callable, not {option!r}; "
            "for a stream or a logger: AccessLog('combined', to=...)"
        )
    return option


# -- formats -------------------------------------------------------------------------------------------------------


def _format_of(text: str) -> str:
    if text not in FORMATS and "{" not in text:
        raise ValueError(f"{text!r} is no format: write common, combined, json, or a text with fields, as '{{client}}'")
    return FORMATS.get(text, text)


def _compile(text: str) -> Callable[[AccessRecord], str]:
    """A function that makes the line for a record."""
    template = ""
    getters = []
    quoted = False
    for literal, name, argument, conversion in string.Formatter().parse(text):
        template += literal.replace("%", "%%")
        quoted ^= literal.count('"') % 2 == 1
        if name is not None:
            if conversion:
                raise ValueError(f"a field of the access log takes no conversion: {{{name}!{conversion}}}")
            template += "%s"
            get = _getter(name, argument or "")
            getters.append(_plain(get) if name in _SAFE else _escaping(get, _QUOTED if quoted else _BARE))
    return lambda record: template % tuple([get(record) for get in getters])


def _getter(name: str, argument: str) -> Callable[[AccessRecord], Any]:
    if name == "time" and not argument:
        return _CommonTime()
    if name in _FIELDS and not argument:
        return _FIELDS[name]
    if name in _FIELDS_OF and argument:
        return _FIELDS_OF[name](argument)
    if name in _FIELDS_OF:
        raise ValueError(f"which {name}? Write {{{name}:x-name}}")
    close = get_close_matches(name, ["time", *_FIELDS, *_FIELDS_OF], 1)
    known = ", ".join(["time", *_FIELDS, *(f"{field}:name" for field in _FIELDS_OF)])
    raise ValueError(
        f"the access log has no field {{{name}{argument and ':' + argument}}}: "
        + (f"is it {{{close[0]}}}?" if close and not argument else f"there are {known}")
    )


def _plain(get: Callable[[AccessRecord], Any]) -> Callable[[AccessRecord], Any]:
    def plain(record: AccessRecord) -> Any:
        value = get(record)
        return "-" if value is None else value

    return plain


def _escaping(get: Callable[[AccessRecord], Any], unsafe: re.Pattern[str]) -> Callable[[AccessRecord], str]:
    def escaped(record: AccessRecord) -> str:
        value = get(record)
        if value is None or value == "":
            return "-"
        return unsafe.sub(_escape, str(value))

    return escaped


# All that could end a field or a line, or act on a terminal. Inside of quotes, blanks are no end.
_QUOTED = re.compile(r'[^ !#-\[\]-~]')
_BARE = re.compile(r'[^!#-Z^-~]')  # without brackets: they stand around the time


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if character in '"\\':
        return "\\" + character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class _CommonTime:
    """Local time as the common format has it: ``05/Nov/2026:13:00:00 +0100``; made once a second."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, record: AccessRecord) -> str:
        second = int(record.time)
        if second != self._second:
            now = localtime(second)  # not by strftime, which speaks the user's language
            minutes = now.tm_gmtoff // 60
            self._second = second
            self._text = (
                f"{now.tm_mday:02}/{_MONTHS[now.tm_mon - 1]}/{now.tm_year}:"
                f"{now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02} "
                f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}{abs(minutes) % 60:02}"
            )
        return self._text


def _milliseconds(record: AccessRecord) -> str | None:
    return None if record.duration_us is None else f"{record.duration_us / 1000:.3f}"


_FIELDS: dict[str, Callable[[AccessRecord], Any]] = {
    "client": lambda record: record.client,
    "client_port": lambda record: record.client_port,
    "user": lambda record: record.user,
    "iso_time": lambda record: record.iso_time,
    "request_line": lambda record: record.request_line,
    "method": lambda record: record.method,
    "target": lambda record: record.target,
    "protocol": lambda record: record.protocol,
    "scheme": lambda record: record.scheme,
    "host": lambda record: record.host,
    "status": lambda record: record.status,
    "content_bytes": lambda record: record.content_bytes,
    "duration_us": lambda record: record.duration_us,
    "duration_ms": _milliseconds,
    "referer": lambda record: record.referer,
    "user_agent": lambda record: record.user_agent,
    "request_id": lambda record: record.request_id,
    "connection_requests": lambda record: record.connection_requests,
    "outcome": lambda record: record.outcome,
}
# what we make ourselves, and no peer can put anything into
_SAFE = frozenset(("time", "iso_time", "status", "content_bytes", "duration_us", "duration_ms", "connection_requests"))
_FIELDS_OF: dict[str, Callable[[str], Callable[[AccessRecord], Any]]] = {
    "header": lambda name: lambda record: record.header(name),
    "response_header": lambda name: lambda record: record.response_header(name),
    "environ": lambda name: lambda record: record.environ.get(name),
}

_encode = JSONEncoder(separators=(",", ":")).encode


def _as_json(record: AccessRecord) -> str:
    return _encode(record.as_dict())


# -- recording -----------------------------------------------------------------------------------------------------


class Recorder:
    """Makes a record of each request and hands it to `log`. What that raises is reported once, and harms no request."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._failing = False

    def recording(self, handler: Handler) -> Handler:
        """A handler that does what `handler` does, and makes records of it."""

        def record(exchange: ServerExchange) -> None:
            connection = exchange.connection
            connection.requests += 1
            arrived = time()
            began = perf_counter()
            try:
                handler(exchange)
            finally:
                self._hand_on(
                    AccessRecord(
                        connection.channel,
                        exchange.request,
                        time=arrived,
                        outcome="complete" if exchange.complete else "incomplete",
                        status=exchange.status,
                        connection_requests=connection.requests,
                        duration_us=int((perf_counter() - began) * 1e6),
                        content_bytes=exchange.sent_bytes,
                        environ=exchange.notes,
                        head=exchange.head,
                    )
                )

        return record

    def refused(self, connection: ServedConnection, status: int | None) -> None:
        """Make a record of a request that never reached a handler."""
        request, line = connection.refusal
        connection.requests += 1
        self._hand_on(
            AccessRecord(
                connection.channel,
                request,
                time=time(),
                outcome="refused",
                status=status,
                connection_requests=connection.requests,
                line=line,
            )
        )

    def _hand_on(self, record: AccessRecord) -> None:
        try:
            self._log(record)
            self._failing = False
        except (Exception, Timeout):  # a full disk, or a mistake in somebody's function: requests go on
            if not self._failing:
                self._failing = True
                log.error("the access log failed; this is reported once, until it works again", exc_info=True)
