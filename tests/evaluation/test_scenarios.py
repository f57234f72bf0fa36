from __future__ import annotations

import json
from pathlib import Path

import pytest

from dvfo_env.errors import DvfoError
from dvfo_evaluation.pool import Event
from dvfo_evaluation.scenarios import survey
from tests.worlds import device, scenario

TOY = {"workload": "yolov3-tiny", "episode_requests": 20}


@pytest.fixture
def worlds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two scenarios that differ in their time-out; nothing is kept outside the test's folder."""
    monkeypatch.setenv("DVFO_CACHE", str(tmp_path / "cache"))
    files = []
    for name, timeout_ms in (("one", 300.0), ("two", 400.0)):
        (tmp_path / name).mkdir()
        scenario(tmp_path / name, device(points=2), name=name, offload_timeout_ms=timeout_ms, **TOY)
        files.append(tmp_path / name / "toy.yaml")
    return files


def test_the_survey_gives_headroom_evidence_and_the_baselines(worlds: list[Path]) -> None:
    row, again = survey(worlds[:1], quick=True)[0], survey(worlds[:1], quick=True)[0]
    assert row == again
    plain = row.as_json()
    assert {"name", "title", "headroom", "measured_share", "baselines"} <= set(plain)
    assert 0.0 <= plain["measured_share"] <= 1.0
    assert set(plain["headroom"]) == {"mean", "low", "high"}
    assert plain["baselines"]["best-fixed"]["score"] in (0.0, None)
    json.dumps(plain, allow_nan=False)


def test_scenarios_surveyed_side_by_side_give_the_same_rows(
    worlds: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one = survey(worlds, quick=True)
    monkeypatch.setenv("DVFO_CACHE", str(tmp_path / "other-cache"))
    heard: list[str] = []
    beside = survey([*worlds, worlds[0]], True, heard.append, 2)
    assert beside == [*one_by_one, one_by_one[0]]
    assert heard[0] == "0 of 2 scenarios"
    assert heard[2].startswith("2 of 2 scenarios, last ")
    assert len(heard) == 3, "all is on disk: nothing is evaluated again"


def test_a_scenario_that_fails_beside_others_is_named(
    worlds: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "dvfo_evaluation.scenarios.work_off",
        lambda jobs, processes, environment, heard: heard(Event(1, None, error="no memory")),
    )
    with pytest.raises(DvfoError, match="two: no memory"):
        survey(worlds, quick=True, processes=2)
