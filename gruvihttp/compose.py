"""From what a user gives to a request in bytes. Here text ends, on the way out.

Everything is checked before anything is sent: TypeError for what is not of the right type, ValueError for what may
not stand in a request, UnicodeEncodeError for what ISO-8859-1 cannot express. How long the content is, or that it is
chunked, is decided here, once. Connections are not known here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from gruvihttp.bodies import content_of
from gruvihttp.exchanges.request import ComposedRequest, Outline
from gruvihttp.fieldtext import REFUSE, FieldNames, field_value
from gruvihttp.fieldtools import DEFAULT_CHARSET, charset_of
from gruvihttp.net.sockets import BytesLike
from gruvihttp.sansio.framing import CHUNKED, Framing, length
from gruvihttp.sansio.grammar import ABSOLUTE_FORM_RE, CONTENT_LENGTH_RE, METHOD_RE
from gruvihttp.sansio.headers import FORBIDDEN_IN_TRAILERS, Field, Headers

__all__ = ["HTTP2", "Composer", "Http2Composer", "compose_trailers", "raw_fields"]

HTTP2 = b"2.0"  # an outline's version, as events have it

# RFC 9110 §7.8: names with an optional version, in a list
_PROTOCOL = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++(?:/[!#$%&'*+\-.^_`|~0-9A-Za-z]++)?+"
UPGRADE_RE = re.compile(rb"%b(?:, ?+%b)*+" % (_PROTOCOL, _PROTOCOL))
# Methods that say what to do with content: a server may wait for some unless told that there is none (RFC 9110 §8.6)
_WITH_CONTENT = frozenset((b"PATCH", b"POST", b"PUT"))


class Composer:
    """Makes requests for one connection: `host` and `agent` stand in each that does not say otherwise."""

    def __init__(self, version: str, host: str, agent: str) -> None:
        self._version = version.encode("ascii")
        self._host = (b"Host", _idna(host))
        self._common = [(b"User-Agent", field_value("User-Agent", agent))]
        if version == "1.0":  # RFC 9112 §C.2.2: without it, each connection carries one exchange
            self._common.append((b"Connection", b"keep-alive"))
        # The latest fields without content, and the outline that they led to: most requests are like the one before
        self._known_headers: list[Any] = []
        self._known_outline = Outline(self._version, (self._host, *self._common), length(0), DEFAULT_CHARSET)

    def __call__(
        self, method: str, url: str, headers: Any, body: Any, expect: bool = False, upgrade: str | None = None
    ) -> ComposedRequest:
        """Compose a request. `headers` and `body` are Any: they are what is checked here.

        `expect` asks for ``100 Continue`` if there is any content to wait with, `upgrade` offers other protocols.
        """
        raw_method = _methods.get(method) or _checked_method(method)
        target = _target(url)
        plain = type(body) is str and not body and target[0] == 0x2F and raw_method not in _WITH_CONTENT
        plain = plain and upgrade is None
        if plain and headers == self._known_headers:
            return ComposedRequest(raw_method, target, b"", self._known_outline)
        given = _Given(headers)
        content = content_of(body, given.charset)
        fields = [] if given.has_host else [self._host_for(raw_method, target)]
        fields += self._common[1:] if given.has_agent else self._common
        fields += given.fields
        if upgrade is not None:
            fields += self._offer(upgrade, content)
        if expect and content != b"" and self._version != b"1.0":  # RFC 9110 §10.1.1
            fields.append((b"Expect", b"100-continue"))
        outline = Outline(self._version, fields, self._frame(raw_method, content, given, fields), given.charset)
        if plain and type(headers) is list and all(type(pair) is tuple for pair in headers):
            self._known_headers, self._known_outline = headers.copy(), outline
        return ComposedRequest(raw_method, target, content, outline)

    def _frame(self, method: bytes, content: BytesLike | None, given: _Given, fields: list[Field]) -> Framing:
        """How the content is delimited, with the field that says so unless it is among the given ones."""
        if given.length is not None:
            return length(given.length)
        if content is not None:
            if content or method in _WITH_CONTENT:
                fields.append((b"Content-Length", b"%d" % len(content)))
            return length(len(content))
        if self._version == b"1.0":
            raise ValueError("HTTP/1.0 has no chunked coding: give a Content-Length, or a body of bytes or str")
        fields.append((b"Transfer-Encoding", b"chunked"))
        return CHUNKED

    def _offer(self, upgrade: str, content: BytesLike | None) -> list[Field]:
        """The two fields of RFC 9110 §7.8."""
        if self._version == b"1.0":
            raise ValueError("HTTP/1.0 has no Upgrade")
        if content is None:
            raise ValueError("a request that offers another protocol has a body of bytes or str, or none")
        offered = field_value("Upgrade", upgrade)
        if not UPGRADE_RE.fullmatch(offered):
            raise ValueError(f"upgrade must name protocols, such as 'websocket', not {upgrade!r}")
        return [(b"Connection", b"Upgrade"), (b"Upgrade", offered)]

    def _host_for(self, method: bytes, target: bytes) -> Field:
        """Host names the target's authority, where it has one (RFC 9112 §3.2.2, §3.2.3)."""
        if method == b"CONNECT":
            return (b"Host", target)
        if target[0] != 0x2F and (absolute := ABSOLUTE_FORM_RE.fullmatch(target)) is not None:
            return (b"Host", absolute[1])
        return self._host


class Http2Composer(Composer):
    """The same for a connection that speaks HTTP/2: fields as they are written there, and none of the connection's."""

    def __init__(self, host: str, agent: str) -> None:
        super().__init__("1.1", host, agent)
        self._latest = self._known_outline
        self._translated = _http2_outline(self._latest)

    def __call__(
        self, method: str, url: str, headers: Any, body: Any, expect: bool = False, upgrade: str | None = None
    ) -> ComposedRequest:
        """Compose a request. ``TE: trailers`` may be among `headers`, as nowhere else (RFC 9113 §8.2.2)."""
        if upgrade is not None:
            raise ValueError("HTTP/2 has no Upgrade (RFC 9113 §8.6): make such requests with version='1.1'")
        te: tuple[Field, ...] = ()
        if type(headers) is list and (kept := [pair for pair in headers if not _takes_trailers(pair)]) != headers:
            te, headers = ((b"te", b"trailers"),), kept
        method_, target, content, outline = super().__call__(method, url, headers, body, expect)
        if target[0] != 0x2F and (absolute := ABSOLUTE_FORM_RE.fullmatch(target)) is not None:
            path = absolute[2] or b"/"  # RFC 9113 §8.3.1
            target = path if path[0] == 0x2F else b"/" + path
        if outline is not self._latest:
            self._latest, self._translated = outline, _http2_outline(outline)
        translated = self._translated
        if te:
            translated = translated._replace(fields=[*translated.fields, *te])
        return ComposedRequest(method_, target, content, translated)


def _takes_trailers(pair: Any) -> bool:
    return len(pair) == 2 and [str(part).strip().lower() for part in pair] == ["te", "trailers"]


def _http2_outline(outline: Outline) -> Outline:
    """RFC 9113 §8.2: names in lower case, no blanks around values, no transfer coding."""
    fields = [(name.lower(), value.strip(b" \t")) for name, value in outline.fields]
    return outline._replace(version=HTTP2, fields=[field for field in fields if field[0] != b"transfer-encoding"])


def compose_trailers(trailers: Any) -> Headers:
    """A trailer section from (name, value) pairs of str. ValueError for a field that may not stand there."""
    fields = []
    for name, value in _pairs(trailers):
        raw_name, _ = _names[name]
        if raw_name.lower() in FORBIDDEN_IN_TRAILERS:
            raise ValueError(f"{name} may not stand in a trailer section (RFC 9110 §6.5.1)")
        fields.append((raw_name, field_value(name, value)))
    return Headers(fields)


def raw_fields(pairs: Any) -> list[Field]:
    """Fields in bytes from (name, value) pairs of str, whatever they are about."""
    return [(_names[name][0], field_value(name, value)) for name, value in _pairs(pairs)]


class _Given:
    """The fields that the user gives, in bytes, and what they decide."""

    __slots__ = ("charset", "fields", "has_agent", "has_host", "length")

    def __init__(self, headers: Any) -> None:
        self.fields: list[Field] = []
        self.has_host = self.has_agent = False
        self.length: int | None = None
        self.charset = DEFAULT_CHARSET
        for name, value in _pairs(headers):
            raw_name, rule = _names[name]
            raw_value = field_value(name, value)
            if rule:
                self._follow(rule, name, value)
            self.fields.append((raw_name, raw_value))

    def _follow(self, rule: str, name: str, value: str) -> None:
        if rule == REFUSE:
            raise ValueError(f"{name} concerns the connection and is set where it is needed: leave it out")
        if rule == "agent":
            self.has_agent = True
        elif rule == "charset":
            self.charset = charset_of(value) or DEFAULT_CHARSET
        elif rule == "host":
            if self.has_host:
                raise ValueError("Host is given twice")
            self.has_host = True
        else:
            if self.length is not None:
                raise ValueError("Content-Length is given twice")
            if not CONTENT_LENGTH_RE.fullmatch(value.encode("latin-1")):
                raise ValueError(f"Content-Length must be digits, not {value!r}")
            self.length = int(value)


_methods = {name: name.encode() for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT")}


def _checked_method(method: Any) -> bytes:
    if not isinstance(method, str):
        raise TypeError(f"the method must be str, not {type(method).__name__}")
    raw_method = method.encode("latin-1", "replace")
    if not METHOD_RE.fullmatch(raw_method):
        raise ValueError(f"{method!r} is not a method: it must be a token (RFC 9110 §5.6.2)")
    return raw_method


def _target(url: Any) -> bytes:
    if not isinstance(url, str):
        raise TypeError(f"the URL must be str, not {type(url).__name__}")
    if not (url and url.isascii() and url.isprintable() and " " not in url):
        raise ValueError(f"illegal URL {url!r}: it must be visible ASCII, all else percent-encoded (RFC 3986 §2.1)")
    return url.encode("ascii")


_RULES = {b"content-length": "length", b"content-type": "charset", b"host": "host", b"user-agent": "agent"}
_names = FieldNames(_RULES)


def _pairs(headers: Any) -> Iterable[tuple[str, Any]]:
    _check_headers(headers)
    for pair in headers or ():
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(f"headers must be (name, value) pairs, and {pair!r} is none")
        yield pair[0], pair[1]


def _check_headers(headers: Any) -> None:
    if isinstance(headers, (str, bytes, bytearray, memoryview)):
        raise TypeError(
            f"headers must be a list of pairs, not {type(headers).__name__}; they come before the body: "
            "request(method, url, headers, body), or by name: request(method, url, body=..., headers=...)"
        )
    if isinstance(headers, Mapping):
        raise TypeError("headers must be a list of pairs: pass list(headers.items())")


def _idna(host: str) -> bytes:
    return host.encode("ascii") if host.isascii() else host.encode("idna")
