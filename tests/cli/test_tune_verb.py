"""`dvfo tune`: what it refuses, in one line, and what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dvfo_agents.tune.study import StudyFile
from dvfo_cli.main import main
from tests.agents.small import agent_file
from tests.tune.studies import settings, told


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    with StudyFile.create(folder / "my.db", settings(folder)) as file:
        told(file, [0.5, 0.6, None])
    agent_file(folder, "ppo")
    return folder / "my.db"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["nobody"], "agent 'nobody': not a shipped agent"),
        (["ppo", "--scenario", "nowhere", "--study", "new.db"], "nowhere"),
        (["show"], "--study: name the file; there are: none in"),
        (["show", "--study", "gone.db"], "gone.db: no such study"),
        (["show", "--study", "my.db", "--trials", "3"], "--trials: does not go with dvfo tune show"),
        (["ppo", "--out", "x.yaml"], "--out: does not go with dvfo tune ppo"),
        (["export", "--study", "my.db"], "--out: name the .yaml file to write"),
        (["export", "--study", "my.db", "--out", "x.txt"], "--out: x.txt does not end in .yaml"),
        (["export", "--study", "my.db", "--out", "my.db/x.yaml"], "cannot be made"),
        (["sac", "--study", "my.db"], "my.db: is a study with agent small-ppo, not sac"),
        (["small-ppo.yaml", "--study", "my.db", "--seconds", "9"], "with --seconds 0.2, not 9.0"),
        (["small-ppo.yaml", "--study", "my.db", "--scenario", "default"], "with scenario toy, not"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_2(
    arguments: list[str],
    problem: str,
    study: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(study.parent)
    monkeypatch.setenv("XDG_DATA_HOME", str(study.parent / "data"))
    assert main(["tune", *arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert problem in lines[-1]
    assert all(line.startswith("new study: ") for line in lines[:-1])


def test_show_ranks_the_configuration_given_among_the_others(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", "show", "--study", str(study)]) == 0
    told = capsys.readouterr().out
    assert "2 trials complete, 1 stopped early, 0 failed" in told
    assert told.splitlines()[1].split() == ["importance", "as", "given", "trial", "1", "trial", "2"]
    assert "number 2 of 2 complete trials, 0.100 behind" in told
    assert main(["tune", "show", "--study", str(study), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shipped"]["score"] == 0.5


def test_export_writes_an_agent_file(study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "best.yaml"
    assert main(["tune", "export", "--study", str(study), "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"{out}: trial 1, score 0.600\n"
    assert out.read_text().startswith("# Trial 1 of study small-ppo-toy")
