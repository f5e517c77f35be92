"""The command: reads the options, measures, and prints tables; `--json` and `--plot` keep the numbers."""

from __future__ import annotations

import argparse
import platform
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

from benchmarks import campaign, nginx, peers, plot, processes, report, wrk
from benchmarks.campaign import Plan
from benchmarks.results import Results

_ROUNDS = 3
_SECONDS = 2.0
_SIZE_MIB = 1024


def main() -> int:
    """Return 0 when the run reached its end, else 1; a subject that failed is a finding, and has its line."""
    options = _options()
    plan = _plan(options)
    results = Results(conditions=_conditions(plan))
    signal.signal(signal.SIGTERM, _stop)
    status = 1
    try:
        campaign.run(plan, results)
        status = 0
    except KeyboardInterrupt:
        results.failures.append("interrupted: the tables hold what was measured until then")
    except processes.Failed as exc:
        results.failures.append(f"stopped: {exc}")
    print(report.render(results, campaign.MEANINGS, with_matrix=options.matrix))
    if options.json:
        Path(options.json).write_text(results.to_json(), encoding="utf-8")
    if options.plot:
        print(plot.draw(results, options.plot))
    return status


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # unwinds through the blocks that end the processes that we started


def _options() -> argparse.Namespace:
    workloads, subjects = list(campaign.MEANINGS), campaign.SUBJECTS
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="CPU per request, side by side")
    add = parser.add_argument
    add("--rounds", type=_positive(int), default=_ROUNDS, metavar="N", help="default: %(default)s")
    add("--seconds", type=_positive(float), default=_SECONDS, metavar="S", help="per sample; default: %(default)s")
    add("--only", nargs="+", choices=campaign.GROUPS, default=campaign.GROUPS, help="default: all")
    add("--size", type=_positive(int), default=_SIZE_MIB, metavar="MIB", help="of a transfer; default: %(default)s")
    add("--workloads", type=_names(workloads), metavar="A,B", help=f"only these: {', '.join(workloads)}")
    add("--peers", type=_names(subjects), metavar="A,B", help="only these besides the floors and ours; '' for none")
    add("--load", choices=("auto", "wrk", "own"), default="auto", help="who asks the servers")
    add("--target", choices=("auto", "nginx", "floor"), default="auto", help="whom the clients ask")
    add("--matrix", action="store_true", help="also print the ratio of each subject to each other")
    add("--json", metavar="FILE", help="write all raw numbers")
    add("--plot", metavar="FILE", help="draw them; needs matplotlib")
    return parser.parse_args()


def _positive(number: Callable[[str], float]) -> Callable[[str], float]:
    def positive(text: str) -> float:
        value = number(text)
        if value <= 0:
            raise argparse.ArgumentTypeError("must be greater than 0")
        return value

    return positive


def _names(known: Iterable[str]) -> Callable[[str], frozenset[str]]:
    def names(text: str) -> frozenset[str]:
        given = frozenset(filter(None, text.split(",")))
        if unknown := given.difference(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
        return given

    return names


def _plan(options: argparse.Namespace) -> Plan:
    # wrk measures whole seconds only; for less, our own generator is the better answer
    may_use_wrk = wrk.is_installed() and options.seconds >= 1
    return Plan(
        groups=tuple(options.only),
        subjects=options.peers,
        workloads=options.workloads,
        rounds=int(options.rounds),
        seconds=float(options.seconds),
        size_mib=int(options.size),
        place=processes.choose_place(),
        use_wrk=options.load == "wrk" or (options.load == "auto" and may_use_wrk),
        use_nginx=options.target == "nginx" or (options.target == "auto" and nginx.is_installed()),
    )


def _conditions(plan: Plan) -> dict[str, str]:
    """What a reader must know to compare these figures with others."""
    versions = ", ".join(f"{name} {version}" for name, version in peers.versions().items())
    place = plan.place
    pinned = "not pinned" if place.measured is None else f"measured on core {place.measured}, load on {place.load}"
    return {
        "machine": f"{platform.platform()}, {_processor()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": versions,
        "cores": pinned,
        "rounds": f"{plan.rounds} of {plan.seconds:g} s; figures are median, min, max over the rounds",
        "load on servers": "wrk, 1 thread, 50 connections" if plan.use_wrk else "benchmarks.load, 50 connections",
        "clients ask": "nginx" if plan.use_nginx else "the floor server",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
