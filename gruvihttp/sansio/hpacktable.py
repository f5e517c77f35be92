"""The static table of HPACK (RFC 7541 Appendix A), and what both tables have in common.

Which fields are put into the dynamic table, and how they are spelled, is not known here.
"""

from __future__ import annotations

from gruvihttp.sansio.headers import Field

__all__ = ["ENTRY_OVERHEAD", "FIRST_DYNAMIC", "SECRETS", "STATIC"]

# RFC 7541 §4.1: what an entry counts besides its name and its value
ENTRY_OVERHEAD = 32

# Index 1 is the first
STATIC: tuple[Field, ...] = (
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    *(
        (name, b"")
        for name in b"""
        accept-language accept-ranges accept access-control-allow-origin age allow authorization cache-control
        content-disposition content-encoding content-language content-length content-location content-range
        content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range
        if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization range
        referer refresh retry-after server set-cookie strict-transport-security transfer-encoding user-agent vary via
        www-authenticate
        """.split()
    ),
)
FIRST_DYNAMIC = len(STATIC) + 1

# Fields whose values are secret. Neither a table nor a cache that several connections share keeps them by our
# choice: how long a guess takes, or how short it becomes, would tell whether it was right (RFC 7541 §7.1).
SECRETS = frozenset((b"authorization", b"cookie", b"proxy-authorization", b"set-cookie"))
