"""Throws something into greenlets: at a chosen wait, so that a test can go through all waits, or at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import gevent
import greenlet
from gevent import GreenletExit, get_hub

__all__ = ["STRIKES", "Struck", "strike_at", "strike_many"]

GUARD_SECONDS = 10.0


class Struck(Exception):
    """What the tests throw, besides what gevent throws."""


STRIKES: tuple[type[BaseException], ...] = (gevent.Timeout, GreenletExit, Struck)


def strike_at(wait_number: int, error: type[BaseException], action: Callable[[], object]) -> bool:
    """Run `action`, and throw `error` into it at its n-th wait, the first being 0. Did it wait so often?

    The trace sees each switch from the greenlet into the hub; what is thrown comes before anything else happens there.
    """
    hub = get_hub()
    waits = 0
    struck = False
    thrown = error() if error is not gevent.Timeout else gevent.Timeout(None)

    def run() -> None:
        try:
            action()
        except STRIKES as exc:
            assert exc is thrown, f"{exc!r} is not what was thrown"

    runner = gevent.Greenlet(run)

    def trace(event: str, switch: tuple[Any, Any]) -> None:
        nonlocal waits, struck
        if event == "switch" and switch == (runner, hub) and not runner.dead:
            if waits == wait_number:
                struck = True
                hub.loop.run_callback(throw)
            waits += 1

    def throw() -> None:
        if not runner.dead:
            runner.throw(thrown)

    previous = greenlet.settrace(trace)
    try:
        runner.start()
        runner.join(GUARD_SECONDS)
    finally:
        greenlet.settrace(previous)
    assert runner.dead
    if runner.exception is not None:
        raise runner.exception
    return struck


def strike_many(ask: Callable[[int], object]) -> None:
    """Run ``ask(number)`` in many greenlets, of which many are killed or time out somewhere. Fails if few are."""
    chance = random.Random(1)
    struck = 0

    def run(number: int) -> None:
        nonlocal struck
        with gevent.Timeout(chance.choice([None, 0.001, 0.005]), False):  # type: ignore[arg-type]
            try:
                ask(number)
            except BaseException:
                struck += 1
                raise

    for _ in range(60):
        greenlets = [gevent.spawn(run, number) for number in range(20)]
        gevent.sleep(0)
        gevent.killall(chance.sample(greenlets, 5), block=False)
        gevent.joinall(greenlets, timeout=GUARD_SECONDS, raise_error=True)
        assert all(one.ready() for one in greenlets), "somebody hangs"
    assert struck > 100
    gevent.idle()
