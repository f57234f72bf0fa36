"""A board of one's own from the command line: from the points to measure to a scenario that runs on it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from dvfo_cli.main import main
from dvfo_env.devices.library import list_user_devices, load_device
from dvfo_env.scenario import load_scenario
from dvfo_env.tables import compile_scenario
from tests.calibration.board_rows import BOARD, IDLE_MW, cpu_ms, gpu_ms
from tests.cli.test_verbs import printed_json, refused

CLOCKS = [
    option
    for name in ("cpu", "gpu", "mem")
    for option in (f"--{name}-mhz", ",".join(f"{mhz:g}" for mhz in getattr(BOARD, f"{name}_mhz")))
]
SCENARIO = """\
name: mine
title: My board
device: {device}
workload: resnet50
uplink: wifi-campus
server: edge-gpu
accuracy: assumed
requests: {{arrival: periodic, period_ms: 150, deadline_ms: 120}}
objective: {{eta: {eta}, accuracy_weight_per_point: 0.05}}
offload_timeout_ms: 200
"""


@pytest.fixture(autouse=True)
def _own_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))


def measured(tmp_path: Path, power: bool = True) -> Path:
    """The design's points, filled in by the made-up board."""
    file = tmp_path / "points.csv"
    told = ["calibrate", "design", *CLOCKS, "--mapping", "gpu", "--mapping", "cpu:4", "--out", str(file)]
    assert main([*told, "--workload", "resnet50"]) == 0
    rows: list[dict[str, Any]] = list(csv.DictReader(file.read_text().splitlines()))
    kept = []
    for row in rows:
        cpu, gpu, mem = (float(row[f"{name}_mhz"]) for name in ("cpu", "gpu", "mem"))
        if row["mapping"] == "gpu":
            row |= {"latency_ms": gpu_ms(cpu, gpu, mem), "power_mw": IDLE_MW + 600 * cpu / 1600 + 5 * gpu}
        elif row["mapping"] == "cpu":
            row |= {"latency_ms": cpu_ms(4, cpu), "power_mw": IDLE_MW + 2400 * cpu / 1600}
        else:
            row["power_mw"] = IDLE_MW
        if not power:
            row["power_mw"] = ""
        if power or row["mapping"] != "idle":
            kept.append(row)
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(kept)
    return file


def test_from_the_points_to_a_scenario_by_name_and_by_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = measured(tmp_path), tmp_path / "residuals.png"
    capsys.readouterr()
    told = ("calibrate", "csv", str(file), "--name", "my-board", *CLOCKS, "--cores", "cpu=4", "--install")
    made = printed_json(capsys, *told, "--out", str(tmp_path / "here"), "--plot", str(picture))
    assert len(made["written"]) == 3
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert list_user_devices() == ("my-board",)
    again = printed_json(capsys, *told[:5], *CLOCKS, "--against", str(file))["against"]
    assert {(row["quantity"], row["mapping"]) for row in again} == {
        (quantity, mapping) for quantity in ("latency", "power") for mapping in ("gpu", "cpu")
    }
    assert all(row["error_percent"] < 5.0 for row in again)
    assert load_device("my-board") == load_device(tmp_path / "here" / "my-board.yaml")
    assert "already there; --overwrite" in refused(capsys, *told)
    assert printed_json(capsys, *told, "--overwrite")["written"]
    point = ("--cpu-mhz", "1600", "--gpu-mhz", "300", "--mem-mhz", "1200")
    said = printed_json(
        capsys, "predict", "--device", "my-board", "--workload", "resnet50", "--mapping", "gpu", *point
    )
    assert said["latency_ms"] == pytest.approx(gpu_ms(1600.0, 300.0, 1200.0), rel=0.02)
    for device in ("my-board", "here/my-board.yaml"):
        (tmp_path / "mine.yaml").write_text(SCENARIO.format(device=device, eta=0.5))
        assert compile_scenario(load_scenario(tmp_path / "mine.yaml")).choices["mapping"] == ("gpu", "cpu")
    assert "known devices" in refused(
        capsys, "predict", "--device", "nobody", "--workload", "x", "--mapping", "gpu"
    )


@pytest.mark.slow
def test_baselines_run_on_ones_own_board(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = measured(tmp_path)
    assert main(["calibrate", "csv", str(file), "--name", "my-board", *CLOCKS, "--install"]) == 0
    (tmp_path / "mine.yaml").write_text(SCENARIO.format(device="my-board", eta=0.5))
    capsys.readouterr()
    told = (
        "evaluate",
        "--scenario",
        str(tmp_path / "mine.yaml"),
        "--seeds",
        "4",
        "--agents",
        "performance,planner",
    )
    assert main([*told, "--json", "--out", str(tmp_path / "report")]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert "planner" in json.dumps(rows)


def test_without_power_the_profile_is_latency_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = measured(tmp_path, power=False)
    capsys.readouterr()
    assert main(["calibrate", "csv", str(file), "--name", "my-board", *CLOCKS, "--install"]) == 0
    assert "latency only" in capsys.readouterr().out
    assert load_device("my-board").power is None
    hand = ("--idle-mw", "2000", "--busy-mw", "gpu=9000", "--busy-mw", "cpu=5000", "--overwrite", "--install")
    assert main(["calibrate", "csv", str(file), "--name", "my-board", *CLOCKS, *hand]) == 0
    assert load_device("my-board").power


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (["parse", "nvprof", "x"], "'nvprof': not a known tool; known: benchncnn, trtexec"),
        (["parse", "trtexec", "missing.log"], "missing.log: cannot be read"),
        (["parse", "tegrastats", "missing.log"], "--rows CSV says which rows get power"),
        (["parse", "trtexec", "x", "--rename", "a"], "--rename 'a': expected OLD=NEW"),
        (["csv", "missing.csv", "--name", "a"], "missing.csv: cannot be read"),
        (["csv", "missing.csv", "--name", "a", "--busy-mw", "gpu"], "missing.csv"),
        (["design", "--gpu-mhz", "fast"], "--gpu-mhz: 'fast' is not a number"),
        (["design", "--gpu-mhz", "300,100"], "gpu_mhz: Value error, clocks must ascend"),
        (["design", "--clocks", "nobody"], "device 'nobody' is not known"),
        (
            ["design", "--clocks", "phone-pixel4", "--mapping", "dsp"],
            "mapping 'dsp': expected a name that begins",
        ),
        (
            ["design", "--clocks", "phone-pixel4", "--mapping", "mid:4"],
            "4 cores: the board has 3 in cluster mid",
        ),
        (
            ["design", "--clocks", "jetson-tx2", "--mapping", "cpu:"],
            "--mapping 'cpu:': expected NAME or NAME:CORES",
        ),
        (["layers", "vgg19", "--name", "a"], "'vgg19': expected WORKLOAD=FILE"),
        (["layers", "a=b", "--name", "a", "--columns", "gpu:x"], "--columns: 'x' is not a number"),
        (["layers", "a=b", "--name", "a", "--columns", "gpu:1.5"], "--columns: 1.5: expected a whole number"),
        (
            ["layers", "a=b", "--name", "a", "--columns", "big,gpu,big"],
            "--columns: big with 1 cores is there twice",
        ),
    ],
)
def test_a_wrong_option_is_one_line(
    told: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert complaint in refused(capsys, "calibrate", *told)


def test_a_tools_output_becomes_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "resnet50_300_800.log").write_text(
        "------------Executing net------------\nModel Name: net\nFPS:12.50\n"
    )
    told = ["calibrate", "parse", "jetson-benchmarks", str(tmp_path / "resnet50_300_800.log")]
    told += ["--pattern", "{workload}_{gpu_mhz}_{mem_mhz}.log", "--cpu-mhz", "1600"]
    (row,) = printed_json(capsys, *told)
    assert (row["workload"], row["gpu_mhz"], row["latency_ms"]) == ("resnet50", 300.0, 80.0)
    assert main([*told, "--out", str(tmp_path / "rows.csv")]) == 0
    assert "gpu,1,1600,300,800,resnet50,80" in (tmp_path / "rows.csv").read_text()
    assert "already there" in refused(capsys, *told, "--out", str(tmp_path / "rows.csv"))
