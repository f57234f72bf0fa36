"""The study's file: what is taken up again, what is refused, and what it says at the end."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy
import yaml
from optuna.trial import TrialState

from dvfo_agents.config import load_agent_config
from dvfo_agents.tune import study as module
from dvfo_agents.tune.settings import Settings
from dvfo_agents.tune.spaces import as_params
from dvfo_agents.tune.study import StudyFile, is_shipped, plain_errors
from dvfo_agents.tune.summary import export, summary
from dvfo_env.errors import ConfigError
from tests.tune.studies import settings, told


@pytest.fixture
def chosen(tmp_path: Path) -> Settings:
    return settings(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "studies" / "my.db"


def test_the_first_trial_is_the_configuration_given(chosen: Settings, path: Path) -> None:
    with StudyFile.create(path, chosen) as file:
        first, second = file.next_trial(), file.next_trial()
        assert is_shipped(first)
        assert not is_shipped(second)
        assert first.params == as_params(chosen.ranges, chosen.config)
        assert chosen.trial_config(first.params).model_dump(mode="json") == chosen.config


def test_what_was_cut_off_is_failed_and_repeated_with_the_same_parameters(
    chosen: Settings, path: Path
) -> None:
    with StudyFile.create(path, chosen) as file:
        cut_off = [file.next_trial() for _ in range(2)]
    with StudyFile.open(path, write=True) as file:
        assert file.settings == chosen
        assert file.repeat_cut_off() == 2
        assert file.finished() == []
        again = [file.next_trial() for _ in range(2)]
        assert [t.params for t in again] == [t.params for t in cut_off]
        assert is_shipped(again[0])
        states = [trial.state for trial in file.study.trials]
        assert states == [TrialState.FAIL] * 2 + [TrialState.RUNNING] * 2
        assert file.repeat_cut_off() == 2
        file.next_trial()
    with StudyFile.open(path, write=True) as file:
        file.repeat_cut_off()  # the third attempt at the first was the last one
        errors = [t.user_attrs.get("error") for t in file.finished()]
    assert errors == ["cut off (attempt 3)"]


def test_a_study_taken_up_again_draws_other_points_than_before(chosen: Settings, path: Path) -> None:
    points = []
    with StudyFile.create(path, chosen) as file:
        told(file, [0.1, 0.2])
        points.append(file.study.trials[1].params)
    with StudyFile.open(path, write=True) as file:
        told(file, [0.3])
        points.append(file.study.trials[2].params)
    assert points[0] != points[1]


def test_two_processes_cannot_tune_in_one_study_but_anyone_can_look(chosen: Settings, path: Path) -> None:
    with StudyFile.create(path, chosen):
        with pytest.raises(ConfigError, match="another process is tuning in this study"):
            StudyFile.open(path, write=True)
        with StudyFile.open(path, write=False) as file:
            assert summary(file)["trials"] == []


def test_a_locked_database_is_one_line(chosen: Settings, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT_FOR_LOCK_S", 0.05)
    with StudyFile.create(path, chosen) as file:
        other = sqlite3.connect(path)
        other.execute("BEGIN EXCLUSIVE")
        with (
            pytest.raises(ConfigError, match="another program holds the database locked"),
            plain_errors(path),
        ):
            file.next_trial()
        other.close()


def test_a_full_disk_is_one_line_and_keeps_earlier_trials(chosen: Settings, path: Path) -> None:
    with StudyFile.create(path, chosen) as file:
        told(file, [0.5])
        engine = file.study._storage._backend.engine  # type: ignore[attr-defined]
        with engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        sqlalchemy.event.listen(engine, "connect", lambda c, _: c.execute(f"PRAGMA max_page_count = {pages}"))
        engine.dispose()  # connections from here on cannot make the file grow
        full = pytest.raises(ConfigError, match=r"disk is full.*earlier trials are kept")
        with full, plain_errors(path):
            told(file, [0.1] * 50)
    with StudyFile.open(path, write=False) as file:
        assert summary(file)["trials"][0]["score"] == 0.5


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to be read as a header" * 20])
def test_a_file_that_is_no_study_is_refused(content: bytes, path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a study"):
        StudyFile.open(path, write=False)


def test_a_database_of_somebody_else_is_refused(path: Path) -> None:
    path.parent.mkdir()
    with plain_errors(path):
        module._storage(path).remove_session()
    with pytest.raises(ConfigError, match="holds 0 studies"):
        StudyFile.open(path, write=False)


def test_another_space_or_other_tables_than_at_the_start_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="another search space"):
        _ = settings(tmp_path, space={"gamma": ["Real", 0.0, 0.1, False]}).ranges
    chosen = settings(tmp_path)
    chosen.check_tables()
    changed = chosen.arenas[0].model_copy(update={"tables_sha256": "0" * 64})
    with pytest.raises(ConfigError, match="scenario 'toy' now has other cost tables"):
        chosen.model_copy(update={"arenas": (changed,)}).check_tables()


def test_the_summary_ranks_trials_and_says_where_the_configuration_given_stands(
    chosen: Settings, path: Path
) -> None:
    with StudyFile.create(path, chosen) as file:
        told(file, [0.5, 0.2, None, 0.7, 0.4])
        about = summary(file, best=2)
    assert about["counts"] == {"complete": 4, "stopped": 1, "failed": 0}
    assert [(t["trial"], t["score"]) for t in about["trials"]] == [(3, 0.7), (0, 0.5)]
    assert about["shipped"]["rank"] == 2
    assert about["behind"] == pytest.approx(0.2)
    assert about["importance"] == {}
    assert about["processor_s"] == pytest.approx(1.0)
    (stopped,) = about["stopped"]
    assert (stopped["trial"], stopped["score"], stopped["after_share"]) == (2, 0.0, 0.25)


def test_importance_is_taken_where_enough_trials_came(chosen: Settings, path: Path) -> None:
    with StudyFile.create(path, chosen) as file:
        told(file, [0.5, 0.2, 0.7, 0.4, 0.1, 0.6, 0.3])
        assert summary(file)["importance"] == {}
        told(file, [0.8])
        about = summary(file)
    assert about["importance_after_share"] == 1.0
    assert about["importance_trials"] == 8
    assert set(about["importance"]) == set(chosen.ranges)
    assert sum(about["importance"].values()) == pytest.approx(1.0)


def test_an_exported_file_loads_and_says_where_it_comes_from(chosen: Settings, path: Path) -> None:
    out = path.with_name("best.yaml")
    with StudyFile.create(path, chosen) as file:
        with pytest.raises(ConfigError, match="nothing to export"):
            export(file, out)
        told(file, [0.5, 0.7])
        wanted = chosen.trial_config(file.study.trials[1].params)
        export(file, out)
    head = [line for line in out.read_text().splitlines() if line.startswith("#")]
    assert head[0].startswith("# Trial 1 of study small-ppo-toy, ")
    text = " ".join(line.lstrip("# ") for line in head)
    assert "dvfo tune small-ppo --scenario toy --trials 2 --seconds 0.2" in text
    assert "Mean score 0.700" in text
    assert "set out from: 0.500" in text
    assert "stable_baselines3 " in text
    assert max(map(len, head)) <= 110
    found = load_agent_config(out)
    assert found.n_envs == wanted.n_envs
    assert found.learning_rate == pytest.approx(wanted.learning_rate, rel=1e-3)
    assert yaml.safe_load(out.read_text())["net_arch"] == list(wanted.net_arch)
