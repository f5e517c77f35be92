"""The certificates of a server that is started from the command line."""

from __future__ import annotations

from typing import Any

import click

from gruvihttp.certificates import CertificateError, Certificates
from gruvihttp.commands.mistakes import UsageMistake
from gruvihttp.commands.tlsoptions import Tls

__all__ = ["load_certificates"]


def load_certificates(tls: Tls, *, http2: bool = True) -> Certificates | None:
    """What the options say, loaded; None without certificate. It offers HTTP/2, or does not.

    Raises UsageMistake when they do not go together or cannot be used.
    """
    if tls.cert is None:
        for option in ("key", "sni", "client_ca", "verify_client"):
            if getattr(tls, option):
                name = f"--tls-{option.replace('_', '-')}"
                raise UsageMistake(f"{name} needs a certificate", "name its file: --tls-cert cert.pem")
        return None
    if tls.verify_client is not None and tls.client_ca is None:
        raise UsageMistake(
            "--tls-verify-client needs to know whom to trust", "name the authorities: --tls-client-ca ca.pem"
        )
    how: Any = tls.verify_client or "required"  # click has checked it
    try:
        return Certificates(
            tls.cert,
            tls.key,
            sni={host: (certificate, key) for host, certificate, key in tls.sni},
            client_ca=tls.client_ca,
            verify_client=how,
            http2=http2,
            report=lambda text: click.echo(f"gruvihttp: {text}", err=True),
        )
    except CertificateError as exc:
        raise UsageMistake(str(exc), exc.advice) from exc
