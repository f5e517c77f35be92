"""What ``gruvihttp serve`` was told about TLS, and the options that tell it."""

from __future__ import annotations

from typing import Any, NamedTuple

import click

__all__ = ["Tls", "take_tls", "tls_options"]

_FILE = click.Path(exists=True, dir_okay=False)
_SECTION = "TLS; certificates are loaded anew when their files change"


class Tls(NamedTuple):
    """What was given. None, or nothing: it was not given."""

    cert: str | None
    key: str | None
    sni: tuple[tuple[str, str, str], ...]
    client_ca: str | None
    verify_client: str | None


class _Option(click.Option):
    section = _SECTION


def tls_options() -> list[click.Option]:
    """The options; see `take_tls`."""
    return [
        _Option(["--tls-cert"], type=_FILE, metavar="FILE", help="serve https with this certificate chain (PEM)"),
        _Option(["--tls-key"], type=_FILE, metavar="FILE", help="its private key, if that is in another file"),
        _Option(
            ["--tls-sni"],
            type=(str, _FILE, _FILE),
            multiple=True,
            metavar="HOST CERT KEY",
            help="for clients that ask for this host, or one in *.example.com; may be repeated",
        ),
        _Option(
            ["--tls-client-ca"],
            type=_FILE,
            metavar="FILE",
            help="clients must show a certificate that one of these authorities (PEM) has signed",
        ),
        _Option(
            ["--tls-verify-client"],
            type=click.Choice(["required", "optional"]),
            metavar="HOW",
            help="optional: or they show none  [default: required]",
        ),
    ]


def take_tls(values: dict[str, Any]) -> Tls:
    """Take the values of the options out of `values`."""
    return Tls(**{name: values.pop(f"tls_{name}") for name in Tls._fields})
