"""Turns results into text: one table for each workload, cheapest subject first."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.results import Results, Sample

__all__ = ["FLOORS", "OURS", "median_ratio", "render"]

FLOORS = ("floor", "floor-sockets")  # the first that was measured is the one to compare with
OURS = "gruvihttp"

_UNITS = {"transfers": "MiB", "upload": "MiB"}  # of a group, or of a workload

Rounds = dict[int, Sample]


def render(results: Results, meanings: dict[str, str], *, with_matrix: bool = False) -> str:
    """Return all tables, then what could not be measured; `meanings` explains workloads by name."""
    parts = [_conditions(results)]
    for group, workload in results.workloads():
        subjects = results.rounds(group, workload)
        parts.append(f"{group} / {workload}: {meanings.get(workload, '')}\n" + _table(subjects, group, workload))
        if with_matrix and len(subjects) > 1:
            parts.append(_matrix(subjects))
    parts.extend("\n".join(lines) for lines in (results.absent, results.failures) if lines)
    return "\n\n".join(parts)


def median_ratio(of: Rounds, to: Rounds) -> float:
    """Return how many times the CPU of `to` a request of `of` costs: the median over the rounds that both have.

    Each round is compared with itself, so that a machine that becomes slower between rounds moves both sides.
    """
    common = sorted(of.keys() & to.keys())
    return median(of[number].cpu_us / to[number].cpu_us for number in common) if common else float("nan")


def _conditions(results: Results) -> str:
    return "\n".join(f"{name}: {value}" for name, value in results.conditions.items())


def _table(subjects: dict[str, Rounds], group: str, workload: str) -> str:
    floors = [name for name in FLOORS if name in subjects]
    references = floors[:1] + [OURS] * (OURS in subjects)
    unit = _UNITS.get(group) or _UNITS.get(workload, "request")
    has_memory = any(sample.peak_bytes for rounds in subjects.values() for sample in rounds.values())
    header = ["", f"CPU µs/{unit}", "min", "max", "MiB/s" if unit == "MiB" else "requests/s", "min", "max"]
    header += ["memory"] * has_memory + ["core busy"] * (group != "engine") + [f"÷ {name}" for name in references]
    rows = [header]
    for name in _by_cost(subjects):
        samples = subjects[name].values()
        row = [name, *_spread([sample.cpu_us for sample in samples], "{:.2f}")]
        row += _spread([sample.rate for sample in samples], "{:,.0f}")
        if has_memory:
            row.append(f"{max(sample.peak_bytes for sample in samples) / (1 << 20):.1f} MiB")
        if group != "engine":
            row.append(f"{median(sample.cpu_seconds / sample.wall_seconds for sample in samples):.0%}")
        row += [f"{median_ratio(subjects[name], subjects[other]):.2f}" for other in references]
        rows.append(row)
    return _align(rows)


def _matrix(subjects: dict[str, Rounds]) -> str:
    names = _by_cost(subjects)
    rows = [["CPU of row ÷ column", *names]]
    rows += [[name, *(f"{median_ratio(subjects[name], subjects[other]):.2f}" for other in names)] for name in names]
    return _align(rows)


def _by_cost(subjects: dict[str, Rounds]) -> list[str]:
    return sorted(subjects, key=lambda name: median(sample.cpu_us for sample in subjects[name].values()))


def _spread(values: list[float], form: str) -> list[str]:
    return [form.format(value) for value in (median(values), min(values), max(values))]


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)
