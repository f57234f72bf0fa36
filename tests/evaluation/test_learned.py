from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import dvfo_evaluate
import dvfo_train
from dvfo_env.errors import ResultsError
from dvfo_evaluation.contestants import checkpoint_sha256
from dvfo_evaluation.replay import validate
from tests.evaluation.worlds import scenario_file


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("runs")
    world = scenario_file(folder)
    found = []
    for seed in (0, 1):
        run = folder / f"seed-{seed}"
        arguments = ["--agent", "ppo", "--scenario", str(world), "--seed", str(seed), "--steps", "4096"]
        assert dvfo_train.main([*arguments, "--out", str(run)]) == 0
        found.append(run)
    return found


def test_trained_agents_are_judged_on_their_own_scenario_and_replay(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    arguments = [
        *map(str, runs),
        "--agents",
        "planner",
        "--seeds",
        "6",
        "--out",
        str(tmp_path / "out"),
        "--json",
    ]
    assert dvfo_evaluate.main(arguments) == 0
    rows = {row["agent"]: row for row in json.loads(capsys.readouterr().out)}
    assert {"ppo seed-0", "ppo seed-1", "ppo (2 seeds)", "planner"} < set(rows)
    assert rows["ppo (2 seeds)"]["training_seeds"] == 2
    single = [rows[f"ppo seed-{seed}"]["cost"]["mean"] for seed in (0, 1)]
    assert rows["ppo (2 seeds)"]["cost"]["mean"] == pytest.approx(sum(single) / 2.0)
    assert rows["ppo seed-0"]["kind"] == "learned"
    order = list(rows)
    assert set(order[order.index("ppo (2 seeds)") + 1 :][:2]) == {"ppo seed-0", "ppo seed-1"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    headline = page[page.index("<h1>") : page.index("</h1>")]
    assert "seed-0" not in headline
    assert "ppo (2 seeds) costs" in page
    assert validate(tmp_path / "out" / "results.csv", sample=12).rows == 5 * 6


def test_other_weights_than_those_evaluated_are_noticed(runs: list[Path], tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(runs[0], run)
    assert (
        dvfo_evaluate.main(
            [str(run), "--agents", "performance", "--seeds", "4", "--out", str(tmp_path / "out")]
        )
        == 0
    )
    before = checkpoint_sha256(run)
    shutil.rmtree(run / "checkpoints")
    shutil.copytree(runs[1] / "checkpoints", run / "checkpoints")
    assert checkpoint_sha256(run) != before
    with pytest.raises(ResultsError, match="holds other weights now"):
        validate(tmp_path / "out" / "results.csv", sample=100)
