"""HTTP for gevent programs: a blocking-style client with pipelining and a WSGI server, over one strict engine.

The names below are loaded when they are first used, so that a program which needs only the sans-I/O layer
(`gruvihttp.sansio`) loads neither gevent nor sockets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gruvihttp._version import PRODUCT_ID, __version__
