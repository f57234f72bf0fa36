"""The search with real workers: to the end, killed and started again, with workers that die."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from optuna.trial import TrialState

from dvfo_agents.tune import search as module
from dvfo_agents.tune.search import Standing, search
from dvfo_agents.tune.study import StudyFile
from dvfo_cli.main import main
from dvfo_env.errors import ConfigError
from tests.agents.small import agent_file
from tests.tune.studies import settings, told


def test_a_search_trains_judges_and_says_how_far_it_is(tmp_path: Path) -> None:
    seen: list[Standing] = []
    with StudyFile.create(tmp_path / "my.db", settings(tmp_path)) as file:
        search(file, 2, 1, seen.append)
        trials = file.finished()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 2
    assert set(trials[0].intermediate_values) == {1, 2, 4}
    assert trials[0].value == pytest.approx((0.5 - trials[0].user_attrs["costs"]["toy"]) / 0.4)
    assert trials[0].user_attrs["seconds"] >= 0.2
    assert trials[0].user_attrs["steps"] > 0
    ended = [standing for standing in seen if standing.ended is not None]
    assert [standing.finished for standing in ended] == [1, 2]
    assert ended[0].ended.startswith("trial 0: score ")
    assert ended[-1].best is not None
    assert ended[-1].left_s == pytest.approx(0.0)


@pytest.mark.slow  # four processes begin one after the other
def test_three_trials_that_fail_in_a_row_end_the_search(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    broken = chosen.arenas[0].scenario.model_copy(update={"device": str(tmp_path / "gone.yaml")})
    arena = chosen.arenas[0].model_copy(update={"scenario": broken})
    with (
        StudyFile.create(tmp_path / "my.db", chosen.model_copy(update={"arenas": (arena,)})) as file,
        pytest.raises(ConfigError, match="3 trials in a row failed; the last: its worker ended"),
    ):
        search(file, 5, 1, lambda standing: None)


def test_a_killed_search_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.db"
    agent = agent_file(tmp_path, "ppo")
    with StudyFile.create(path, settings(tmp_path, seconds=60.0)) as file:
        told(file, [0.4])
    command = [sys.executable, "-m", "dvfo_cli", "tune", str(agent), "--study", str(path), "--trials", "2"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        _wait_for(lambda: _running(path) == 1)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with StudyFile.open(path, write=True) as file:
        assert file.repeat_cut_off() == 1
        assert [t.state for t in file.trials()] == [TrialState.COMPLETE, TrialState.WAITING]

    def instead(file: StudyFile, trials: int, workers: int, watch: object) -> None:
        told(file, [0.6] * (trials - len(file.finished())))

    monkeypatch.setattr(module, "search", instead)
    assert main(["tune", str(agent), "--study", str(path), "--trials", "2", "--json"]) == 0
    captured = capsys.readouterr()
    assert "going on with" in captured.err
    about = json.loads(captured.out)
    assert [(t["trial"], t["score"]) for t in about["trials"]] == [(2, 0.6), (0, 0.4)]


def _running(path: Path) -> int:
    with StudyFile.open(path, write=False) as file:
        return sum(t.state == TrialState.RUNNING and len(t.params) > 10 for t in file.study.trials)


def _wait_for(condition: object, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
