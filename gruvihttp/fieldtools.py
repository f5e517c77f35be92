"""gruvi's helpers for fields in text: finding and removing them, and reading the values of some of them."""

from __future__ import annotations

from collections.abc import Iterable
from email.message import Message
from email.utils import formatdate
from http import HTTPStatus
from http.client import responses

__all__ = [
    "DEFAULT_CHARSET",
    "charset_of",
    "get_header",
    "parse_content_type",
    "parse_te",
    "parse_trailer",
    "remove_headers",
    "responses",
    "rfc1123_date",
]

Fields = list[tuple[str, str]]

DEFAULT_CHARSET = "iso-8859-1"  # what gruvi encodes text with when Content-Type names none; RFC 2616 §3.7.1 had it so

# OK, NOT_FOUND and all the others, as http.client has them
globals().update({status.name: status for status in HTTPStatus})
__all__ += [status.name for status in HTTPStatus]


def get_header(headers: Iterable[tuple[str, str]], name: str, default: str | None = None) -> str | None:
    """The value of the first field called `name`, in any case; `default` if there is none."""
    wanted = name.lower()
    for found, value in headers:
        if found.lower() == wanted:
            return value
    return default


def remove_headers(headers: Fields, name: str) -> Fields:
    """Remove all fields called `name`, in any case, from the list itself, which is returned too."""
    wanted = name.lower()
    headers[:] = [field for field in headers if field[0].lower() != wanted]
    return headers


def parse_content_type(content_type: str | None) -> tuple[str | None, dict[str, str]]:
    """Media type in lower case, and parameters with names in lower case (RFC 9110 §8.3.1). (None, {}) for None."""
    if content_type is None:
        return None, {}
    message = Message()
    message["Content-Type"] = content_type
    parameters = message.get_params([])
    named = {name.lower(): value for name, value in parameters[1:]}
    return (parameters[0][0].lower() if parameters else ""), named


def charset_of(content_type: str) -> str | None:
    """The charset that the value of a Content-Type names, in lower case."""
    message = Message()
    message["Content-Type"] = content_type
    return message.get_content_charset()


def parse_te(te: str | None) -> list[tuple[str, str | None]]:
    """The members of a TE field: (transfer coding in lower case, its weight as it stands, or None)."""
    members = []
    for member in _members(te):
        coding, *parameters = [part.strip() for part in member.split(";")]
        weights = [part[2:].strip() for part in parameters if part[:2].lower() == "q="]
        members.append((coding.lower(), weights[0] if weights else None))
    return members


def parse_trailer(trailer: str | None) -> list[str]:
    """The field names in a Trailer field (RFC 9110 §6.6.2), as they stand there."""
    return _members(trailer)


def rfc1123_date(timestamp: float | None = None) -> str:
    """A moment in seconds since the epoch, by default now, as HTTP writes it (RFC 9110 §5.6.7)."""
    return formatdate(timestamp, usegmt=True)


def _members(value: str | None) -> list[str]:
    return [member for part in (value or "").split(",") if (member := part.strip(" \t"))]
