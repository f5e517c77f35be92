"""The application that is served when none is named: it answers each request with a description of that request.

The description is JSON, or a page for a browser. It is a plain WSGI application and knows nothing of the server.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from html import escape
from typing import Any, NamedTuple
from urllib.parse import quote

__all__ = ["METHODS", "MOST_CONTENT_BYTES", "application"]

METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")
# The answer repeats the content, so it is held in memory; more than this is not read
MOST_CONTENT_BYTES = 1 << 20

_PLAIN = "text/plain; charset=utf-8"
_JSON = "application/json; charset=utf-8"
_HTML = "text/html; charset=utf-8"


class _Answer(NamedTuple):
    status: str
    headers: list[tuple[str, str]]
    content: bytes


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Describe the request: its method, its target, its header section as pairs, and its content as text.

    Field names are in lower case, and a repeated field is one pair, as WSGI has it. The content is decoded from
    UTF-8, with U+FFFD for what is not UTF-8. 405 for a method that is not among `METHODS`, 413 for more content than
    `MOST_CONTENT_BYTES`.
    """
    answer = _answer(environ)
    start_response(answer.status, answer.headers)
    return [answer.content]


def _answer(environ: dict[str, Any]) -> _Answer:
    method = environ["REQUEST_METHOD"]
    if method not in METHODS:
        allowed = ", ".join(METHODS)
        text = f"{method} is not known here; these are: {allowed}\n"
        return _plain("405 Method Not Allowed", text, [("Allow", allowed)])  # RFC 9110 §15.5.6
    content = _content(environ)
    if content is None:
        return _plain("413 Content Too Large", f"no more than {MOST_CONTENT_BYTES} bytes are repeated here\n", [])
    description = _describe(environ, content)
    # RFC 9110 §12.5.5
    vary = ("Vary", "Accept")
    if _wants_page(environ.get("HTTP_ACCEPT", "")):
        # what is shown comes from the peer: nothing of it is to be executed or loaded
        policy = ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        return _Answer("200 OK", [("Content-Type", _HTML), policy, vary], _page(description).encode())
    return _Answer("200 OK", [("Content-Type", _JSON), vary], _as_json(description).encode())


def _plain(status: str, text: str, headers: list[tuple[str, str]]) -> _Answer:
    return _Answer(status, [("Content-Type", _PLAIN), *headers], text.encode())


def _content(environ: dict[str, Any]) -> bytes | None:
    """The content of the request, or None when it is too much."""
    if int(environ.get("CONTENT_LENGTH") or 0) > MOST_CONTENT_BYTES:
        return None  # without asking for it, where the client waits for a 100 (Continue)
    content: bytes = environ["wsgi.input"].read(MOST_CONTENT_BYTES + 1)
    return content if len(content) <= MOST_CONTENT_BYTES else None


def _describe(environ: dict[str, Any], content: bytes) -> dict[str, Any]:
    return {
        "method": environ["REQUEST_METHOD"],
        "target": _target(environ),
        "headers": list(_fields(environ)),
        "body": content.decode("utf-8", "replace"),
    }


def _target(environ: dict[str, Any]) -> str:
    """The target as it was sent, where the server tells; else put together again."""
    if (uri := environ.get("REQUEST_URI")) is not None:
        return str(uri)
    decoded = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    path = quote(decoded.encode("latin-1"), safe="/;=,:@!$&'()*+")
    query = environ.get("QUERY_STRING", "")
    return f"{path or '/'}?{query}" if query else path or "/"


def _fields(environ: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """The header section; our server keeps the order of the wire in environ."""
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            yield key[5:].lower().replace("_", "-"), value
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            yield key.lower().replace("_", "-"), value


def _wants_page(accept: str) -> bool:
    """Whether HTML is named in Accept and preferred to JSON (RFC 9110 §12.5.1)."""
    weights = {"text/html": 0.0, "application/json": 0.0}
    for member in accept.lower().split(","):
        media, *parameters = (part.strip() for part in member.split(";"))
        if media in weights:
            weights[media] = _weight(parameters)
    return weights["text/html"] > weights["application/json"]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _as_json(description: dict[str, Any]) -> str:
    return json.dumps(description, sort_keys=True, indent=4, separators=(",", ": "))


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>gruvihttp works</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 50rem; padding: 0 1rem }}
code, pre {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; white-space: pre-wrap }}
th {{ font-weight: normal; padding-right: 1rem; text-align: left; vertical-align: top; white-space: nowrap }}
</style>
</head>
<body>
<h1>gruvihttp works</h1>
<p>This is its built-in application, which shows what you have asked for. To serve your own, name it: for
<code>app</code> in <code>hello.py</code> that is <code>gruvihttp serve hello:app</code>.</p>
<h2>Your request</h2>
<p><code>{method} {target}</code></p>
<table>
{fields}
</table>
{content}<p>Programs get the same as JSON.</p>
</body>
</html>
"""


def _page(description: dict[str, Any]) -> str:
    rows = [
        f"<tr><th><code>{escape(name)}</code></th><td><code>{escape(value)}</code></td></tr>"
        for name, value in description["headers"]
    ]
    body = description["body"]
    return _PAGE.format(
        method=escape(description["method"]),
        target=escape(description["target"]),
        fields="\n".join(rows),
        content=f"<h2>Its content</h2>\n<pre>{escape(body)}</pre>\n" if body else "",
    )
