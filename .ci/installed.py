"""Import every module of the installed package: it must be complete, and need nothing but what it declares.

A module that needs an extra must say so, and how to install it.

Run outside the source tree, or the tree hides the installation.
"""

import importlib
import pkgutil
from importlib import metadata

import gruvihttp


def main() -> None:
    names = ["gruvihttp"]
    for module in pkgutil.walk_packages(gruvihttp.__path__, "gruvihttp."):
        if not module.name.endswith("__main__"):
            try:
                importlib.import_module(module.name)
            except ImportError as exc:
                if "pip install 'gruvihttp[" not in str(exc):
                    raise
            names.append(module.name)
    assert gruvihttp.__version__ == metadata.version("gruvihttp")
    shipped = {str(path) for path in metadata.files("gruvihttp") or ()}
    assert "gruvihttp/py.typed" in shipped, "the type marker is missing"
    print(f"gruvihttp {gruvihttp.__version__}: {len(names)} modules import")


if __name__ == "__main__":
    main()
