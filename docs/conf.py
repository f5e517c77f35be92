"""Settings of Sphinx. Nothing here needs the network; the package is imported from the tree beside it."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent / "_ext")]

from gruvihttp._version import __version__  # noqa: E402  (the path comes first)

project = "gruvihttp"
author = "The gruvihttp maintainers"
copyright = "2026, " + author  # noqa: A001  (Sphinx's name)
release = version = __version__

extensions = ["sphinx.ext.autodoc", "commandline", "declarations"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"gruvihttp {release}"
html_copy_source = False

# docstrings quote names with single backticks
default_role = "code"
highlight_language = "python3"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
# long signatures one argument per line
maximum_signature_line_length = 90
