"""What trusted proxies say about a request: who asked, how, and for which host.

The theory. A proxy that passes a request on writes down whom it got it from: in ``Forwarded`` (RFC 7239), or in
``X-Forwarded-For`` and its kin, which nobody has ever specified. Each proxy adds to the right. What stands there may be
true only as far as trusted proxies have written it; the rest came with the request. So a list is walked from the right:
an address that belongs to a trusted proxy vouches for the one before it, and the first that does not is the client.
What stands to the left of that is never looked at.

A proxy passes on fields that it does not know as the client sent them. So trusting a proxy is not enough: one must also
know which fields it sets. Those are believed; all others of the family are removed, so that no application believes
them by mistake.

Functions of text here: sockets are not known, nor is how an application is called.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from gruvihttp.errors import RemoteProtocolError
from gruvihttp.net.networks import Networks
from gruvihttp.net.sockets import Address
from gruvihttp.sansio.authority import names_host

__all__ = ["DEFAULT_FIELDS", "FIELDS", "Node", "Route", "TrustedProxies", "apply", "of_forwarded", "of_x_forwarded"]

FIELDS = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
)
DEFAULT_FIELDS = ("X-Forwarded-For", "X-Forwarded-Proto")  # what nearly every proxy sets

Trusts = Callable[["Node"], bool]


class Node(NamedTuple):
    """A client or proxy on the way of a request. `host` is an address, or a name that hides it; ``""``: Unix socket."""

    host: str
    port: str = ""  # digits, or a name that hides it


class Route(NamedTuple):
    """What is known of the way of a request. None: nothing was said about it."""

    client: Node | None = None
    scheme: str | None = None
    host: str | None = None  # with a port, if one was given
    port: str | None = None
    prefix: str | None = None


class TrustedProxies:
    """Which proxies are believed, and which fields they set.

    `proxies` are addresses, networks, and ``"unix"``. `fields` are some of `FIELDS`. `strip_untrusted` removes from
    environ what nobody should believe: ``Forwarded`` and all of ``X-Forwarded-...`` where the peer is not trusted, and
    those of `FIELDS` that the proxies do not set where it is.

    Raises ValueError for a proxy or a field that is not known.
    """

    def __init__(
        self, proxies: Iterable[str], fields: Iterable[str] = DEFAULT_FIELDS, *, strip_untrusted: bool = True
    ) -> None:
        if isinstance(fields, str):
            raise TypeError(f"a list of fields is wanted, not {fields!r} alone")
        self._networks = Networks(proxies)
        self._keys = frozenset(map(_key_of, fields))
        self._passed_on = tuple(frozenset(map(_key_of, FIELDS)) - self._keys)  # maybe as the client sent them
        self._strip = strip_untrusted

    def adjust(self, environ: dict[str, Any], peer: Address) -> None:
        """Let `environ` say what a trusted peer says; remove what nobody should believe.

        Raises RemoteProtocolError for a field that cannot be understood.
        """
        if peer in self._networks:
            route = self._route(environ)
            if route != _NOTHING:
                apply(route, environ)
            doubtful: Iterable[str] = self._passed_on
        else:
            doubtful = [key for key in environ if key.startswith(_FAMILY)]
        if self._strip:
            for key in doubtful:
                environ.pop(key, None)

    def _route(self, environ: dict[str, Any]) -> Route:
        given = {key: environ[key] for key in self._keys if key in environ}
        if not given:
            return _NOTHING
        forwarded = given.pop("HTTP_FORWARDED", None)
        other = of_x_forwarded(given, self._trusts)
        if forwarded is None:
            return other
        route = of_forwarded(forwarded, self._trusts)
        _check_agreement(route, other)
        return route

    def _trusts(self, node: Node) -> bool:
        return self._networks.has_host(node.host) if node.host else self._networks.has_unix


_FAMILY = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_")
_NOTHING = Route()


def _key_of(field: str) -> str:
    if field.lower() not in (known.lower() for known in FIELDS):
        raise ValueError(f"{field!r} is not a field of proxies that is known: those are {', '.join(FIELDS)}")
    return "HTTP_" + field.upper().replace("-", "_")


def _check_agreement(route: Route, other: Route) -> None:
    """Both kinds of field are there. The RFC's decides, but then the other must not say something else."""
    if other.client is not None and route.client is not None and other.client.host != route.client.host:
        raise _malformed("Forwarded", "it names another client than X-Forwarded-For")
    if None not in (route.scheme, other.scheme) and route.scheme != other.scheme:
        raise _malformed("Forwarded", "it names another protocol than X-Forwarded-Proto")
    if route.host is not None and other.host is not None and route.host.lower() != other.host.lower():
        raise _malformed("Forwarded", "it names another host than X-Forwarded-Host")


# -- Forwarded -----------------------------------------------------------------------------------------------------

# RFC 7239 §4, and what proxies write all the same: blanks around ";", and ":", "[" and "]" outside quotes
_PAIR = re.compile(r"""[ \t]*+([!#-'*+.^_`|~0-9A-Za-z-]++)=(?:"((?:[^"\\]|\\.)*+)"|([!#-+\--:<-\[\]-~]++))[ \t]*+""")
_NO_PAIR = re.compile(r"[ \t]*+")
_QUOTED_PAIR = re.compile(r"\\(.)")


def of_forwarded(value: str, trusts: Trusts) -> Route:
    """What the field ``Forwarded`` says (RFC 7239). The proxy nearest to the client decides about scheme and host.

    Raises RemoteProtocolError if it cannot be understood. All of it must follow the grammar, since an open quote would
    swallow what a trusted proxy adds.
    """
    scheme: str | None = None
    host: str | None = None
    client: Node | None = None
    for element in reversed(_elements(value)):
        if "proto" in element:
            scheme = _scheme(element["proto"], "Forwarded")
        if "host" in element:
            host = _host(element["host"], "Forwarded")
        if "for" not in element:
            break  # it is unknown who was there, so what is left of it cannot be trusted
        client = _node(element["for"], "Forwarded")
        if not trusts(client):
            break
    return Route(client, scheme, host)


def _elements(value: str) -> list[dict[str, str]]:
    """The elements of the list, each as its parameters; their names are in lower case."""
    elements: list[dict[str, str]] = [{}]
    position = 0
    while True:
        pair = _PAIR.match(value, position)
        if pair is not None:
            name, quoted, plain = pair.groups()
            name = name.lower()
            if name in elements[-1]:
                raise _malformed("Forwarded", f"{name} is repeated")
            elements[-1][name] = plain if plain is not None else _QUOTED_PAIR.sub(r"\1", quoted)
        else:
            pair = _NO_PAIR.match(value, position)
            assert pair is not None  # it matches nothing, too
        position = pair.end()
        if position == len(value):
            break
        if value[position] == ",":
            elements.append({})
        elif value[position] != ";":
            raise _malformed("Forwarded", f"it breaks its grammar at position {position}")
        position += 1
    return [element for element in elements if element]  # RFC 9110 §5.6.1.2: empty elements are ignored


# -- X-Forwarded-* -------------------------------------------------------------------------------------------------


def of_x_forwarded(fields: dict[str, str], trusts: Trusts) -> Route:
    """What fields ``X-Forwarded-...`` say, by their keys in environ. Raises RemoteProtocolError.

    Only the list of clients can be walked. Of the others, which some proxies replace and some add to, no entry is known
    to belong to any of these; so if there are several, they must be the same.
    """
    return Route(
        client=_client(fields.get("HTTP_X_FORWARDED_FOR", ""), trusts),
        scheme=_one(fields.get("HTTP_X_FORWARDED_PROTO"), "X-Forwarded-Proto", _scheme),
        host=_one(fields.get("HTTP_X_FORWARDED_HOST"), "X-Forwarded-Host", _host),
        port=_one(fields.get("HTTP_X_FORWARDED_PORT"), "X-Forwarded-Port", _port),
        prefix=_one(fields.get("HTTP_X_FORWARDED_PREFIX"), "X-Forwarded-Prefix", _prefix),
    )


def _client(value: str, trusts: Trusts) -> Node | None:
    client: Node | None = None
    for member in reversed(_members(value)):
        client = _node(_unquoted(member), "X-Forwarded-For")
        if not trusts(client):
            break
    return client


def _one(value: str | None, field: str, read: Callable[[str, str], str]) -> str | None:
    if not value:
        return None
    found = {read(_unquoted(member), field) for member in _members(value)}
    if len(found) > 1:
        raise _malformed(field, "it has several values")
    return found.pop() if found else None


def _members(value: str) -> list[str]:
    return [member for part in value.split(",") if (member := part.strip(" \t"))]


def _unquoted(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


# -- values --------------------------------------------------------------------------------------------------------

_IPV4_NODE = re.compile(r"([0-9.]++)(?::([0-9]{1,5}|_[0-9A-Za-z._-]+))?")
_IPV6_NODE = re.compile(r"\[([0-9A-Fa-f:.]++)\](?::([0-9]{1,5}|_[0-9A-Za-z._-]+))?")
_BARE_IPV6 = re.compile(r"([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)()")
_HIDDEN = re.compile(r"(unknown|_[0-9A-Za-z._-]+)(?::([0-9]{1,5}|_[0-9A-Za-z._-]+))?")
# websocket connections begin as requests of HTTP, and some proxies name what they become
_SCHEMES = {"http": "http", "https": "https", "ws": "http", "wss": "https"}
_PREFIX = re.compile(r"(?:/[0-9A-Za-z._~!$&'()*+,;=:@%-]+)*+/?")
_PORT = re.compile(r"[0-9]{1,5}")


@lru_cache(maxsize=1024)  # a client asks more than once
def _node(text: str, field: str) -> Node:
    """RFC 7239 §6; IPv6 without brackets is what stands in X-Forwarded-For; ``unix:`` is nginx's."""
    for pattern in (_IPV4_NODE, _IPV6_NODE, _BARE_IPV6):
        match = pattern.fullmatch(text)
        if match is not None:
            try:
                address = ip_address(match[1])
            except ValueError:
                break
            if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
                address = address.ipv4_mapped
            return Node(str(address), match[2] or "")
    if (hidden := _HIDDEN.fullmatch(text)) is not None:
        return Node(hidden[1], hidden[2] or "")
    if text in ("unix", "unix:"):
        return Node("")
    raise _malformed(field, "it has no address where one should be")


def _scheme(text: str, field: str) -> str:
    scheme = _SCHEMES.get(text.lower())
    if scheme is None:
        raise _malformed(field, "it names a protocol that is neither http nor https")
    return scheme


def _host(text: str, field: str) -> str:
    if not (text.isascii() and names_host(text.encode("ascii"))):
        raise _malformed(field, "it names no host")
    return text.removesuffix(":")


def _port(text: str, field: str) -> str:
    if not _PORT.fullmatch(text) or not 0 < int(text) < 65536:
        raise _malformed(field, "it has no port")
    return str(int(text))


def _prefix(text: str, field: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise _malformed(field, "it is no path")
    return unquote_to_bytes(text.rstrip("/")).decode("latin-1")


def _malformed(field: str, what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"{field}: {what}")


# -- environ -------------------------------------------------------------------------------------------------------

_DEFAULT_PORTS = {"http": "80", "https": "443"}


def apply(route: Route, environ: dict[str, Any]) -> None:
    """Let `environ` say what is known of the way of its request."""
    if route.client is not None:
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = route.client
    if route.scheme is not None:
        environ["wsgi.url_scheme"] = environ["REQUEST_SCHEME"] = route.scheme
        if route.scheme == "https":
            environ["HTTPS"] = "on"
        else:
            environ.pop("HTTPS", None)
    if route.scheme is not None or route.host is not None or route.port is not None:
        _apply_host(route, environ)
    if route.prefix is not None:
        environ["SCRIPT_NAME"] = route.prefix


def _apply_host(route: Route, environ: dict[str, Any]) -> None:
    """Host, name and port. A port in the host's own field is what the client wrote, so it wins."""
    default = _DEFAULT_PORTS[environ["wsgi.url_scheme"]]
    host = route.host if route.host is not None else environ.get("HTTP_HOST", "")
    name, colon, port = host.rpartition(":")
    if not colon or port.endswith("]"):
        name, port = host, ""
    elif not port:
        host = name
    if not port:
        port = route.port or default
        if name and port != default:
            host = f"{name}:{port}"
    environ["SERVER_PORT"] = port
    if host:
        environ["HTTP_HOST"] = host
    if route.host is not None:
        environ["SERVER_NAME"] = name
