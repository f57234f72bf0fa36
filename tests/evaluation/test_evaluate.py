from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import dvfo_evaluate
from dvfo_env.errors import ResultsError
from dvfo_evaluation.arena import Arena, evaluate_scenario, verdict
from dvfo_evaluation.measures import difference
from dvfo_evaluation.replay import validate
from dvfo_evaluation.results import read_results
from dvfo_evaluation.statistics import Bootstrap
from tests.evaluation.worlds import scenario_file, trace_file

CONTRACT = ("cost", "latency_ms", "energy_mj", "accuracy_lost", "deadline_missed", "savings", "score")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenario_file(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def arena(world: Path) -> Arena:
    return evaluate_scenario(world, names=("planner", "clairvoyant", "powersave"), seeds=8, timed=False)


@pytest.fixture(scope="module")
def results(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results")
    arguments = ["--scenario", str(world), "--agents", "planner,random", "--seeds", "6", "--out", str(folder)]
    assert dvfo_evaluate.main(arguments) == 0
    return folder


def test_json_rows_hold_the_promised_keys(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--scenario", str(world), "--agents", "neurosurgeon-style", "--seeds", "4", "--json"]
    assert dvfo_evaluate.main([*arguments, "--out", str(tmp_path)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["agent"] for row in rows][-1] == "bound"
    assert {"performance", "best-fixed", "neurosurgeon-style"} < {row["agent"] for row in rows}
    for row in rows[:-1]:
        assert row["scenario"] == "toy"
        for key in CONTRACT:
            assert row[key] is None or set(row[key]) == {"mean", "low", "high"}, key
        assert row["decision_us"] > 0.0
    assert rows[-1]["cost"]["mean"] <= min(row["cost"]["mean"] for row in rows)


def test_rows_are_sorted_by_cost_and_references_score_zero(arena: Arena) -> None:
    costs = [row.cost.mean for row in arena.rows[:-1]]
    assert costs == sorted(costs)
    by_agent = {row.agent: row.measures for row in arena.rows}
    assert by_agent["performance"]["savings"] == pytest.approx((0.0, 0.0, 0.0))
    assert by_agent["best-fixed"]["score"] == pytest.approx((0.0, 0.0, 0.0))
    assert by_agent["clairvoyant"]["clairvoyant_share"] == pytest.approx((1.0, 1.0, 1.0))
    assert by_agent["bound"]["score"] == pytest.approx((1.0, 1.0, 1.0))


def test_the_first_line_says_so_when_no_learned_policy_beats_the_planner(arena: Arena) -> None:
    import dataclasses

    worse = arena.episodes["powersave"]
    rows = [
        dataclasses.replace(row, agent="ppo run", kind="learned") if row.agent == "powersave" else row
        for row in arena.rows
    ]
    gain = difference([worse], arena.episodes["planner"], Bootstrap(8))
    episodes = {**arena.episodes, "ppo run": worse}
    taught = dataclasses.replace(arena, rows=rows, episodes=episodes, against_planner=gain)
    assert verdict(taught).startswith("No learned policy beats the planner")


def test_a_results_file_replays(results: Path) -> None:
    report = validate(results / "results.csv", sample=7)
    assert report.rows == 4 * 6
    assert len(report.lines) == 7


def test_a_tampered_row_is_named(results: Path, tmp_path: Path) -> None:
    rows = (results / "results.csv").read_text(encoding="utf-8").splitlines()
    column = rows[0].split(",").index("cost")
    cells = next(csv.reader([rows[5]]))
    cells[column] = repr(float(np.nextafter(float(cells[column]), 0.0)))
    rows[5] = ",".join(cells)
    forged = results / "forged.csv"
    forged.write_text("\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(
        ResultsError, match=r"forged.csv: line 6: .*cost is .* in the file, .* when run again"
    ):
        validate(forged, sample=1000)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace("episode_seed", "seed", 1), "column 'episode_seed' is missing"),
        (lambda text: text.splitlines()[0] + "\n", "holds no rows"),
        (lambda text: re.sub(r"200000\d", "two", text, count=1), "line 2: episode_seed: 'two'"),
        (lambda text: text.replace(",baseline,", ",magic,"), "neither 'baseline' nor 'learned'"),
        (lambda text: re.sub(r"[0-9a-f]{64}", "0" * 64, text), "compiles to other numbers now"),
    ],
)
def test_a_broken_results_file_is_refused(change: Callable[[str], str], problem: str, results: Path) -> None:
    text = (results / "results.csv").read_text(encoding="utf-8")
    broken = results / "broken.csv"
    broken.write_text(change(text), encoding="utf-8")
    with pytest.raises(ResultsError, match=re.escape(problem)):
        validate(broken)


def test_numbers_in_the_csv_keep_full_precision(results: Path) -> None:
    text = (results / "results.csv").read_text(encoding="utf-8")
    raw = next(csv.DictReader(text.splitlines()))
    row = read_results(results / "results.csv")[0]
    assert repr(row.cost) == raw["cost"]


def test_a_trace_takes_the_place_of_the_uplink_and_policies_stay_as_they_are(
    world: Path, tmp_path: Path
) -> None:
    trace = trace_file(tmp_path)
    arguments = ["--scenario", str(world), "--agents", "planner", "--seeds", "4", "--uplink", str(trace)]
    assert dvfo_evaluate.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    rows = read_results(tmp_path / "out" / "results.csv")
    assert {row.uplink for row in rows} == {"drive"}
    assert all(row.world_file != row.scenario_file for row in rows)
    validate(tmp_path / "out" / "results.csv", sample=4)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "not the one policies were tuned or trained on" in page


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--agents", "planner,oracle"], "--agents: 'oracle' is not a baseline; known: performance"),
        (["--seeds", "1"], "--seeds: 1 is not between 2 and 65536"),
        (["--scenario", "nowhere"], "nowhere"),
        (["--uplink", "nowhere.csv"], "--uplink: nowhere.csv: no such file"),
        (["no-such-run"], "no-such-run"),
    ],
)
def test_bad_input_is_one_line_and_status_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dvfo_evaluate.main(arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, dvfo_evaluate; dvfo_evaluate.build_parser().format_help();"
        "print([m for m in ('torch', 'numba', 'numpy', 'matplotlib', 'gymnasium') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
