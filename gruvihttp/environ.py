"""The environ of an exchange: what PEP 3333 and CGI (RFC 3875) call the facts about a request.

Everything is text, decoded from ISO-8859-1 as the PEP has it. Fields whose name contains an underscore are left out,
since nobody could tell them from the same name with a hyphen. How the application is called is not known here.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote_to_bytes

from gruvihttp._version import PRODUCT_ID
from gruvihttp.net.channel import Channel
from gruvihttp.net.tlsfacts import environ_of
from gruvihttp.sansio.events import Request
from gruvihttp.sansio.headers import Field

__all__ = ["Environ", "connection_environ", "request_environ"]

Environ = dict[str, Any]


def connection_environ(channel: Channel, server_name: str | None) -> Environ:
    """What is the same for all requests of a connection."""
    sockname = channel.get_extra_info("sockname")
    peername = channel.get_extra_info("peername")
    session = channel.get_extra_info("ssl")
    scheme = "https" if session is not None else "http"
    if isinstance(sockname, tuple):
        host, port = str(sockname[0]), str(sockname[1])
    else:  # a Unix socket has neither, and PEP 3333 wants both: what makes URLs that carry no port
        host, port = "localhost", "80" if session is None else "443"
    peer, peer_port = (str(peername[0]), str(peername[1])) if isinstance(peername, tuple) else ("", "")
    environ: Environ = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REMOTE_ADDR": peer,
        "REMOTE_PORT": peer_port,
        "REQUEST_SCHEME": scheme,
        "SCRIPT_NAME": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": _named_in_urls(server_name or host),
        "SERVER_PORT": port,
        "SERVER_SOFTWARE": PRODUCT_ID,
        "gruvihttp.peername": peername,
        "gruvihttp.sockname": sockname,
        "gruvihttp.transport": channel,
        "wsgi.input_terminated": True,
        "wsgi.multithread": True,
        "wsgi.run_once": False,
        "wsgi.url_scheme": scheme,
        "wsgi.version": (1, 0),
    }
    if session is not None:
        environ.update(environ_of(session))
    return environ


def _named_in_urls(host: str) -> str:
    """A host as it stands in a URL, which is made from SERVER_NAME: an IPv6 address in brackets (RFC 3875 §4.1.14)."""
    if host.count(":") < 2 or host.startswith("["):
        return host
    return f"[{host.partition('%')[0]}]"  # RFC 6874 §4: the zone is for this machine only


def request_environ(base: Environ, request: Request) -> Environ:
    """A new environ for `request` on the connection that `base` describes; without wsgi.input."""
    environ = base.copy()
    fields = request.headers.fields
    target = request.target
    if target[0] != 0x2F:
        target, fields = _origin_form(request)
    path, _, query = target.decode("ascii").partition("?")
    method = request.method
    environ["REQUEST_METHOD"] = _methods.get(method) or method.decode("ascii")
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1") if "%" in path else path
    environ["QUERY_STRING"] = query
    environ["REQUEST_URI"] = request.target.decode("ascii")
    if request.http_version != b"1.1":
        environ["SERVER_PROTOCOL"] = _protocols.get(request.http_version, "HTTP/1.1")
    keys = _keys
    for name, value in fields:
        key = keys[name]
        if key in environ:
            # RFC 9110 §5.3; for Cookie RFC 6265 §5.4
            environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value.decode("latin-1")
        elif key:
            environ[key] = value.decode("latin-1")
    return environ


class _Keys(dict[bytes, str]):
    """Lower-case field name -> key in environ, "" for what must not be there. Bounded, as peers choose names."""

    MOST = 1024

    def __missing__(self, name: bytes) -> str:
        key = "" if b"_" in name else "HTTP_" + name.decode("ascii").upper().replace("-", "_")
        if len(self) < self.MOST:
            self[name] = key
        return key


_keys = _Keys(
    {
        b"content-type": "CONTENT_TYPE",
        b"content-length": "CONTENT_LENGTH",
        b"proxy": "",  # would become HTTP_PROXY, which programs take for their own setting ("httpoxy")
    }
)
_protocols = {b"1.0": "HTTP/1.0", b"2.0": "HTTP/2"}
_methods = {method.encode(): method for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH")}


def _origin_form(request: Request) -> tuple[bytes, list[Field]]:
    """A target in another form as path and query, and the fields with the Host that it names."""
    target = request.target
    if b"://" not in target:  # * of OPTIONS, host:port of CONNECT: they name no resource of ours
        return b"", request.headers.fields
    rest = target.partition(b"://")[2]
    authority = re.split(rb"[/?]", rest, maxsplit=1)[0]
    path = rest[len(authority) :]
    # RFC 9112 §3.2.2: the target's authority replaces what Host says
    fields = [field for field in request.headers.fields if field[0] != b"host"]
    return path if path.startswith(b"/") else b"/" + path, [(b"host", authority), *fields]
