"""Settings of the test run that setup.cfg cannot hold. Fixtures live beside the tests that use them."""

from hypothesis import settings

# no deadline per example: a loaded machine is slow, not wrong; the run as a whole is bounded by pytest-timeout
settings.register_profile("gruvihttp", deadline=None, print_blob=True)
settings.load_profile("gruvihttp")
