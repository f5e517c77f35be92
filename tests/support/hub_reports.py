"""A fixture for tests in which no error may reach gevent's hub; a conftest or a test module imports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gevent
import pytest

__all__ = ["nothing_is_reported"]


@pytest.fixture(autouse=True)
def nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fails a test in which an error reached gevent's hub: nothing that a peer or an application does may."""
    reported: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda context, *error: reported.append((context, error)))
    yield
    assert reported == []
