"""The examples of the how-tos about requests and httpx run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"


@pytest.mark.parametrize(("page", "lines"), [("requests.rst", 1), ("httpx.rst", 1)])
def test_examples_run(site: Any, page: str, lines: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = (HOWTO / page).read_text()
    names: dict[str, Any] = {}
    for block in re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", text):
        exec(re.sub(r"^    ", "", block, flags=re.MULTILINE).replace("https://example.org", site.url), names)
    printed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in printed] == ["200"] * lines
    if "asking" in names:
        assert names["asking"].get(site.url + "/told", timeout=10).ok
        names["asking"].close()
