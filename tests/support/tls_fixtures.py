"""Certificates for tests that speak TLS in this process; a conftest imports the fixtures that its tests use."""

from __future__ import annotations

import ssl

import pytest
import trustme

__all__ = ["authority", "client_tls", "server_context", "server_tls"]


def server_context(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """A server's context with a certificate for these names and addresses."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    return server_context(authority, "localhost", "127.0.0.1")


@pytest.fixture(scope="session")
def client_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
