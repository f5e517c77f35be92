"""Whether bytes name a host and a port, as Host, an absolute target and CONNECT do (RFC 9110 §4.2, §7.2, §9.3.6).

The outline is a pattern. An IPv6 address is checked by `ipaddress`, since its rule does not fit into a readable one.
Which host it is, and whether it is ours, is not known here.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

from gruvihttp.sansio.grammar import AUTHORITY_RE

__all__ = ["is_authority", "names_host", "names_host_and_port"]

_HIGHEST_PORT = 65535


@lru_cache(maxsize=512)  # a client says the same Host each time
def is_authority(value: bytes) -> bool:
    """Whether `value` is a host with an optional port; the host may be empty, as in an empty Host field."""
    return _parts(value) is not None


def names_host(value: bytes) -> bool:
    """Whether `value` is a host, not empty (RFC 9110 §4.2.1), with an optional port."""
    parts = _parts(value)
    return parts is not None and parts[0] != b""


def names_host_and_port(value: bytes) -> bool:
    """Whether `value` is a host, not empty, and a port that one can connect to."""
    parts = _parts(value)
    return parts is not None and parts[0] != b"" and 0 < int(parts[1] or b"0") <= _HIGHEST_PORT


def _parts(value: bytes) -> tuple[bytes, bytes] | None:
    match = AUTHORITY_RE.fullmatch(value)
    if match is None:
        return None
    host, ipv6, port = match.groups(b"")
    if ipv6:
        try:
            IPv6Address(ipv6.decode("ascii"))
        except AddressValueError:
            return None
    return host, port
