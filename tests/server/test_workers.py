"""Greenlets that run one job after another: reuse, ends, and what one job may notice of another."""

from __future__ import annotations

import gc
import weakref
from contextvars import ContextVar
from typing import Any

import gevent
import pytest
from gevent.event import Event

from gruvihttp.exchanges.workers import Workers

GUARD = 10.0


def in_hub(workers: Workers, job: Any, argument: Any = None) -> None:
    """Run a job as a callback of the hub would, up to its first wait."""
    done = Event()
    gevent.get_hub().loop.run_callback(lambda: (workers.run(job, argument), done.set()))
    assert done.wait(GUARD)


def test_job_gets_its_argument_and_runs_at_once() -> None:
    seen: list[object] = []
    in_hub(Workers(), seen.append, "argument")
    assert seen == ["argument"]


def test_greenlet_of_a_job_that_is_done_runs_the_next() -> None:
    workers, seen = Workers(), []
    for _ in range(3):
        in_hub(workers, lambda _: seen.append(gevent.getcurrent()))
    assert len(set(map(id, seen))) == 1


def test_job_that_waits_does_not_hold_up_the_next() -> None:
    workers, go_on, seen = Workers(), Event(), []
    in_hub(workers, lambda _: seen.append(go_on.wait(GUARD)))
    in_hub(workers, seen.append, "second")
    assert seen == ["second"]
    go_on.set()
    gevent.sleep(0)
    assert seen == ["second", True]


def test_most_idle_greenlets_are_kept() -> None:
    workers, go_on, greenlets = Workers(most_idle=2), Event(), []
    for _ in range(5):
        in_hub(workers, lambda _: (greenlets.append(gevent.getcurrent()), go_on.wait(GUARD)))
    go_on.set()
    gevent.joinall(greenlets, timeout=GUARD, count=3)
    assert sum(greenlet.dead for greenlet in greenlets) == 3


def test_gevent_timeout_reaches_a_job() -> None:
    caught: list[object] = []

    def job(_: object) -> None:
        with gevent.Timeout(0.001, False):
            Event().wait(GUARD)
        caught.append(Event().wait(0.001))

    in_hub(Workers(), job)
    gevent.sleep(0.05)
    assert caught == [False]


def test_job_can_be_killed() -> None:
    killed = Event()

    def job(_: object) -> None:
        try:
            Event().wait(GUARD)
        except gevent.GreenletExit:
            killed.set()
            raise

    workers, greenlets = Workers(), []
    in_hub(workers, lambda _: (greenlets.append(gevent.getcurrent()), job(_)))
    greenlets[0].kill(timeout=GUARD)
    assert killed.is_set() and greenlets[0].dead
    in_hub(workers, lambda _: greenlets.append(gevent.getcurrent()))
    assert greenlets[1] is not greenlets[0]


def test_idle_greenlet_that_is_killed_gets_no_more_jobs() -> None:
    workers, greenlets = Workers(), []
    for _ in range(2):
        in_hub(workers, lambda _: greenlets.append(gevent.getcurrent()))
        greenlets[-1].kill(timeout=GUARD)
    assert greenlets[0] is not greenlets[1]


def test_timer_that_a_job_forgot_does_not_end_the_idle_greenlet() -> None:
    workers, seen = Workers(), []
    in_hub(workers, lambda _: (seen.append(gevent.getcurrent()), gevent.Timeout.start_new(0.001)))
    gevent.sleep(0.05)
    in_hub(workers, lambda _: seen.append(gevent.getcurrent()))
    assert seen[0] is seen[1]


def test_error_that_leaves_a_job_is_reported_and_ends_its_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(gevent.get_hub(), "print_exception", lambda context, *error: reported.append(error[0]))
    workers, seen = Workers(), []

    def job(_: object) -> None:
        seen.append(gevent.getcurrent())
        raise KeyError

    in_hub(workers, job)
    assert reported == [KeyError]
    in_hub(workers, lambda _: seen.append(gevent.getcurrent()))
    assert seen[0].dead and seen[0] is not seen[1]


def test_what_a_job_sets_in_its_context_the_next_does_not_see() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="unset")
    workers, seen = Workers(), []

    def job(value: str) -> None:
        seen.append(variable.get())
        variable.set(value)

    in_hub(workers, job, "first")
    in_hub(workers, job, "second")
    assert seen == ["unset", "unset"]
    assert variable.get() == "unset"


@pytest.mark.parametrize("jobs", [1, 2])
def test_idle_greenlet_keeps_nothing_alive(jobs: int) -> None:
    class Argument:
        pass

    workers = Workers()
    for _ in range(jobs):
        argument = Argument()
        alive = weakref.ref(argument)
        in_hub(workers, id, argument)
    del argument
    gc.collect()
    assert alive() is None
