"""The code that stands in the pages of the documentation."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

__all__ = ["HOWTO", "changed", "code_of", "run"]

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"


def code_of(page: str, language: str = "python") -> list[str]:
    """The blocks of a how-to in a language, without their indentation."""
    pattern = rf"\.\. code-block:: {language}\n(?:    :.*\n)*\n((?:    .*\n|\n)+)"
    found = re.findall(pattern, (HOWTO / f"{page}.rst").read_text())
    return [re.sub(r"^    ", "", block, flags=re.MULTILINE) for block in found]


def changed(code: str, changes: dict[str, str]) -> str:
    """The code with other hosts, ports and paths. All that is to be changed must be there."""
    for old, new in changes.items():
        assert old in code, f"{old!r} is not in {code!r}"
        code = code.replace(old, new)
    return code


def run(code: str, changes: dict[str, str] | None = None, **names: Any) -> dict[str, Any]:
    """Run a block with these names; all names that are there then."""
    exec(changed(code, changes or {}), names)
    return names
