"""The benchmarks run: one very short round, with the floors, with ours as far as it exists, and with h11.

No figure is judged here, only that there are figures and that they add up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # `benchmarks` is not part of the installed package

from benchmarks import accounting, http2, load, plot, processes, report  # noqa: E402
from benchmarks.results import Record, Results, Sample  # noqa: E402
from benchmarks.transfers import TRANSFERS  # noqa: E402
from benchmarks.workloads import WORKLOADS  # noqa: E402

GUARD = 60  # seconds; a run takes about three

pytestmark = [
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the accounts of Linux"),
    pytest.mark.timeout(2 * GUARD),
]


def run(tmp_path: Path, *options: str) -> tuple[str, dict[str, Any]]:
    figures = tmp_path / "figures.json"
    command = [sys.executable, "-m", "benchmarks", "--rounds", "1", "--seconds", "0.1", "--json", str(figures)]
    process = subprocess.Popen([*command, *options], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        written, _ = process.communicate(timeout=GUARD)
    except subprocess.TimeoutExpired:
        process.terminate()  # it ends what it has started
        process.communicate()
        raise
    assert process.returncode == 0
    return written.decode(), json.loads(figures.read_text())


def measured(figures: dict[str, Any]) -> set[tuple[str, str]]:
    return {(record["workload"], record["subject"]) for record in figures["records"]}


def test_servers_are_measured(tmp_path: Path) -> None:
    table, figures = run(tmp_path, "--only", "servers", "--workloads", "hello", "--peers", "")
    assert figures["failures"] == []
    assert {("hello", "floor"), ("hello", "floor-sockets")} <= measured(figures)
    assert all(record["sample"]["requests"] > 0 for record in figures["records"])
    assert all(record["sample"]["cpu_seconds"] > 0 for record in figures["records"])
    assert "CPU µs/request" in table


def test_clients_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("h11")
    options = ("--only", "clients", "--workloads", "one-by-one,pipelined-32", "--peers", "h11", "--target", "floor")
    _, figures = run(tmp_path, *options)
    assert figures["failures"] == []
    expected = {("one-by-one", "floor"), ("one-by-one", "h11"), ("pipelined-32", "floor-sockets")}
    assert expected <= measured(figures)


def test_engines_are_measured(tmp_path: Path) -> None:
    pytest.importorskip("h11")
    _, figures = run(tmp_path, "--only", "engine", "--workloads", "parse-1,exchange-12", "--peers", "h11")
    assert figures["failures"] == []
    assert {("parse-1", "h11"), ("exchange-12", "h11")} <= measured(figures)


def test_transfers_are_measured(tmp_path: Path) -> None:
    table, figures = run(tmp_path, "--only", "transfers", "--size", "4", "--peers", "http.client")
    assert figures["failures"] == []
    expected = {(transfer, name) for transfer in TRANSFERS for name in ("floor-sockets", "gruvihttp", "http.client")}
    assert measured(figures) == expected
    assert "CPU µs/MiB" in table


def test_http2_is_measured(tmp_path: Path) -> None:
    table, figures = run(tmp_path, "--only", "http2", "--peers", "h2", "--workloads", "streams-9,multiplexed,upload")
    assert figures["failures"] == []
    servers = {(task, "gruvihttp") for task in ("multiplexed", "upload") if not http2.missing_tool(task)}
    assert measured(figures) == {("streams-9", "gruvihttp"), ("streams-9", "h2"), *servers}
    assert "CPU µs/request" in table


@pytest.mark.parametrize("name", WORKLOADS)
def test_our_load_accepts_what_the_floor_answers(name: str) -> None:
    with floor_server(name) as port:
        done = load.generate(port, WORKLOADS[name], connections=3, seconds=GUARD, requests=60)
    assert done.requests >= 60


def test_our_load_refuses_other_content() -> None:
    with floor_server("large") as port, pytest.raises(load.LoadError, match="content"):
        load.generate(port, WORKLOADS["hello"], connections=1, seconds=GUARD, requests=1)


@contextmanager
def floor_server(workload: str) -> Iterator[int]:
    port = processes.free_port()
    command = processes.python("benchmarks.servers", "floor", workload, port)
    with processes.listening(command, None, port):
        yield port


@contextmanager
def waiting(program: str) -> Iterator[tuple[int, str]]:
    """Run a program that prints a line and then waits for the end of its input; gives its id and the line."""
    command = [sys.executable, "-c", program + "\nsys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process.pid, process.stdout.readline()
        process.stdin.close()


def test_accounts_hold_what_the_process_itself_has_seen() -> None:
    program = "import sys, time\nwhile time.process_time() < 0.1: pass\nprint(time.process_time(), flush=True)"
    with waiting(program) as (pid, seen):
        assert accounting.cpu_seconds(pid) >= float(seen)


def test_accounts_hold_what_living_children_have_seen() -> None:
    program = (
        "import os, sys, time\n"
        "if not os.fork():\n"
        "    while time.process_time() < 0.1: pass\n"
        "    print(time.process_time(), flush=True)"
    )
    with waiting(program) as (pid, seen):
        assert len(accounting.tree(pid)) == 2
        assert accounting.cpu_seconds(pid) >= float(seen)


def test_accounts_of_an_ended_process_are_refused() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    with pytest.raises(ProcessLookupError):
        accounting.cpu_seconds(process.pid)


def test_a_process_that_fails_says_why_in_one_line() -> None:
    with pytest.raises(processes.Failed, match=r"^ZeroDivisionError: division by zero$"):
        processes.run([sys.executable, "-c", "1 / 0"], None, timeout=GUARD)


def two_rounds() -> Results:
    """Ours costs twice the floor in both rounds, while the machine becomes ten times slower."""
    costs = {"floor": (10.0, 100.0), "gruvihttp": (20.0, 200.0)}
    results = Results(conditions={"machine": "a desk"}, absent=["server y is not measured: no y"])
    for name, both in costs.items():
        for number, cost in enumerate(both, start=1):
            sample = Sample(requests=1000, cpu_seconds=cost * 1e-3, wall_seconds=1.0)
            results.records.append(Record("servers", "hello", name, number, sample))
    return results


def test_ratio_compares_each_round_with_itself() -> None:
    rounds = two_rounds().rounds("servers", "hello")
    assert report.median_ratio(rounds["gruvihttp"], rounds["floor"]) == pytest.approx(2.0)


def test_report_shows_spread_ratios_and_what_is_absent() -> None:
    text = report.render(two_rounds(), {"hello": "a greeting"}, with_matrix=True)
    row = next(line for line in text.splitlines() if line.startswith("gruvihttp")).split()
    assert row == "gruvihttp 110.00 20.00 200.00 1,000 1,000 1,000 11% 2.00 1.00".split()
    assert "server y is not measured: no y" in text
    assert "a greeting" in text


def test_sample_survives_its_line_of_json() -> None:
    sample = Sample(3, 0.5, 1.5)
    assert Sample.from_json(sample.to_json()) == sample


def test_plot_says_in_one_line_what_became_of_it(tmp_path: Path) -> None:
    line = plot.draw(two_rounds(), str(tmp_path / "figures.svg"))
    assert line.startswith(("plot written to", "no plot: "))
    assert "\n" not in line
