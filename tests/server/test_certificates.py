"""`Certificates`: which one a client gets, whose it must show, and what happens when files change."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from gruvihttp.certificates import CertificateError, Certificates
from gruvihttp.errors import TransportError
from gruvihttp.testing import RawPeer


def show_environ(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("200 OK", [])
    return ["\n".join(f"{key}={environ[key]}" for key in environ if key.startswith("SSL_CLIENT")).encode("latin-1")]


def facts(content: bytes) -> dict[str, str]:
    lines = content.decode().partition("-----END CERTIFICATE-----\n")
    return dict(line.split("=", 1) for line in (lines[0] + lines[2]).splitlines() if "=" in line)


class Files:
    """Certificates in a directory."""

    def __init__(self, directory: Path, authority: trustme.CA) -> None:
        self.directory = directory
        self.authority = authority

    def issue(self, name: str, *hosts: str) -> tuple[str, str]:
        """Put a certificate for hosts and its key there, or others in their place; return their paths."""
        issued = self.authority.issue_cert(*hosts)
        certificate, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        issued.cert_chain_pems[0].write_to_path(str(certificate))
        issued.private_key_pem.write_to_path(str(key))
        return str(certificate), str(key)


@pytest.fixture
def files(tmp_path: Path, authority: trustme.CA) -> Files:
    return Files(tmp_path, authority)


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def certificates(files: Files, reports: list[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Certificates]:
    """Makes Certificates for localhost that look at their files for each connection."""
    monkeypatch.setattr(Certificates, "LOOK_SECONDS", 0.0)

    def make(**options: Any) -> Certificates:
        return Certificates(*files.issue("main", "localhost"), report=reports.append, **options)

    return make


def names_shown(served: Any, authority: trustme.CA, server_name: str = "localhost") -> set[str]:
    """The hosts in the certificate that a client is shown who asks for a name."""
    context = ssl.create_default_context()
    context.check_hostname = False
    authority.configure_trust(context)
    peer = RawPeer.connect(served.server.address, context, server_name)
    certificate: Any = peer.channel.get_extra_info("ssl").getpeercert()
    peer.close()
    return {value for _, value in certificate["subjectAltName"]}


def get(served: Any, context: ssl.SSLContext) -> bytes:
    """The content of the answer to a request on a connection of its own."""
    peer = RawPeer.connect(served.server.address, context, "localhost")
    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return peer.read_to_end().partition(b"\r\n\r\n")[2]


# by the name that a client asks for

NAMES = [
    ("shop.example", "shop.example"),
    ("SHOP.example", "shop.example"),
    ("a.wild.example", "*.wild.example"),
    ("a.b.wild.example", "localhost"),
    ("wild.example", "localhost"),
    ("other.example", "localhost"),
    ("127.0.0.1", "localhost"),  # an address is not asked for by name
]


@pytest.mark.parametrize(("asked", "shown"), NAMES, ids=[row[0] for row in NAMES])
def test_client_is_shown_the_certificate_for_the_name_it_asks_for(
    serve: Any, certificates: Any, files: Files, authority: trustme.CA, asked: str, shown: str
) -> None:
    sni = {"Shop.example": files.issue("1", "shop.example"), "*.wild.example": files.issue("2", "*.wild.example")}
    served = serve(show_environ, ssl=certificates(sni=sni))
    assert names_shown(served, authority, asked) == {shown}


# whose certificates are taken


def client_context(authority: trustme.CA, *, issued_by: trustme.CA | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    if issued_by is not None:
        issued_by.issue_cert("tea@shop.example", "teapot.example", common_name="T, Pot").configure_cert(context)
    return context


@pytest.fixture
def client_ca(authority: trustme.CA, tmp_path: Path) -> str:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return str(tmp_path / "ca.pem")


@pytest.mark.parametrize("how", ["required", "optional"])
def test_facts_about_the_certificate_of_a_client_are_in_environ(
    serve: Any, certificates: Any, authority: trustme.CA, client_ca: str, how: str
) -> None:
    served = serve(show_environ, ssl=certificates(client_ca=client_ca, verify_client=how))
    shown = facts(get(served, client_context(authority, issued_by=authority)))
    assert shown["SSL_CLIENT_VERIFY"] == "SUCCESS"
    assert shown["SSL_CLIENT_S_DN_CN"] == "T, Pot"
    assert shown["SSL_CLIENT_S_DN"].startswith("CN=T\\, Pot,OU=")
    assert shown["SSL_CLIENT_I_DN_O"].startswith("trustme")
    assert shown["SSL_CLIENT_SAN_DNS_0"] == "teapot.example"
    assert shown["SSL_CLIENT_SAN_Email_0"] == "tea@shop.example"
    assert int(shown["SSL_CLIENT_M_SERIAL"], 16) > 0
    assert shown["SSL_CLIENT_V_START"].endswith("GMT")
    assert shown["SSL_CLIENT_CERT"] == "-----BEGIN CERTIFICATE-----"


def test_client_that_need_not_show_a_certificate_is_served_without(
    serve: Any, certificates: Any, authority: trustme.CA, client_ca: str
) -> None:
    served = serve(show_environ, ssl=certificates(client_ca=client_ca, verify_client="optional"))
    assert get(served, client_context(authority, issued_by=None)) == b"SSL_CLIENT_VERIFY=NONE"


def test_where_no_certificate_is_asked_for_environ_says_nothing_about_it(
    serve: Any, certificates: Any, authority: trustme.CA
) -> None:
    assert get(serve(show_environ, ssl=certificates()), client_context(authority, issued_by=authority)) == b""


@pytest.mark.parametrize("how", ["required", "optional"])
def test_client_whose_certificate_nobody_vouches_for_is_not_served(
    serve: Any, certificates: Any, authority: trustme.CA, client_ca: str, how: str
) -> None:
    served = serve(show_environ, ssl=certificates(client_ca=client_ca, verify_client=how))
    with pytest.raises(TransportError):
        assert get(served, client_context(authority, issued_by=trustme.CA())) == b""
        raise TransportError("the connection was closed")
    assert served.server.stats()["requests"] == 0


def test_client_that_must_show_a_certificate_and_does_not_is_not_served(
    serve: Any, certificates: Any, authority: trustme.CA, client_ca: str
) -> None:
    served = serve(show_environ, ssl=certificates(client_ca=client_ca))
    with pytest.raises(TransportError):
        assert get(served, client_context(authority, issued_by=None)) == b""
        raise TransportError("the connection was closed")
    assert served.server.stats()["requests"] == 0


# files that change


def test_new_certificate_is_shown_when_its_files_are_there(
    serve: Any, certificates: Any, files: Files, authority: trustme.CA, reports: list[str]
) -> None:
    served = serve(show_environ, ssl=certificates())
    assert names_shown(served, authority) == {"localhost"}
    files.issue("main", "renewed.example")
    assert names_shown(served, authority) == {"renewed.example"}
    assert reports == []


def test_broken_certificate_is_reported_once_and_the_old_one_stays(
    serve: Any, certificates: Any, files: Files, authority: trustme.CA, reports: list[str]
) -> None:
    served = serve(show_environ, ssl=certificates())
    (files.directory / "main.pem").write_text("-----BEGIN CERTIFICATE-----")
    assert names_shown(served, authority) == names_shown(served, authority) == {"localhost"}
    assert len(reports) == 1
    assert reports[0].startswith(f"cannot use {files.directory}/main.pem with {files.directory}/main.key: ")
    assert reports[0].endswith("; what was loaded before stays in use")
    files.issue("main", "repaired.example")
    assert names_shown(served, authority) == {"repaired.example"}


def test_certificate_that_comes_before_its_key_is_used_when_both_are_there(
    serve: Any, certificates: Any, files: Files, authority: trustme.CA, reports: list[str]
) -> None:
    served = serve(show_environ, ssl=certificates())
    files.issue("main", "renewed.example")
    key = files.directory / "main.key"
    renewed = key.read_bytes()
    key.unlink()
    assert names_shown(served, authority) == {"localhost"}
    assert "No such file or directory" in reports[0]
    key.write_bytes(renewed)
    assert names_shown(served, authority) == {"renewed.example"}


def test_connection_keeps_what_it_has_shaken_hands_with(
    serve: Any, certificates: Any, files: Files, authority: trustme.CA
) -> None:
    served = serve(lambda environ, start: (start("200 OK", []), [b"served"])[1], ssl=certificates())
    peer = RawPeer.connect(served.server.address, client_context(authority, issued_by=None), "localhost")
    files.issue("main", "renewed.example")
    assert names_shown(served, authority) == {"renewed.example"}
    peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert peer.read_to_end().endswith(b"\r\n\r\nserved")


def test_files_are_looked_at_once_a_second_at_most(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    stat = os.stat
    certificates = Certificates(*files.issue("main", "localhost"))
    monkeypatch.setattr(os, "stat", lambda path, **options: looks.append(path) or stat(path, **options))
    now = monotonic() + certificates.LOOK_SECONDS
    monkeypatch.setattr("gruvihttp.certificates.monotonic", lambda: now)
    assert len({certificates(None) for _ in range(100)}) == 1  # type: ignore[arg-type]  # the socket is not looked at
    assert len(looks) == 2


# what cannot be used

REFUSED = {
    "no-file": (("missing.pem", None), {}, "cannot use missing.pem: No such file or directory", "this user can read"),
    "no-certificate": ((__file__, None), {}, "cannot use .*: .*", "give them in PEM format"),
    "no-key": (("main.pem", None), {}, "cannot use main.pem: .*", "give them in PEM format"),
    "another-s-key": (
        ("main.pem", "other.key"), {}, "cannot use main.pem with other.key: the key belongs .*", "give its own key",
    ),
    "named": (
        ("main.pem", "main.key"), {"sni": {"a": "missing.pem"}}, "cannot use missing.pem: .*", "this user can read",
    ),
    "no-authorities": (
        ("main.pem", "main.key"), {"client_ca": "main.key"}, "cannot use main.key for clients: .*", "of authorities",
    ),
    "no-file-of-authorities": (
        ("main.pem", "main.key"), {"client_ca": "missing.pem"}, "cannot use missing.pem for clients: .*", "can read",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("pair", "options", "what", "advice"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_with_advice(
    files: Files, monkeypatch: pytest.MonkeyPatch, pair: Any, options: Any, what: str, advice: str
) -> None:
    files.issue("main", "localhost")
    files.issue("other", "localhost")
    monkeypatch.chdir(files.directory)
    with pytest.raises(CertificateError, match=f"^{what}$") as caught:
        Certificates(*pair, **options)
    assert advice in caught.value.advice


def test_key_with_a_password_is_refused_and_nobody_is_asked_for_it(files: Files) -> None:
    certificate, key = files.issue("main", "localhost")
    locked = files.directory / "locked.key"
    private = serialization.load_pem_private_key(Path(key).read_bytes(), None)
    locked.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        )
    )
    with pytest.raises(CertificateError, match="the key is encrypted") as caught:
        Certificates(certificate, str(locked))
    assert caught.value.advice == f"decrypt it: openssl pkey -in {locked} -out plain.key"


def test_way_to_verify_that_is_not_known_is_refused(files: Files) -> None:
    wrong: Any = "perhaps"
    with pytest.raises(ValueError, match="'required' or 'optional', not 'perhaps'"):
        Certificates(*files.issue("main", "localhost"), verify_client=wrong)
