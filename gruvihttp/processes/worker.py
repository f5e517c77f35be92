"""`Worker`: a process that serves, as its parent sees it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import gevent
from gevent import socket
from gevent.event import AsyncResult, Event
from gevent.subprocess import Popen

from gruvihttp.net.sockets import RawSocket
from gruvihttp.processes.link import Link

__all__ = ["ENDED", "READY", "RELIEF", "VARIABLE", "Worker"]

VARIABLE = "GRUVIHTTP_WORKER"  # descriptors: that of the link, a colon, those to listen on, with commas
READY = "ready"
RELIEF = "relief"
ENDED = "ended"  # said for a worker, when it cannot say anything more

_LAST_WORDS_SECONDS = 1.0  # a child of the worker's may hold the link open


class Worker:
    """One process. `news` is set when it has ended, or wants to be relieved; `heard` gets everything else it says."""

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sequence[RawSocket],
        heard: Callable[[Worker, str, Any], object],
    ) -> None:
        ours, theirs = socket.socketpair()
        descriptors = [sock.fileno() for sock in sockets]
        variable = f"{theirs.fileno()}:{','.join(map(str, descriptors))}"
        self._begun = monotonic()
        # in a session of its own, for Ctrl-C in a terminal is for the parent only
        self._process = Popen(
            command,
            env={**os.environ, VARIABLE: variable},
            pass_fds=[theirs.fileno(), *descriptors],
            start_new_session=True,
        )
        theirs.close()
        self._link = Link(ours)
        self._heard = heard
        self.retires = False  # has it been told to end?
        self.reason = ""  # why it wants to be relieved, if that is to be told
        self._asked: dict[str, AsyncResult[Any]] = {}
        self.pid: int = self._process.pid
        self.ready = Event()
        self.ended = Event()
        self.news = Event()
        listening = gevent.spawn(self._listen)
        gevent.spawn(self._wait, listening)

    @property
    def code(self) -> int:
        """The exit code; negative for a signal."""
        return int(self._process.returncode)

    @property
    def serves(self) -> bool:
        """Has it begun, and not ended?"""
        return self.ready.is_set() and not self.ended.is_set()

    def age(self) -> float:
        """How many seconds ago it was started."""
        return monotonic() - self._begun

    def begins(self) -> bool:
        """Wait until it serves, or has ended. Whether it serves."""
        self.ready.wait()
        return not self.ended.is_set()

    def say(self, word: str, content: object = None) -> None:
        """Say something to it."""
        self._link.say(word, content)

    def ask(self, word: str, timeout: float) -> Any:
        """What it answers to a word, with the same word; None when it has ended or takes longer than that."""
        answer = self._asked.setdefault(word, AsyncResult())
        self._link.say(word)
        return gevent.with_timeout(timeout, answer.get, timeout_value=None)

    def retire(self, patience: float | None, hurry: Event) -> None:
        """Let it end properly, and kill it when that takes longer than `patience` seconds, or `hurry` is set."""
        self._send(signal.SIGTERM)
        gevent.wait([self.ended, hurry], timeout=patience, count=1)
        self.kill()
        self.ended.wait()

    def kill(self) -> None:
        """End it at once."""
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if not self.ended.is_set():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _listen(self) -> None:
        for word, content in self._link.messages():
            if word == READY:
                self.ready.set()
            elif word == RELIEF:
                self.reason = content or ""
                self.news.set()
            else:
                if word in self._asked:
                    self._asked.pop(word).set(content)
                self._heard(self, word, content)

    def _wait(self, listening: Any) -> None:
        self._process.wait()
        listening.join(_LAST_WORDS_SECONDS)
        listening.kill()
        self._link.close()
        for answer in self._asked.values():
            answer.set(None)
        self._heard(self, ENDED, self.code)
        self.ended.set()
        self.news.set()
        self.ready.set()
