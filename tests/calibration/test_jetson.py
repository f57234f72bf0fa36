"""The Jetson calibration against the raw measurements; skipped where they are missing."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvfo_env.calibration.jetson import triton
from dvfo_env.calibration.jetson.boards import BOARDS
from dvfo_env.calibration.jetson.fit import calibrate_jetsons
from dvfo_env.calibration.jetson.power import read_power_modes
from dvfo_env.devices import load_device
from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.errors import MeasurementError
from dvfo_env.record_yaml import record_yaml
from tests.measurements import measurements_dir

Calibrated = tuple[dict[str, DeviceProfile], dict[tuple[str, str, str], dict[str, Any]]]


@pytest.fixture(scope="module")
def measurements() -> Path:
    return measurements_dir()


@pytest.fixture(scope="module")
def calibrated(measurements: Path) -> Calibrated:
    profiles, rows = calibrate_jetsons(measurements)
    by_name = {profile.name: profile for profile in profiles}
    return by_name, {(row["device"], row["part"], row["name"]): row for row in rows}


@pytest.mark.parametrize("board", ["jetson-agx-xavier", "jetson-nano"])
@pytest.mark.parametrize(
    ("part", "name"),
    [
        ("latency", "mobilenet-v2, Triton"),
        ("latency", "batches 1-32, clocks held out"),
        ("latency", "batches 1-32, batches held out"),
        ("power", "wall socket, batch 1"),
        ("wall power", "batches 1-32, clocks held out"),
        ("wall power", "batches 1-32, batches held out"),
    ],
)
def test_triton_grids_hold_out_within_five_percent(
    calibrated: Calibrated, board: str, part: str, name: str
) -> None:
    assert calibrated[1][board, part, name]["holdout_error_percent"] <= 5.0


def test_the_shipped_profiles_regenerate_from_the_raw_files(calibrated: Calibrated) -> None:
    pinned = {f"{board.name}-pinned" for board in BOARDS if board.triton}
    assert set(calibrated[0]) == {board.name for board in BOARDS} | pinned
    for name, profile in calibrated[0].items():
        assert record_yaml(profile) == record_yaml(load_device(name)), name


def test_settled_power_is_not_diluted_by_the_meters_lag(measurements: Path) -> None:
    grid = triton.read_triton(measurements, "nano")
    top = (grid.gpu_ghz > 0.92) & (grid.batch == 1)
    assert grid.wall_w[top] == pytest.approx(8.1, abs=0.1)
    assert grid.idle_w == pytest.approx(2.15, abs=0.1)
    assert len(grid.wall_w) == 59


def test_the_soft_maximum_follows_retinanet_over_the_power_modes(calibrated: Calibrated) -> None:
    row = calibrated[1]["jetson-xavier-nx", "latency", "retinanet, 1 instance, nine power modes"]
    assert row["holdout_error_percent"] < 2.0


def test_torn_measurements_are_named(measurements: Path, tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"batch_1_power\.csv: cannot be read"):
        triton.read_triton(tmp_path, "agx")
    with pytest.raises(MeasurementError, match="cannot be read"):
        read_power_modes(tmp_path)
    source = measurements / triton.FOLDER / "agx"
    torn = tmp_path / triton.FOLDER / "agx"
    torn.mkdir(parents=True)
    for file in source.glob("batch_*.csv"):
        shutil.copyfile(file, torn / file.name)
    (torn / "batch_2_power.csv").write_text("1632800710878,x\n")
    with pytest.raises(MeasurementError, match=r"batch_2_power\.csv: expected 'unix ms,watts'"):
        triton.read_triton(tmp_path, "agx")
    (torn / "batch_2_power.csv").write_text("1,9.0\n")
    with pytest.raises(MeasurementError, match="nothing during the run at 114750000"):
        triton.read_triton(tmp_path, "agx")


def test_fits_find_the_parameters_of_a_made_grid() -> None:
    gpu, batch = (axis.ravel() for axis in np.meshgrid(np.linspace(0.1, 1.4, 12), [1.0, 4.0, 16.0]))
    power = triton.WallPower(3.0, 5.0, 0.5, 0.8, 0.1)
    latency = triton.BatchLatency(1.0, 0.2, 2.0, 2.5, 1.0, 1.5, 3.0)
    grid = triton.TritonGrid(gpu, batch, latency.predict(gpu, batch), power.predict(gpu, batch), 3.0)
    assert triton.fit_wall_power(grid, batches=True) == pytest.approx(power, rel=0.02)
    found = triton.fit_batch_latency(grid).predict(gpu, batch)
    assert found == pytest.approx(grid.latency_ms, rel=0.002)


def test_a_law_that_shares_its_voltage_curve_with_other_batches_is_found_again() -> None:
    clocks = np.linspace(0.1, 1.4, 14)
    gpu, batch = (axis.ravel() for axis in np.meshgrid(clocks, [1.0, 8.0, 32.0], indexing="ij"))
    watts = triton.WallPower(10.0, 9.0, 0.3, 0.9, 0.1).predict(gpu, batch)
    grid = triton.TritonGrid(gpu, batch, np.ones_like(gpu), watts, 3.0)
    assert triton.fit_wall_power_jointly(grid) == pytest.approx((10.0, 9.0, 0.3, 0.9, 0.0), rel=0.02)
    assert triton.joint_wall_power_errors(grid).holdout < 0.5


def test_every_held_out_split_of_wall_power_is_within_five_per_cent(calibrated: Calibrated) -> None:
    for device in ("jetson-agx-xavier", "jetson-nano"):
        row = calibrated[1][device, "power", "wall socket, batch 1"]
        assert row["holdout_worst_percent"] < 5.0
