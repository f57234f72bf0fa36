"""The leaderboard: rows are taken only if they replay, and found out when somebody has been at them."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import dvfo_evaluate
import dvfo_train
from dvfo_agents.kept import keep_policy
from dvfo_cli.main import main
from dvfo_env.errors import CheckpointError, ConfigError, ResultsError
from dvfo_env.scenario import Scenario
from dvfo_env.scenario import load_scenario as load_any
from dvfo_evaluation import leaderboard_check
from dvfo_evaluation.leaderboard import add, check, ranking, read_board
from dvfo_evaluation.results import read_results
from tests.evaluation.worlds import scenario_file

EPISODES = 8


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The toy scenario, in this module one of the release's; evaluations of eight episodes are enough."""
    path = scenario_file(tmp_path_factory.mktemp("world"))

    def load(name: str, **changes: str) -> Scenario:
        return load_any(path if name == "toy" else name, **changes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leaderboard_check, "DEFAULT_SEEDS", EPISODES)
        patch.setattr(leaderboard_check, "list_scenarios", lambda: ("toy",))
        patch.setattr(leaderboard_check, "load_scenario", load)
        yield path


@pytest.fixture(scope="module")
def evaluated(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two trained runs and two evaluations, of the runs and of baselines alone."""
    folder = tmp_path_factory.mktemp("evaluated")
    runs = [folder / f"seed-{seed}" for seed in (0, 1)]
    for seed, run in enumerate(runs):
        arguments = ["--agent", "ppo", "--scenario", str(world), "--seed", str(seed), "--steps", "4096"]
        assert dvfo_train.main([*arguments, "--out", str(run)]) == 0
    few = ["--agents", "powersave", "--seeds", str(EPISODES)]
    assert dvfo_evaluate.main([*map(str, runs), *few, "--out", str(folder / "learned")]) == 0
    assert dvfo_evaluate.main(["--scenario", str(world), *few, "--out", str(folder / "baselines")]) == 0
    return folder


@pytest.fixture(scope="module")
def listed(evaluated: Path) -> Path:
    """The leaderboard in that folder, with one baseline on it."""
    board = evaluated / "leaderboard.csv"
    add(board, evaluated / "baselines" / "results.csv", agents=("powersave",))
    return board


@pytest.fixture
def folder(evaluated: Path, tmp_path: Path) -> Path:
    """A copy of the evaluations that a test may tamper with."""
    for name in ("learned", "baselines"):
        shutil.copytree(evaluated / name, tmp_path / name)
    return tmp_path


def rewrite(path: Path, change: Callable[[dict[str, str]], None]) -> None:
    """Apply `change` to every row of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        fields, rows = list(reader.fieldnames or []), list(reader)
    for row in rows:
        change(row)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def test_learned_agents_are_listed_over_their_seeds_and_replay(folder: Path) -> None:
    board, results = folder / "leaderboard.csv", folder / "learned" / "results.csv"
    with pytest.raises(ResultsError, match="ppo on toy: 2 training seeds, a leaderboard takes 5"):
        add(board, results)
    assert not board.exists()
    (entry,) = add(board, results, name="mine", link="https://example.org/mine", allow_few=True)
    rows = json.loads((folder / "learned" / "results.json").read_text())
    summed = next(row for row in rows if row["agent"] == "ppo (2 seeds)")
    assert entry.score == pytest.approx(summed["score"]["mean"])
    assert (entry.score_low, entry.score_high) == pytest.approx(
        (summed["score"]["low"], summed["score"]["high"])
    )
    assert entry.cost == pytest.approx(summed["cost"]["mean"])
    assert (entry.agent, entry.seeds, entry.few, entry.episodes) == ("mine", 2, "yes", EPISODES)
    assert entry.results == "learned/results.csv"
    assert len(entry.checkpoints.split("; ")) == 2
    assert read_board(board) == [entry]
    assert [row.problem for row in check(board)] == [None]


def test_kept_policies_beside_their_results_replay_wherever_they_are_put(
    evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board, folder = tmp_path / "here" / "leaderboard.csv", tmp_path / "here" / "mine"
    runs = [str(evaluated / f"seed-{seed}") for seed in (0, 1)]
    assert main(["leaderboard", "keep", *runs, "--out", str(folder / "runs")]) == 0
    assert capsys.readouterr().out.count(" kB\n") == 2
    kept = sorted((folder / "runs").iterdir())
    few = ["--agents", "powersave", "--seeds", str(EPISODES)]
    assert dvfo_evaluate.main([*map(str, kept), *few, "--out", str(folder)]) == 0
    costs, original = (
        [row.cost for row in read_results(path / "results.csv")] for path in (folder, evaluated / "learned")
    )
    assert costs == original
    add(board, folder / "results.csv", allow_few=True)
    moved = (tmp_path / "here").rename(tmp_path / "elsewhere")
    assert [row.problem for row in check(moved / "leaderboard.csv")] == [None]
    assert dvfo_train.main(["--out", str(moved / "mine" / "runs" / "seed-0"), "--resume"]) == 2
    assert "holds a policy alone, no training to go on with" in capsys.readouterr().err
    with pytest.raises(CheckpointError, match="is not empty"):
        keep_policy(evaluated / "seed-0", moved)


def test_baselines_are_added_where_nothing_was_learned(folder: Path) -> None:
    board, results = folder / "leaderboard.csv", folder / "baselines" / "results.csv"
    assert {entry.agent for entry in add(board, results)} == {"performance", "best-fixed", "powersave"}
    with pytest.raises(ResultsError, match=r"powersave on toy, uplink .* is listed already"):
        add(board, results, agents=("powersave",))
    add(board, results, agents=("powersave",), replace=True)
    assert [row.problem for row in check(board)] == [None] * 3
    ((_, ranked),) = ranking(read_board(board)).items()
    assert [row.score for row in ranked] == sorted((row.score for row in ranked), reverse=True)
    assert ranking(read_board(board), "elsewhere") == {}


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("score", "0.99", "score is 0.99 in the leaderboard, "),
        ("score_low", "0.98", "score_low is 0.98 in the leaderboard, "),
        ("seeds", "5", "seeds is 5 in the leaderboard, 0 when recomputed"),
        ("tables_sha256", "0" * 64, "tables_sha256 is "),
        ("members", "performance", "agent|score is|cost is"),
        ("members", "nobody", "has no agent with just the rows nobody"),
        ("results", "gone/results.csv", "gone/results.csv is not there"),
        ("results_sha256", "0" * 64, "is another file than when the row was added"),
    ],
)
def test_a_tampered_row_is_found_out_and_named(
    column: str, value: str, problem: str, listed: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    board = folder / "leaderboard.csv"
    shutil.copy(listed, board)
    rewrite(board, lambda row: row.update({column: value}))
    assert main(["leaderboard", "validate", "--board", str(board)]) == 2
    captured = capsys.readouterr()
    line = next(line for line in captured.out.splitlines() if line.startswith("line 2: powersave on toy"))
    assert any(part in line for part in problem.split("|"))
    assert captured.err.splitlines()[-1].endswith("1 of 1 rows do not agree: line 2")


@pytest.mark.parametrize(
    ("agent", "column", "factor", "problem"),
    [
        ("powersave", "cost", 0.9, "powersave on toy, bank 1, episode 2000000: cost is "),
        ("best-fixed", "cost", 1.1, "best-fixed on toy, bank 1, episode 2000000: cost is "),
        ("best-fixed", "bound", 0.9, "best-fixed on toy, bank 1, episode 2000000: bound is "),
        ("powersave", "bound", 0.9, "powersave on toy, bank 1, episode 2000000: bound is "),
    ],
)
def test_tampered_results_do_not_get_in(
    agent: str, column: str, factor: float, problem: str, folder: Path
) -> None:
    board, results = folder / "leaderboard.csv", folder / "baselines" / "results.csv"

    def better(row: dict[str, str]) -> None:
        if row["agent"] == agent:
            row[column] = repr(float(row[column]) * factor)

    rewrite(results, better)
    with pytest.raises(ResultsError, match=problem):
        add(board, results, agents=("powersave",))
    assert not board.exists()


def test_other_tables_episodes_or_scenarios_than_the_release_has_do_not_get_in(folder: Path) -> None:
    board, results = folder / "leaderboard.csv", folder / "baselines" / "results.csv"
    kept = results.read_text()
    for change, problem in (
        ({"tables_sha256": "0" * 64}, "other cost tables than the release's"),
        ({"episode_seed": "2000001"}, "are not the held-out ones"),
        ({"scenario": "mine"}, "scenario 'mine' is none of the release's"),
        ({"uplink": "mine"}, "uplink 'mine' is none of the release's"),
    ):
        rewrite(results, lambda row, change=change: row.update(change))  # type: ignore[misc]
        with pytest.raises(ResultsError, match=problem):
            add(board, results, agents=("powersave",))
        results.write_text(kept)
    results.write_text("\n".join(kept.splitlines()[:-2]) + "\n")
    with pytest.raises(ResultsError, match="are not the held-out ones"):
        add(board, results, agents=("powersave",))


def test_a_run_counted_twice_is_found_out(folder: Path) -> None:
    results = folder / "learned" / "results.csv"
    first = next(row for row in read_results(results) if row.agent == "ppo seed-0")
    costs = {
        (r.bank_seed, r.episode_seed): repr(r.cost) for r in read_results(results) if r.agent == first.agent
    }

    def twice(row: dict[str, str]) -> None:
        if row["agent"] == "ppo seed-1":
            row["cost"] = costs[int(row["bank_seed"]), int(row["episode_seed"])]
            row.update(source=first.source, checkpoint_sha256=first.checkpoint_sha256)

    rewrite(results, twice)
    with pytest.raises(ResultsError, match="two of its runs have the same seed or the same weights"):
        add(folder / "leaderboard.csv", results, allow_few=True)


def test_names_and_links_must_be_usable(folder: Path) -> None:
    board, results = folder / "leaderboard.csv", folder / "baselines" / "results.csv"
    with pytest.raises(ConfigError, match=r"--name: .* holds several agents"):
        add(board, results, name="mine")
    with pytest.raises(ConfigError, match=r"--name: .* is not a name"):
        add(board, results, agents=("powersave",), name="two\nlines")
    with pytest.raises(ConfigError, match=r"--link: .* is not a web address"):
        add(board, results, agents=("powersave",), link="javascript:1")
    with pytest.raises(ResultsError, match="holds no agent 'nobody'; it holds performance"):
        add(board, results, agents=("nobody",))


def test_the_verb_adds_shows_and_validates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = ["--board", str(folder / "leaderboard.csv")]
    results = str(folder / "baselines" / "results.csv")
    assert main(["leaderboard", "show", *board]) == 2
    assert main(["leaderboard", "add", results, "--agents", "powersave,best-fixed", *board]) == 0
    assert "powersave on toy" in capsys.readouterr().out
    assert main(["leaderboard", "show", *board]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("toy, uplink ")
    assert lines[1].split()[:3] == ["agent", "rank", "score"]
    assert lines[2].split()[:2] == ["best-fixed", "1"]
    assert main(["leaderboard", "show", "--json", *board]) == 0
    assert [row["rank"] for row in json.loads(capsys.readouterr().out)] == [1, 2]
    assert main(["leaderboard", "validate", "--json", *board]) == 0
    assert [row["problem"] for row in json.loads(capsys.readouterr().out)] == [None, None]
    assert main(["leaderboard", "show", "--scenario", "default", *board]) == 2
    assert "holds no row on" in capsys.readouterr().err
