"""From the arguments of start_response to a `ResponseHead`: checked, encoded, free of what only the server may send.

What an application does wrong is raised as TypeError, ValueError or UnicodeEncodeError that says what to do, and is
raised inside the application, where the mistake is. What is sent when is not known here.
"""

from __future__ import annotations

from typing import Any

from gruvihttp.exchanges.response import PHRASES, ResponseHead
from gruvihttp.fieldtext import REFUSE, FieldNames, field_value
from gruvihttp.fieldtools import DEFAULT_CHARSET, charset_of
from gruvihttp.sansio.grammar import REASON_RE
from gruvihttp.sansio.headers import Field

__all__ = ["content_charset", "response_head"]


def response_head(status: str, headers: list[tuple[str, str]]) -> ResponseHead:
    """The head for a status like ``"200 OK"`` and a list of (name, value) pairs of str."""
    code, reason = _known_statuses.get(status) or _parsed_status(status)
    if type(headers) is not list:
        raise TypeError(f"headers must be a list of (name, value) tuples, not {type(headers).__name__}")
    fields: list[Field] = []
    head = ResponseHead(code, reason, fields)
    names = _known_names
    for name, value in headers:
        encoded, rule = names[name]
        ascii_text = type(value) is str and value.isascii()
        if rule is _LENGTH and ascii_text and value.isdecimal() and head.content_length is None:
            head.content_length = int(value)
            continue
        if not (ascii_text and value.isprintable()):
            field_value(name, value)
        if not rule or _follow(rule, head, name, value):
            fields.append((encoded, value.encode("latin-1")))
    return head


def content_charset(fields: list[Field]) -> str:
    """The charset that Content-Type names, or ISO-8859-1."""
    for name, value in fields:
        if name.lower() == b"content-type":
            return charset_of(value.decode("latin-1")) or DEFAULT_CHARSET
    return DEFAULT_CHARSET


_known_statuses: dict[str, tuple[int, bytes]] = {}
_MOST_KNOWN = 1024  # an application that makes up names or phrases must not fill the memory


def _parsed_status(status: Any) -> tuple[int, bytes]:
    if not isinstance(status, str):
        raise TypeError(f"the status must be str, not {type(status).__name__}")
    code, _, reason = status.partition(" ")
    encoded = reason.encode("latin-1")
    if not (len(code) == 3 and code.isascii() and code.isdigit()) or not REASON_RE.fullmatch(encoded):
        raise ValueError(f"the status must look like '200 OK', not {status!r}")
    if code < "200":
        raise ValueError(f"the status of a response must be 200 or more, not {status!r}")
    known = (int(code), encoded or PHRASES.get(int(code), b""))
    if len(_known_statuses) < _MOST_KNOWN:
        _known_statuses[status] = known
    return known


_LENGTH = "length"
_RULES = {b"content-length": _LENGTH, b"date": "date", b"server": "server"}
_known_names = FieldNames(_RULES)


def _follow(rule: str, head: ResponseHead, name: str, value: str) -> bool:
    """Note what a field with a rule says. Does it stay among the fields?"""
    if rule == REFUSE:
        raise ValueError(f"header {name!r} concerns this connection only: the server sends it where it is needed")
    if rule == "length":
        if not (value.isascii() and value.isdigit()):
            raise ValueError(f"Content-Length must be digits, not {value!r}")
        if head.content_length not in (None, int(value)):
            raise ValueError("Content-Length is given twice, and differently")
        head.content_length = int(value)
        return False
    if rule == "date":
        head.has_date = True
    else:
        head.has_server = True
    return True
