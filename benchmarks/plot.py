"""Draws results as bars, one panel for each workload, with the spread over the rounds. Needs matplotlib."""

from __future__ import annotations

from importlib import import_module
from statistics import median
from typing import Any

from benchmarks.report import OURS
from benchmarks.results import Results, Sample

__all__ = ["draw"]

_PANEL_INCHES = (7.0, 3.2)


def draw(results: Results, path: str) -> str:
    """Write the plot to `path`, whose suffix chooses the format; return a line that says what happened."""
    try:
        matplotlib = import_module("matplotlib")
    except ImportError as exc:
        return f"no plot: {exc}"
    matplotlib.use("Agg")  # draws into files; needs no display
    pyplot = import_module("matplotlib.pyplot")
    panels = results.workloads()
    if not panels:
        return "no plot: nothing was measured"
    width, height = _PANEL_INCHES
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(width, height * len(panels)), squeeze=False)
    for (group, workload), axis in zip(panels, axes[:, 0], strict=True):
        _panel(axis, f"{group} / {workload}", results.rounds(group, workload))
    figure.tight_layout()
    figure.savefig(path)
    return f"plot written to {path}"


def _panel(axis: Any, title: str, subjects: dict[str, dict[int, Sample]]) -> None:  # Any: matplotlib is optional
    costs = {name: [sample.cpu_us for sample in rounds.values()] for name, rounds in subjects.items()}
    names = sorted(costs, key=lambda name: median(costs[name]), reverse=True)  # bars are drawn from below
    middles = [median(costs[name]) for name in names]
    below = [middle - min(costs[name]) for name, middle in zip(names, middles, strict=True)]
    above = [max(costs[name]) - middle for name, middle in zip(names, middles, strict=True)]
    colours = ["tab:orange" if name == OURS else "tab:blue" for name in names]
    axis.barh(names, middles, xerr=[below, above], color=colours)
    axis.set_xscale("log")
    axis.set_title(title)
    axis.set_xlabel("CPU µs per request (median, min, max)")
