"""The certificate of a server that is started from the command line."""

from __future__ import annotations

import ssl

from gruvihttp.commands.mistakes import UsageMistake

__all__ = ["load_certificate"]


def load_certificate(certificate: str | None, key: str | None, *, http2: bool = True) -> ssl.SSLContext | None:
    """A context for a server with the certificate chain and the key of these files (PEM); None without certificate.

    It offers HTTP/2, or does not.

    Raises UsageMistake when they do not go together or cannot be used.
    """
    if certificate is None:
        if key is not None:
            raise UsageMistake("--tls-key needs a certificate", "name its file: --tls-cert cert.pem")
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    what = f"cannot use {certificate if key is None else f'{certificate} with {key}'}"
    try:
        context.load_cert_chain(certificate, key)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise UsageMistake(f"{what}: the key belongs to another certificate", "give its own key") from exc
        advice = "give them in PEM format, the key in --tls-key unless it is in the same file"
        raise UsageMistake(f"{what}: {exc.reason or 'no certificate with its key is there'}", advice) from exc
    except OSError as exc:
        raise UsageMistake(f"{what}: {exc.strerror}", "give files that this user can read") from exc
    context.set_alpn_protocols(["h2", "http/1.1"] if http2 else ["http/1.1"])
    return context
