"""Settings of the test run that setup.cfg cannot hold. Fixtures live beside the tests that use them."""

from __future__ import annotations

import gevent
import pytest
from hypothesis import settings

# no deadline per example: a loaded machine is slow, not wrong; the run as a whole is bounded by pytest-timeout
settings.register_profile("gruvihttp", deadline=None, print_blob=True)
settings.load_profile("gruvihttp")


@pytest.fixture(autouse=True)
def loop_knows_the_time() -> None:
    """Patience begins with the test: `gevent.joinall` counts from when the loop ran last, maybe many tests ago."""
    gevent.get_hub().loop.update_now()
