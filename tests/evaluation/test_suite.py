from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

import dvfo_evaluate
from dvfo_env.errors import ConfigError
from dvfo_evaluation.cell_store import Outcome, load_outcome, store_outcome
from dvfo_evaluation.contest import Contest
from dvfo_evaluation.pool import Event, work_off
from dvfo_evaluation.replay import validate
from dvfo_evaluation.results import read_results
from dvfo_evaluation.sources import sources_digest
from dvfo_evaluation.suite import list_suites, load_suite, suite_scenarios
from dvfo_evaluation.suite_run import Standing, contests, gather, standing
from tests.evaluation.pool_jobs import Job
from tests.evaluation.worlds import scenario_file, trace_file


def suite_file(folder: Path, **changes: object) -> Path:
    """A suite over the toy world in which nothing is trained; returns its path."""
    scenario_file(folder)
    trace_file(folder)
    data: dict[str, object] = {
        "name": "toy-suite",
        "title": "A toy",
        "episodes": 8,
        "scenarios": ["world.yaml"],
        "variants": [
            {"name": "drive", "uplink": "drive.csv"},
            {"name": "off", "perturbed": {"spread": 0.2, "devices": 2, "seed": 1}},
        ],
        "baselines": ["neurosurgeon-style", "clairvoyant"],
    }
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(data | changes), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of results of the toy suite, run through the command line on two processes."""
    folder = tmp_path_factory.mktemp("suite")
    path = suite_file(folder)
    arguments = ["--suite", str(path), "--runs", str(folder / "runs"), "--jobs", "2"]
    assert dvfo_evaluate.main([*arguments, "--out", str(folder / "out")]) == 0
    return folder


def test_a_suite_gives_tables_and_rows_that_replay(outcome: Path) -> None:
    summary = json.loads((outcome / "out" / "suite.json").read_text(encoding="utf-8"))
    assert list(summary["overall"]) == ["own", "drive", "off"]
    own = summary["overall"]["own"]
    assert own["best-fixed"]["mean_score"]["mean"] == pytest.approx(0.0)
    assert own["clairvoyant"]["mean_clairvoyant_share"]["mean"] == pytest.approx(1.0)
    assert summary["failures"] == []
    rows = read_results(outcome / "out" / "results.csv")
    assert len(rows) == 3 * 4 * 8  # variants, contestants (two of them references), episodes
    assert {row.variant for row in rows} == {"own", "drive", "off"}
    assert {bool(row.perturbation) for row in rows if row.variant == "off"} == {True}
    assert len({row.tables_sha256 for row in rows if row.variant == "off"}) == 2
    assert {row.uplink for row in rows if row.variant == "drive"} == {"drive"}
    validate(outcome / "out" / "results.csv", sample=16)


def test_a_second_start_computes_nothing(outcome: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, runs = str(outcome / "suite.yaml"), str(outcome / "runs")
    assert dvfo_evaluate.main(["--suite", path, "--runs", runs, "--dry-run", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["stored"] == len(plan["cells"]) == 15
    assert plan["left_s"] == 0
    assert dvfo_evaluate.main(["--suite", path, "--runs", runs, "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "stored  toy / own / bound"


def test_a_cell_is_the_same_alone_as_in_the_pool(outcome: Path) -> None:
    contest = _contest(outcome, "neurosurgeon-style")
    for place in contest.places:
        stored = contest.outcome(place)
        assert stored is not None
        contest.run(place)
        again = contest.outcome(place)
        np.testing.assert_array_equal(stored.cost_per_request, again.cost_per_request)
        np.testing.assert_array_equal(stored.episodes.latencies_ms, again.episodes.latencies_ms)


def test_perturbed_devices_share_the_episodes_out(outcome: Path) -> None:
    contest = _contest(outcome, "performance")
    own, off = contest.outcome(contest.places[0]), contest.outcome(contest.places[2])
    assert off.told["episodes"] == [4, 4]
    assert sorted(own.episodes.episode_seed) == sorted(off.episodes.episode_seed)


def test_what_goes_into_a_cell_changes_its_key(outcome: Path) -> None:
    first = _contest(outcome, "clairvoyant")
    path = suite_file(outcome / "other", episodes=16)
    more = next(c for c in contests(load_suite(path), outcome) if c.contestant == "clairvoyant")
    keys = [contest.key(place) for contest in (first, more) for place in contest.places]
    assert len(set(keys)) == len(keys) == 6


def test_a_failing_cell_is_named_and_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = suite_file(tmp_path, variants=[], episodes=4)
    planned = [c for c in contests(load_suite(path), tmp_path) if c.contestant != "clairvoyant"]
    state = standing(planned, 1)
    run = Contest.run

    def fails(contest: Contest, place: object) -> None:
        if contest.contestant == "neurosurgeon-style":
            raise ZeroDivisionError("no rate")
        run(contest, place)

    monkeypatch.setattr(Contest, "run", fails)
    for number, contest in enumerate(planned):
        contest.work(number, lambda event, c=contest: state.hear(event, c))
    assert [failure.cell for failure in state.failures] == ["toy / own / neurosurgeon-style"]
    assert state.failures[0].reason.startswith("ZeroDivisionError: no rate (")
    assert state.done == state.total == 4
    arena = gather(load_suite(path), planned, state.keys)["toy", "own"]
    assert set(arena.contestants) == {"performance", "best-fixed"}


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"scenarios": []}, "scenarios"),
        ({"baselines": ["planer"]}, "baselines: 'planer' is not a baseline; known: performance"),
        ({"agents": [{"agent": "ppo"}]}, "agents.0: Value error, needs a budget"),
        ({"agents": [{"agent": "pppo", "steps": 1}]}, "agents: agent 'pppo'"),
        ({"agents": [{"agent": "ppo", "name": "planner", "steps": 1}]}, "is the name of a baseline"),
        ({"variants": [{"name": "own", "uplink": "lte-driving"}]}, "choose another name"),
        ({"variants": [{"name": "nothing"}]}, "changes nothing"),
        ({"variants": [{"name": "x", "perturbed": {"spread": 0.2, "devices": 9}}]}, "more devices than"),
        ({"scenarios": ["world.yaml", "world.yaml"]}, "stands there twice"),
        ({"ours": "pop"}, "ours: 'pop' is neither"),
        ({"colour": "red"}, "colour: unknown key"),
    ],
)
def test_a_suite_that_cannot_be_is_refused_in_one_line(
    change: dict[str, object], problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"suite") as error:
        load_suite(suite_file(tmp_path, **change))
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


def test_a_scenario_may_be_changed_in_a_field_of_a_field(tmp_path: Path) -> None:
    entry = {"name": "slow", "like": "world.yaml", "changes": {"requests": {"period_ms": 300.0}}}
    suite = load_suite(suite_file(tmp_path, scenarios=["world.yaml", entry]))
    slow, toy = (suite_scenarios(suite)[name].requests for name in ("slow", "toy"))
    assert slow == toy.model_copy(update={"period_ms": 300.0})


@pytest.mark.parametrize("name", list_suites())
def test_shipped_suites_load(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert suite_scenarios(suite)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--suite", "nowhere"], "suite 'nowhere': not a shipped suite"),
        (["--suite", "quick", "--seeds", "4"], "--seeds: a suite says itself"),
        (["--suite", "quick", "--jobs", "0"], "--jobs: 0 is below 1"),
        (["runs/x", "--suite", "quick"], "run folders: a suite says itself"),
    ],
)
def test_bad_suite_arguments_are_one_line_and_status_2(
    arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dvfo_evaluate.main(arguments) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1


def test_a_torn_result_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DVFO_CACHE", str(tmp_path))
    store_outcome("abc", Outcome(np.ones(3), None, {"n": 1}))
    whole = load_outcome("abc")
    assert whole is not None
    assert whole.told == {"n": 1}
    file = tmp_path / "cells" / "abc.npz"
    file.write_bytes(file.read_bytes()[:-20])
    assert load_outcome("abc") is None


def test_comments_do_not_change_what_code_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvfo_evaluation import sources

    folder = tmp_path / "agents"
    folder.mkdir()
    monkeypatch.setitem(sources._FOLDERS, "dvfo_agents", folder)
    shared = tmp_path / "controller"
    (shared / "policies").mkdir(parents=True)
    monkeypatch.setitem(sources._FOLDERS, "dvfo_controller", shared)

    def digest(text: str, imported: str = "x = 1\n") -> str:
        (folder / "mine.py").write_text(text, encoding="utf-8")
        (folder / "other.py").write_text(imported, encoding="utf-8")
        (shared / "policies" / "theirs.py").write_text(imported, encoding="utf-8")
        sources._parsed.cache_clear()
        return sources_digest("dvfo_agents.mine")

    plain = digest("from dvfo_agents.other import x\ny = x + 1\n")
    assert digest('"""Told."""\nfrom dvfo_agents.other import x\n\n# why\ny = x + 1\n') == plain
    assert digest("from dvfo_agents.other import x\ny = x + 2\n") != plain
    assert digest("from dvfo_agents.other import x\ny = x + 1\n", "x = 2\n") != plain
    shared_import = "from dvfo_controller.policies.theirs import x\ny = x + 1\n"
    assert digest(shared_import) != digest(shared_import, "x = 2\n")
    sources._parsed.cache_clear()


def test_a_process_that_dies_takes_down_its_own_job_only() -> None:
    heard: list[Event] = []
    work_off([Job("one"), Job("dies"), Job("raises"), Job("two")], 1, {}, heard.append)
    assert [event.part for event in heard] == ["one", None, None, "two"]
    assert heard[1].error == "its process died (exit code 7)"
    assert heard[2].error is not None
    assert heard[2].error.startswith("ValueError: odd (")


def test_time_left_follows_what_cells_took() -> None:
    state = Standing(10, 2, dict.fromkeys(map(str, range(10)), 0.0))  # type: ignore[arg-type]
    before = state.left_s
    for number in range(5):
        state.hear(Event(0, str(number), seconds=100.0), _NoContest())  # type: ignore[arg-type]
    assert state.done == 5
    assert state.left_s == pytest.approx(5 * 100.0 / 2)
    assert state.left_s > before


class _NoContest:
    training_cell = None


def _contest(folder: Path, contestant: str) -> Contest:
    planned = contests(load_suite(folder / "suite.yaml"), folder / "runs")
    return next(contest for contest in planned if contest.contestant == contestant)


def _wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_suite_that_was_stopped_goes_on_with_its_trainings(how: signal.Signals, tmp_path: Path) -> None:
    if how == signal.SIGINT and signal.getsignal(how) == signal.SIG_IGN:  # as in a shell's background job
        pytest.skip("SIGINT is ignored in this process")
    agents = [{"agent": "ppo", "seeds": 1, "steps": 600_000}]
    path = suite_file(tmp_path, agents=agents, variants=[], baselines=[], episodes=4)
    command = [sys.executable, "-m", "dvfo_evaluate", "--suite", str(path), "--jobs", "1"]
    command += ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    begun = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    _wait_for(lambda: any(tmp_path.glob("runs/*/tensorboard/*")))
    time.sleep(2.0)
    begun.send_signal(how)
    assert begun.wait() == (-9 if how == signal.SIGKILL else 130)
    _wait_for(lambda: any(tmp_path.glob("runs/*/checkpoints/*/manifest.json")))
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "ppo" in done.stdout
    (run,) = (tmp_path / "runs").iterdir()
    assert len(json.loads((run / "provenance.json").read_text())) == 2
    assert json.loads((run / "result.json").read_text())["steps"] >= 600_000
