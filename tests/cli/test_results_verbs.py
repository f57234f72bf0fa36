"""`dvfo scenarios` and `dvfo validate`: what a scenario offers, and whether results can be had again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dvfo_cli.main import main
from tests.worlds import device, scenario

TOY: dict[str, Any] = {
    "action": {"cuts": ["image", "stem_mixed_3", "fc"], "compression": ["level-1", "level-3"]},
    "episode_requests": 8,
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A toy scenario's file; nothing is kept outside the test's folder."""
    monkeypatch.setenv("DVFO_CACHE", str(tmp_path / "cache"))
    scenario(tmp_path, device(points=2), **TOY)
    return str(tmp_path / "toy.yaml")


def test_scenarios_tells_headroom_evidence_and_every_baseline(
    toy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["scenarios", toy, "--quick", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["name"] == "toy"
    assert row["headroom"]["low"] <= row["headroom"]["mean"] <= row["headroom"]["high"]
    assert 0.0 <= row["measured_share"] <= 1.0
    assert set(row["baselines"]) >= {
        "performance",
        "best-fixed",
        "neurosurgeon-style",
        "planner",
        "clairvoyant",
    }

    assert main(["scenarios", toy, "--quick"]) == 0
    told = capsys.readouterr().out
    assert "toy: Toy scenario" in told
    assert all(f"\n{name} " in told for name in row["baselines"])

    assert main(["scenarios", toy, toy, "--quick"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["scenario", "headroom", "measured"]
    assert table[1] == table[2]
    assert f"{row['headroom']['mean']:.1%}" in table[1]


def test_an_unknown_scenario_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenarios", "no-such-scenario"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_results_replay_and_a_changed_figure_is_found(
    toy: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    told = ["--agents", "performance,all-server", "--seeds", "4", "--out", str(out), "--json"]
    assert main(["evaluate", "--scenario", toy, *told]) == 0
    capsys.readouterr()
    results = out / "results.csv"

    assert main(["validate", str(results), "--sample", "3", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert len(report["lines"]) == 3
    assert main(["validate", str(results)]) == 0
    assert "bit for bit" in capsys.readouterr().out

    header, *lines = results.read_text().splitlines()
    cost = header.split(",").index("cost")
    cells = lines[0].split(",")
    cells[cost] = repr(float(cells[cost]) * 1.001)
    results.write_text("\n".join([header, ",".join(cells), *lines[1:]]) + "\n")
    assert main(["validate", str(results), "--sample", "1000"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "line 2" in error


def test_a_sample_below_one_is_refused() -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["validate", "results.csv", "--sample", "0"])
    assert leaving.value.code == 2
