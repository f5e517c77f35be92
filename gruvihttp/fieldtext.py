"""Fields as users write them, in text: checked, and turned into bytes. The same for requests and for responses.

TypeError for what is not str, ValueError for what may not stand in a field, UnicodeEncodeError for what ISO-8859-1
cannot express. What a field means is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gruvihttp.sansio.grammar import FIELD_NAME_RE, REASON_RE
from gruvihttp.sansio.headers import HOP_BY_HOP

__all__ = ["REFUSE", "FieldNames", "field_value"]

REFUSE = "refuse"  # the rule for what concerns the connection, and is nothing that a user could say


class FieldNames(dict[str, tuple[bytes, str]]):
    """A field's name as users write it -> its bytes, and the rule for it; "" if there is none.

    `rules` has them by the lower-case name; `REFUSE` is that of all fields of the connection.
    """

    MOST = 1024  # names may be made up, without end

    def __init__(self, rules: Mapping[bytes, str]) -> None:
        self._rules = rules

    def __missing__(self, name: Any) -> tuple[bytes, str]:
        if not isinstance(name, str):
            raise TypeError(f"the name of a header must be str, not {type(name).__name__}")
        raw_name = name.encode("latin-1")
        if not FIELD_NAME_RE.fullmatch(raw_name):
            raise ValueError(f"illegal header name {name!r}")
        lower = raw_name.lower()
        known = (raw_name, REFUSE if lower in HOP_BY_HOP else self._rules.get(lower, ""))
        if len(self) < self.MOST:
            self[name] = known
        return known


def field_value(name: str, value: Any) -> bytes:
    """A value in bytes; `name` is for the error."""
    if not isinstance(value, str):
        raise TypeError(f"the value of header {name!r} must be str, not {type(value).__name__}")
    try:
        raw_value = value.encode("latin-1")
    except UnicodeEncodeError as exc:
        exc.reason += f", in the value of header {name!r}"
        raise
    if not REASON_RE.fullmatch(raw_value):  # RFC 9112 §4 allows in a reason what RFC 9110 §5.5 allows in a value
        raise ValueError(f"the value of header {name!r} contains control characters")
    return raw_value
