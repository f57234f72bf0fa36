"""The Jetson TX2 calibration against the raw measurements; skipped where they are missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dvfo_env.calibration.tx2.fit import calibrate_tx2
from dvfo_env.calibration.tx2.readers import read_keras_grid, read_latency_grid, read_tegrastats
from dvfo_env.devices import load_device
from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import MeasurementError
from dvfo_env.record_yaml import write_record
from tests.calibration.tx2_errors import validate_tx2
from tests.measurements import measurements_dir

Calibrated = tuple[DeviceProfile, dict[tuple[str, str], dict[str, Any]]]


@pytest.fixture(scope="module")
def measurements() -> Path:
    return measurements_dir()


@pytest.fixture(scope="module")
def calibrated(measurements: Path) -> Calibrated:
    (profile, _), rows = calibrate_tx2(measurements)
    return profile, {(row["part"], row["name"]): row for row in rows}


@pytest.mark.parametrize("workload", ["inception-v4", "vgg19", "yolov3-tiny"])
def test_tensorrt_latency_holds_out_below_one_percent(calibrated: Calibrated, workload: str) -> None:
    row = calibrated[1]["latency, TensorRT", workload]
    assert row["points"] == 52
    assert row["holdout_error_percent"] <= 1.0
    assert row["holdout_worst_percent"] <= 1.0


def test_six_points_are_enough_for_resnet50(calibrated: Calibrated) -> None:
    row = calibrated[1]["latency, TensorRT", "resnet50"]
    assert row["points"] == 6
    assert row["holdout_error_percent"] < 1.0


def test_keras_latency_holds_out_below_nine_percent(calibrated: Calibrated) -> None:
    rows = [row for (part, _), row in calibrated[1].items() if part == "latency, Keras"]
    assert len(rows) == 6
    assert all(row["holdout_error_percent"] < 9.0 for row in rows)


def test_board_power_holds_out_below_five_percent(calibrated: Calibrated) -> None:
    rows = calibrated[1]
    assert rows["power", "board, mixed"]["points"] == 52
    assert rows["power", "board, mixed"]["holdout_error_percent"] <= 5.0
    assert rows["power", "board, vgg19"]["holdout_error_percent"] <= 2.0


def test_the_thermal_node_follows_the_log(calibrated: Calibrated) -> None:
    thermal = calibrated[0].thermal
    assert thermal is not None
    assert 20.0 < thermal.ambient_c.value < 35.0
    assert "follows the log to 0.29 C" in str(thermal.time_constant_s.note)


def test_the_shipped_profile_regenerates_from_the_raw_files(calibrated: Calibrated, tmp_path: Path) -> None:
    again = load_device(write_record(calibrated[0], tmp_path / "again.yaml"))
    assert again == load_device("jetson-tx2")


def test_the_shipped_profile_validates_against_the_raw_files(measurements: Path) -> None:
    rows = {
        (row["quantity"], row["name"]): row for row in validate_tx2(load_device("jetson-tx2"), measurements)
    }
    for workload in ("inception-v4", "vgg19", "yolov3-tiny", "resnet50"):
        assert rows["latency_ms", workload]["error_percent"] < 1.0
    assert rows["power_mw", "board, vgg19"]["error_percent"] < 2.0
    assert rows["energy_mj", "board, vgg19"]["error_percent"] < 2.0
    assert rows["idle_power_mw", "board, quiet"]["worst_percent"] < 0.1


def test_busy_lines_are_classed_by_their_own_clock(measurements: Path) -> None:
    log = read_tegrastats(measurements, vgg=True)
    busy = (log.gpu_load >= 0.9) & (log.gpu_mhz == 114)
    assert log.board_mw[busy].mean() == pytest.approx(5250.0, rel=0.01)


def test_missing_measurements_are_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"no files vgg19_\*_output.txt"):
        read_latency_grid(tmp_path, "vgg19")
    with pytest.raises(MeasurementError, match="cannot be read"):
        read_keras_grid(tmp_path, "xception_200x200")
    with pytest.raises(MeasurementError, match="no files"):
        calibrate_tx2(tmp_path)


def test_torn_measurements_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "tx2-thynics-gpu-emc-rails"
    (folder / "data_transfer_all").mkdir(parents=True)
    (folder / "data_transfer_all" / "vgg19_114750000_1866000000_output.txt").write_text("Exec Start: 1\n")
    (folder / "vgg_tegrastats_114750000_cumulative.txt").write_text("RAM 1/2MB\n")
    with pytest.raises(MeasurementError, match="no latency line"):
        read_latency_grid(tmp_path, "vgg19")
    with pytest.raises(MeasurementError, match="only 0 tegrastats lines"):
        read_tegrastats(tmp_path, vgg=True)
