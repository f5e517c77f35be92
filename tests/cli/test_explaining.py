"""What a user of `gruvihttp get` is told about errors that a test over sockets would have to wait long for."""

from __future__ import annotations

import pytest

from gruvihttp import Timeout
from gruvihttp.commands.asking import Asking
from gruvihttp.commands.explaining import explain
from gruvihttp.commands.targets import Origin

URL = "http://localhost:80/"
NO_SETTINGS = Timeout("timed out: the server does not answer in HTTP/2", phase="handshake")


@pytest.mark.parametrize("timeout", [None, 30.0])
def test_server_that_sends_no_settings_is_one_without_http2(timeout: float | None) -> None:
    """The bound of that wait is none of --timeout."""
    mistake = explain(NO_SETTINGS, Origin("http", "localhost", 80), URL, Asking([], timeout, False, version="2"))
    assert mistake.message == f"{URL}: timed out: the server does not answer in HTTP/2"
    assert "leave out --http2" in mistake.advice


@pytest.mark.parametrize(("timeout", "advised"), [(0.1, "0.4"), (30.0, "120"), (0.0, "none")])
def test_wait_that_was_too_long_is_advised_to_be_longer(timeout: float, advised: str) -> None:
    exc = Timeout("timed out: read", phase="read")
    mistake = explain(exc, Origin("http", "localhost", 80), URL, Asking([], timeout, False))
    assert (mistake.message, mistake.advice) == (
        f"{URL}: nothing came for {timeout:g} seconds", f"wait longer: --timeout {advised}"
    )  # fmt: skip
