"""What the arguments of gevent's `WSGIServer` mean: its logs, and its `ssl_args`. The server is not known here."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Iterable
from typing import Any

from gevent.pywsgi import LoggingLogAdapter

__all__ = ["NoLog", "log_of", "tls_context"]

# What gevent passes on to `wrap_socket`, and what has no meaning here
_IGNORED_TLS = frozenset(("server_side", "do_handshake_on_connect", "suppress_ragged_eofs"))


class NoLog:
    """Stands for no log: gevent's programs may write to it all the same."""

    def write(self, text: str) -> None:
        """Drop it."""

    def writelines(self, lines: Iterable[str]) -> None:
        """Drop them."""

    def flush(self) -> None:
        """Nothing is held."""


def log_of(target: Any, level: int) -> Any:
    """Something with ``write`` for a `log` argument: ``"default"``, None, a Logger, or such a thing itself.

    `level` is what a Logger is given its lines with.
    """
    if isinstance(target, str) and target == "default":
        return sys.stderr
    if target is None:
        return NoLog()
    if not hasattr(target, "write") and hasattr(target, "log"):
        return LoggingLogAdapter(target, level)
    return target


def tls_context(arguments: dict[str, Any]) -> ssl.SSLContext | None:
    """The context that gevent's `ssl_args` describe; None for no TLS. Raises TypeError for arguments unknown here."""
    given = {name: value for name, value in arguments.items() if name not in _IGNORED_TLS}
    if not given:
        return None
    context = given.pop("ssl_context", None)
    if context is None and "certfile" in given:
        context = ssl.SSLContext(given.pop("ssl_version", None) or ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(given.pop("certfile"), given.pop("keyfile", None))
        if (authorities := given.pop("ca_certs", None)) is not None:
            context.load_verify_locations(authorities)
        if (ciphers := given.pop("ciphers", None)) is not None:
            context.set_ciphers(ciphers)
        context.verify_mode = given.pop("cert_reqs", context.verify_mode)
    if given:
        raise TypeError(f"WSGIServer does not know {', '.join(sorted(given))}; give an ssl_context instead")
    checked: ssl.SSLContext = context
    return checked
