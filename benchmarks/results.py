"""One measurement, and all measurements of a run: values only, no arithmetic but the obvious."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["Record", "Results", "Sample"]


@dataclass(frozen=True)
class Sample:
    """What some requests, or MiB, cost the measured process, in CPU seconds, and how long they took."""

    requests: int
    cpu_seconds: float
    wall_seconds: float
    peak_bytes: int = 0  # of memory on top of what there was before; 0 where it was not looked at

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per request."""
        return self.cpu_seconds / self.requests * 1e6

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.wall_seconds

    def to_json(self) -> str:
        """Return it as one line; `Sample.from_json` reads it."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Sample:
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Record:
    """Where a sample belongs: `group` is servers, clients, engine, transfers or http2."""

    group: str
    workload: str
    subject: str
    round: int
    sample: Sample


@dataclass
class Results:
    """All that a run has found; `absent` and `failures` say in one line each what could not be measured."""

    conditions: dict[str, Any] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def workloads(self) -> list[tuple[str, str]]:
        """Return the (group, workload) pairs that have a sample, in order."""
        return list(dict.fromkeys((record.group, record.workload) for record in self.records))

    def rounds(self, group: str, workload: str) -> dict[str, dict[int, Sample]]:
        """Return subject -> round -> sample, subjects in the order of measurement."""
        found: dict[str, dict[int, Sample]] = {}
        for record in self.records:
            if (record.group, record.workload) == (group, workload):
                found.setdefault(record.subject, {})[record.round] = record.sample
        return found

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)
