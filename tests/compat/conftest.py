"""What the tests of the doors of requests and httpx share: one server, and three ways to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from relays import dripping
from server_fixtures import authority, make_site, serve, server_tls, site  # noqa: F401  # fixtures
from sites import Site

from benchmarks import nginx

# without the first, nginx has HTTP/1.0 and no connections that stay
BEFORE = """
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_buffering off;
    proxy_pass http://127.0.0.1:%d;
"""


@pytest.fixture(scope="session")
def site_behind_nginx() -> Iterator[tuple[Site, str]]:
    if not nginx.is_installed():
        pytest.skip("nginx is not installed")
    behind = Site()
    with nginx.serving(None, BEFORE % behind.port) as port:
        yield behind, f"http://127.0.0.1:{port}"
    behind.server.close()


@pytest.fixture(params=["direct", "by-bytes", "nginx"])
def way(request: pytest.FixtureRequest) -> Any:
    """A site, and the URL under which it is reached: directly, a byte at a time, or through nginx."""
    if request.param == "nginx":
        behind, url = request.getfixturevalue("site_behind_nginx")
        behind.asked.clear()
        return behind, url
    there = request.getfixturevalue("site")
    if request.param == "direct":
        return there, there.url
    return there, f"http://127.0.0.1:{request.getfixturevalue('serve')(dripping(there.port)).port}"


@pytest.fixture(scope="session")
def authority_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811  # the fixture
    path = tmp_path_factory.mktemp("authority") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path
