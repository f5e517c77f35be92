"""Options about what surrounds a server: its clients, the proxies before it, and those who watch it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import click

from gruvihttp._version import PRODUCT_ID
from gruvihttp.commands.addresses import Bind, parse_bind

__all__ = ["Operating", "operating_options", "take_operating"]

_CLIENTS = "Clients"
_PROXIES = "Proxies before this server"
_WATCHING = "Log, probes and metrics"
# the names are those of `gruvihttp.forwarded`, which is not loaded before the patches are in place
_PROXY_FIELDS = (
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Proto",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
)


class Operating(NamedTuple):
    """What was given. None, or nothing: it was not given."""

    access_log: str | None
    access_log_file: str | None
    health_path: str | None
    ready_path: str | None
    metrics_bind: Bind | None
    trusted_proxy: tuple[str, ...]
    proxy_field: tuple[str, ...]
    proxy_protocol: tuple[str, ...]
    reject_upload: Literal["linger", "drain", "abort"]
    cancel_on_disconnect: bool
    identifier: str | None


class _Option(click.Option):
    """An option in a section of the help."""

    def __init__(self, name: str, section: str, metavar: str | None, meaning: str, **options: Any) -> None:
        super().__init__([name], metavar=metavar, help=meaning, **options)
        self.section = section


def operating_options() -> list[click.Option]:
    """The options; see `take_operating`."""
    many = {"multiple": True}
    return [
        _Option(
            "--reject-upload", _CLIENTS, "HOW",
            "what is done about an upload that is answered before its end: linger (drop it for a while, then close), "
            "drain (drop it, and go on), abort  [default: linger]",
            type=click.Choice(("linger", "drain", "abort")), default="linger",
        ),
        _Option(
            "--cancel-on-disconnect", _CLIENTS, None, "end the greenlet of a request when its client goes",
            is_flag=True,
        ),
        _Option(
            "--identifier", _CLIENTS, "TEXT", "what the field Server says; empty for no such field",
            default=PRODUCT_ID,
        ),
        _Option(
            "--trusted-proxy", _PROXIES, "ADDRESS",
            "believe this proxy, or those in this network, about their clients; or 'unix'", **many,
        ),
        _Option(
            "--proxy-field", _PROXIES, "NAME",
            "a field that these proxies set, and no client  [default: X-Forwarded-For, X-Forwarded-Proto]",
            type=click.Choice(_PROXY_FIELDS, case_sensitive=False), **many,
        ),
        _Option(
            "--proxy-protocol", _PROXIES, "ADDRESS",
            "connections from this address or network, 'unix' or 'all' begin with a PROXY header, v1 or v2", **many,
        ),
        _Option(
            "--access-log", _WATCHING, "FORMAT",
            "common, combined, json, off, or a text with fields, as in '{client} {status}'  "
            "[default: common, if stderr is a terminal]",
        ),
        _Option("--access-log-file", _WATCHING, "FILE", "append the log to a file; - is stdout  [default: stderr]"),
        _Option("--health-path", _WATCHING, "PATH", "answer GET of this path with 200, without the application"),
        _Option("--ready-path", _WATCHING, "PATH", "the same, but 503 while the server stops"),
        _Option("--metrics-bind", _WATCHING, "ADDRESS", "tell Prometheus at /metrics of this address", type=_bind),
    ]  # fmt: skip


def _bind(text: str | Bind) -> Bind:
    return text if isinstance(text, Bind) else parse_bind(text)


def take_operating(values: dict[str, Any]) -> Operating:
    """Take the values of the options out of `values`."""
    return Operating(**{name: values.pop(name) for name in Operating._fields})
