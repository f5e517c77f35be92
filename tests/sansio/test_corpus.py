"""The corpus: good, odd and hostile bytes, each with the events that must come of it, however the bytes arrive."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gruvihttp.limits import Limits

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
KEYS = {"id", "rfc", "note", "strict", "limits", "eof", "bytes", "expect", "fields", "trailers"}
NEXT_REQUEST = b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
NEXT_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


def load(name: str) -> list[dict[str, Any]]:
    with open(CORPUS / name, "rb") as file:
        cases: list[dict[str, Any]] = tomllib.load(file)["case"]
    return cases


def received(case: dict[str, Any]) -> bytes:
    """The bytes of a case: a character stands for a byte, ``{{x*n}}`` for n times x."""

    def repeated(match: re.Match[str]) -> str:
        return match[1] * int(match[2])

    text: str = re.sub(r"\{\{(.+?)\*([0-9]+)\}\}", repeated, case["bytes"], flags=re.DOTALL)
    return text.encode("latin-1")


def pairs(fields: list[list[str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def with_strictness(cases: list[dict[str, Any]]) -> list[Any]:
    """Each case for each setting of `strict` that it holds for."""
    return [
        pytest.param(case, strict, id=f"{case['id']}-{'strict' if strict else 'tolerant'}")
        for case in cases
        for strict in ([case["strict"]] if "strict" in case else [True, False])
    ]


def ended(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The cases whose message has ended, so that bytes behind it do not belong to it."""
    last_words = ("EndOfMessage", "error", "PAUSED")
    return [case for case in cases if not case.get("eof") and case["expect"][-1].startswith(last_words)]


REQUESTS = load("requests.toml")
RESPONSES = load("responses.toml")


@pytest.mark.parametrize(("case", "strict"), with_strictness(REQUESTS))
def test_request_gives_the_same_events_however_it_arrives(
    case: dict[str, Any], strict: bool, play_server: Any, in_pieces: Any
) -> None:
    limits = Limits(**case.get("limits", {}))
    eof = case.get("eof", False)
    results = {
        way: play_server(pieces, eof=eof, strict=strict, limits=limits)
        for way, pieces in in_pieces(received(case)).items()
    }

    assert {way: result.events for way, result in results.items()} == dict.fromkeys(results, case["expect"])
    check_fields(case, results)


@pytest.mark.parametrize(("case", "strict"), with_strictness(RESPONSES))
def test_response_gives_the_same_events_however_it_arrives(
    case: dict[str, Any], strict: bool, play_client: Any, in_pieces: Any
) -> None:
    options = {key: case[key] for key in ("method", "upgrade", "eof") if key in case}
    results = {
        way: play_client(pieces, strict=strict, limits=Limits(), **options)
        for way, pieces in in_pieces(received(case)).items()
    }

    events = {way: [without_status(event) for event in result.events] for way, result in results.items()}
    assert events == dict.fromkeys(results, case["expect"])
    assert len({result.events[-1] for result in results.values()}) == 1
    check_fields(case, results)
    for result in results.values():
        assert result.head is None or case.get("reason", "").encode("latin-1") in (b"", result.head.reason)
        assert result.reusable is case.get("reusable", result.reusable)


@pytest.mark.parametrize(("case", "strict"), with_strictness(ended(REQUESTS)))
def test_bytes_behind_a_request_change_nothing_about_it(case: dict[str, Any], strict: bool, play_server: Any) -> None:
    limits = Limits(**case.get("limits", {}))

    result = play_server([received(case) + NEXT_REQUEST], strict=strict, limits=limits)

    assert result.events[: len(case["expect"])] == case["expect"]
    if case["expect"][-1].startswith("error"):
        assert len(result.events) == len(case["expect"])


@pytest.mark.parametrize(("case", "strict"), with_strictness(ended(RESPONSES)))
def test_bytes_behind_a_response_change_nothing_about_it(case: dict[str, Any], strict: bool, play_client: Any) -> None:
    options = {key: case[key] for key in ("method", "upgrade") if key in case}

    result = play_client([received(case) + NEXT_RESPONSE], strict=strict, limits=Limits(), **options)

    assert [without_status(event) for event in result.events][: len(case["expect"])] == case["expect"]
    assert not any(event.startswith("Response") for event in result.events[len(case["expect"]) :])


def without_status(event: str) -> str:
    return "error" if event.startswith("error") else event


def check_fields(case: dict[str, Any], results: dict[str, Any]) -> None:
    for way, result in results.items():
        if "fields" in case:
            assert list(result.head.headers) == pairs(case["fields"]), way
        if "trailers" in case:
            assert result.trailers == pairs(case["trailers"]), way


@pytest.mark.parametrize(
    ("cases", "more_keys"),
    [
        pytest.param(REQUESTS, set(), id="requests"),
        pytest.param(RESPONSES, {"method", "upgrade", "reason", "reusable"}, id="responses"),
    ],
)
def test_the_tables_are_well_formed(cases: list[dict[str, Any]], more_keys: set[str]) -> None:
    assert [name for name, count in Counter(case["id"] for case in cases).items() if count > 1] == []
    assert [case["id"] for case in cases if not case.keys() <= KEYS | more_keys] == []
    assert len(cases) >= 150
