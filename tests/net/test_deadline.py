"""Alarms fire once their moment has passed, and not before, however often it is moved."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from math import inf
from time import monotonic

import gevent
import pytest

from gruvihttp.net.deadline import Alarm, moment_after, timeout_left, timeout_or_default


@pytest.mark.parametrize(
    ("timeout", "default", "expected"),
    [
        pytest.param(-1, 5.0, 5.0, id="minus one is the default"),
        pytest.param(-0.1, 5.0, 5.0, id="any negative number is the default"),
        pytest.param(-1, None, None, id="the default may be for ever"),
        pytest.param(None, 5.0, None, id="None is for ever"),
        pytest.param(0, 5.0, 0, id="zero is zero"),
        pytest.param(2.5, 5.0, 2.5, id="seconds"),
    ],
)
def test_timeout_or_default(timeout: float | None, default: float | None, expected: float | None) -> None:
    assert timeout_or_default(timeout, default) == expected


def test_moment_of_no_timeout_is_never() -> None:
    assert moment_after(None) is None
    assert timeout_left(None) is None


def test_moment_lies_ahead_by_the_seconds() -> None:
    assert moment_after(100) == pytest.approx(monotonic() + 100, abs=5)
    assert timeout_left(monotonic() + 100) == pytest.approx(100, abs=5)


def test_nothing_is_left_of_a_past_deadline() -> None:
    assert timeout_left(monotonic() - 1) == 0


class Recorder:
    """An alarm with the moments at which it went off."""

    def __init__(self) -> None:
        self.fired: list[float] = []
        self.alarm = Alarm(gevent.get_hub().loop, lambda: self.fired.append(monotonic()))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def test_alarm_fires_once_after_its_moment(recorder: Recorder, until: Callable[[Callable[[], object]], None]) -> None:
    moment = monotonic() + 0.02
    recorder.alarm.set(moment)
    until(lambda: recorder.fired)
    assert recorder.fired[0] >= moment
    assert recorder.alarm.moment == inf


def test_past_moment_fires_but_not_before_set_returns(
    recorder: Recorder, until: Callable[[Callable[[], object]], None]
) -> None:
    recorder.alarm.set(monotonic() - 5)
    assert not recorder.fired
    until(lambda: recorder.fired)


def test_later_moment_replaces_an_earlier_one_without_firing_twice(
    recorder: Recorder, until: Callable[[Callable[[], object]], None]
) -> None:
    recorder.alarm.set(monotonic() + 0.01)
    moment = monotonic() + 0.05
    recorder.alarm.set(moment)
    until(lambda: recorder.fired)
    assert recorder.fired[0] >= moment
    assert len(recorder.fired) == 1


def test_earlier_moment_replaces_a_later_one(recorder: Recorder, until: Callable[[Callable[[], object]], None]) -> None:
    recorder.alarm.set(monotonic() + 60)
    recorder.alarm.set(monotonic() + 0.01)
    until(lambda: recorder.fired)


@pytest.mark.parametrize("end", ["clear", "close"])
def test_alarm_that_was_ended_does_not_fire(
    recorder: Recorder, until: Callable[[Callable[[], object]], None], end: str
) -> None:
    recorder.alarm.set(monotonic() + 0.01)
    getattr(recorder.alarm, end)()
    other = Recorder()
    other.alarm.set(monotonic() + 0.03)
    until(lambda: other.fired)
    assert not recorder.fired


def test_armed_alarm_does_not_keep_the_loop_alive() -> None:
    def loop_ends() -> bool:
        recorder = Recorder()
        recorder.alarm.set(monotonic() + 60)
        ended: bool = gevent.wait(timeout=10)
        recorder.alarm.close()
        return ended

    # another thread, as it has a loop of its own: nothing of other tests is in there
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(loop_ends).result() is True


def test_alarm_shows_its_state(recorder: Recorder) -> None:
    assert repr(recorder.alarm) == "<Alarm off>"
    recorder.alarm.set(monotonic() + 60)
    assert re.fullmatch(r"<Alarm in (59\.\d+|60\.000) s>", repr(recorder.alarm))
    recorder.alarm.close()
