"""What a user wants to send, JSON, a form or a ready body, made into a body with its Content-Type.

How a body becomes bytes on the wire is not known here.
"""

from __future__ import annotations

import json as json_format
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlencode

from gruvihttp.origins import basic_credentials

__all__ = ["FORM_TYPE", "JSON_TYPE", "HeadersOption", "Pairs", "body_of", "credentials_of", "pairs_of", "with_params"]

JSON_TYPE = "application/json"
FORM_TYPE = "application/x-www-form-urlencoded"

# Any: values are str, or numbers, or sequences of these
Pairs: TypeAlias = Mapping[str, Any] | Iterable[tuple[str, Any]]
HeadersOption: TypeAlias = Mapping[str, str] | Iterable[tuple[str, str]]


def body_of(body: Any, json: Any, data: Any) -> tuple[Any, str | None]:
    """A body, and the Content-Type that it needs, if it needs one. At most one of the three may be given.

    Raises TypeError for more than one, and for what cannot be expressed in JSON; ValueError for numbers that JSON
    does not have.
    """
    given = [name for name, value in (("body", body), ("json", json), ("data", data)) if value is not None]
    if len(given) > 1:
        raise TypeError(f"a request has one body, and here are {len(given)}: {', '.join(given)}")
    if isinstance(body, Mapping):
        raise TypeError(f"a {type(body).__name__} is not a body: give it as json=, or as data= for a form")
    if json is not None:
        # allow_nan: NaN is no JSON, and a server would say so less clearly (RFC 8259 §6)
        text = json_format.dumps(json, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode(), JSON_TYPE
    if isinstance(data, Mapping) or (isinstance(data, (list, tuple)) and all(isinstance(one, tuple) for one in data)):
        return urlencode(_strict(data), doseq=True).encode("ascii"), FORM_TYPE
    if data is not None:
        return data, None
    return ("" if body is None else body), None


def credentials_of(auth: tuple[str, str]) -> str:
    """The value of Authorization for (user, password). Raises TypeError for what is none; it does not show it."""
    if not isinstance(auth, (tuple, list)) or len(auth) != 2:
        raise TypeError(f"auth is (user, password), and this {type(auth).__name__} is not")
    return basic_credentials(*auth)


def with_params(url: str, params: Pairs) -> str:
    """The URL with `params` behind its query. What is None is left out; a list gives a parameter several times."""
    query = urlencode(_strict(params), doseq=True)
    if not query:
        return url
    rest, mark, fragment = url.partition("#")
    joint = "" if rest.endswith(("?", "&")) else "&" if "?" in rest else "?"
    return f"{rest}{joint}{query}{mark}{fragment}"


def pairs_of(headers: HeadersOption | None) -> list[tuple[str, str]]:
    """Fields as a list of pairs; they may be given as a mapping. What is None is left out."""
    if headers is None:
        return []
    if isinstance(headers, (str, bytes)):
        raise TypeError(f"headers must be a mapping or pairs, not {type(headers).__name__}")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [pair for pair in pairs if not isinstance(pair, tuple) or len(pair) != 2 or pair[1] is not None]


def _strict(pairs: Pairs) -> list[tuple[str, Any]]:
    if isinstance(pairs, (str, bytes)) or not isinstance(pairs, (Mapping, Iterable)):
        raise TypeError(f"parameters must be a mapping or pairs, not {type(pairs).__name__}")
    items = pairs.items() if isinstance(pairs, Mapping) else pairs
    return [(name, value) for name, value in items if value is not None]
