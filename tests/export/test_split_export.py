"""Split plans from the command line: what a device and a server share beside the model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dvfo_cli.main import main as dvfo
from dvfo_controller.split.plan import Scaling, read_plan
from dvfo_env.record_yaml import record_yaml
from dvfo_env.workloads.own import card_of_onnx
from tests.split.models import small_network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network and its card beside it."""
    path = tmp_path / "small.onnx"
    path.write_bytes(small_network())
    (tmp_path / "small.yaml").write_text(record_yaml(card_of_onnx(path, "small")), encoding="utf-8")
    return path


def test_a_plan_is_made_of_a_model_its_card_and_pictures(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = card_of_onnx(model, "small")
    _, height, width = card.input_shape
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        np.save(tmp_path / "photos" / f"{i}.npy", rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    command = ["export", str(model), "--workload", str(tmp_path / "small.yaml"), "--json"]
    command += [
        "--images",
        str(tmp_path / "photos"),
        "--bits",
        "8",
        "--mean",
        "124,116,104",
        "--std",
        "58,57,57",
    ]
    assert dvfo([*command, "--out", str(tmp_path / "small.split")]) == 0
    told = json.loads(capsys.readouterr().out)
    plan = read_plan(tmp_path / "small.split")
    assert told["digest"] == plan.digest
    assert told["calibrated_on"] == "3 images"
    assert tuple(cut.name for cut in plan.cuts) == card.cut_names
    assert plan.scaling == Scaling((124.0, 116.0, 104.0), (58.0, 57.0, 57.0))


def test_what_is_missing_or_impossible_is_one_line(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card = ["--workload", str(tmp_path / "small.yaml")]
    for options, message in (
        ([], "name its card with --workload"),
        ([*card, "--images", str(tmp_path / "none")], "holds no image"),
        ([*card, "--mean", "1,2"], "--mean: '1,2': expected 3 numbers"),
        ([*card, "--std", "1,0,1"], "has to be above 0"),
        ([*card, "--bits", "x"], "--bits: 'x': expected numbers"),
    ):
        assert dvfo(["export", str(model), "--out", str(tmp_path / "out"), *options]) == 2
        assert message in capsys.readouterr().err
    assert dvfo(["export", str(tmp_path / "no.onnx"), "--out", str(tmp_path / "out")]) == 2
    assert "is not a file" in capsys.readouterr().err
