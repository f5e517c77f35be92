"""The examples of the how-to run, against a server that is there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "howto" / "many-requests.rst"
BLOCKS = [
    re.sub(r"^    ", "", block, flags=re.MULTILINE)
    for block in re.findall(r"\.\. code-block:: python\n\n((?:    .*\n|\n)+)", PAGE.read_text())
]


def test_examples_run_in_their_order(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        code = block.replace("8000", str(site.port))
        if "urllib3" in code:
            pytest.importorskip("urllib3")
        if "+unix" in code:
            continue
        if "shop.sock" in code:
            code = code.replace('"/run/shop.sock"', f'("127.0.0.1", {site.port})')
        exec(code, names)
    assert names["get"](site.url + "/told").json()["method"] == "GET"
    assert (tmp_path / "page.html").read_bytes().startswith(b'{"method": "GET"')
    assert re.search(r"^(\d+) of \1$", capsys.readouterr().out, re.MULTILINE)
    assert [target.split()[0] for target in site.targets] == ["GET"] * 3 + ["PUT", "POST"] + ["GET"] * 4
    fields = [(one.get("HTTP_AUTHORIZATION"), one.get("HTTP_USER_AGENT")) for one in site.asked[5:7]]
    assert fields == [("Basic c2hvcDpzZWNyZXQ=", "shop/1.0"), ("Bearer a-token", "shop/1.0")]
    told = site.asked[4]
    assert told["CONTENT_TYPE"].startswith("multipart/form-data; boundary=")
    assert b'filename="tea.jpg"' in told["content"]
