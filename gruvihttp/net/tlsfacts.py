"""What can be told about a TLS session and the peer's certificate, as CGI programs know it."""

from __future__ import annotations

import ssl
from typing import Any

__all__ = ["environ_of"]

# the short names of RFC 4514 section 3, and those that everybody uses besides
_SHORT = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}


def environ_of(session: ssl.SSLObject) -> dict[str, str]:
    """HTTPS, SSL_PROTOCOL, SSL_CIPHER and SSL_CIPHER_USEKEYSIZE of a session, and facts about the client's certificate.

    SSL_CLIENT_VERIFY is there if one was asked for: SUCCESS, or NONE if the client has shown none.
    """
    described = {"HTTPS": "on"}
    if (protocol := session.version()) is not None:
        described["SSL_PROTOCOL"] = protocol
    if (cipher := session.cipher()) is not None:
        described["SSL_CIPHER"] = cipher[0]
        described["SSL_CIPHER_USEKEYSIZE"] = str(cipher[2])  # text, as everything without a dot in an environ
    if session.context.verify_mode != ssl.CERT_NONE:
        described |= _of_client(session)
    return described


def _of_client(session: ssl.SSLObject) -> dict[str, str]:
    encoded = session.getpeercert(binary_form=True)
    if not encoded:
        return {"SSL_CLIENT_VERIFY": "NONE"}
    facts: dict[str, Any] = session.getpeercert() or {}
    subject, issuer = facts.get("subject", ()), facts.get("issuer", ())
    described = {
        "SSL_CLIENT_VERIFY": "SUCCESS",
        "SSL_CLIENT_CERT": ssl.DER_cert_to_PEM_cert(encoded),
        "SSL_CLIENT_S_DN": _distinguished(subject),
        "SSL_CLIENT_I_DN": _distinguished(issuer),
        "SSL_CLIENT_M_SERIAL": str(facts.get("serialNumber", "")),
        "SSL_CLIENT_V_START": str(facts.get("notBefore", "")),
        "SSL_CLIENT_V_END": str(facts.get("notAfter", "")),
    }
    for prefix, names in (("S", subject), ("I", issuer)):
        for relative in names:
            for kind, value in relative:
                described.setdefault(f"SSL_CLIENT_{prefix}_DN_{_SHORT.get(kind, kind)}", _latin(value))
    counts = {"DNS": 0, "email": 0}
    for kind, value in facts.get("subjectAltName", ()):
        if kind in counts:
            described[f"SSL_CLIENT_SAN_{'Email' if kind == 'email' else kind}_{counts[kind]}"] = _latin(value)
            counts[kind] += 1
    return described


def _distinguished(name: tuple[tuple[tuple[str, str], ...], ...]) -> str:
    """A name as RFC 4514 writes it: the last part first."""
    parts = ("+".join(f"{_SHORT.get(kind, kind)}={_escaped(value)}" for kind, value in part) for part in name)
    return ",".join(reversed(list(parts)))


def _escaped(value: str) -> str:
    """A value of a name, in which what separates names does not (RFC 4514 section 2.4)."""
    escaped = "".join(f"\\{character}" if character in ',+"\\<>;' else character for character in value)
    if escaped.endswith(" "):
        escaped = escaped[:-1] + "\\ "
    if escaped.startswith((" ", "#")):
        escaped = "\\" + escaped
    return _latin(escaped)


def _latin(value: str) -> str:
    """Text as PEP 3333 has it in environ: each byte of its UTF-8 a character."""
    return value.encode("utf-8").decode("latin-1")
