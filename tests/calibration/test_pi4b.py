"""The Raspberry Pi 4B: the clock shape is found again; the shipped profile obeys its laws."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_env.calibration.pi4b import (
    calibrate_pi4b,
    fit_a15_voltage,
    fit_clock_shape,
    read_pose_rows,
)
from dvfo_env.devices import DeviceModel, describe, load_device
from dvfo_env.errors import MeasurementError
from dvfo_env.record_yaml import write_record
from dvfo_env.workloads import load_workload
from tests.measurements import measurements_dir

WORKLOADS = ("inception-v4", "resnet50", "vgg19", "yolov3-tiny")
HEADER = "sdram_freq,cpu_cores,cpu_freq,avg_fps,total_time,mem_limit_kb\n"


def model(workload: str) -> DeviceModel:
    return DeviceModel(load_device("raspberry-pi-4b"), load_workload(workload))


def whole_network_ms(device: DeviceModel, mapping: str) -> np.ndarray:
    return device.head_latency_ms(mapping, device.cpu_mhz, device.gpu_mhz, device.mem_mhz)[-1, :, 0, 0]


def test_a_clock_shape_is_found_again() -> None:
    ghz = np.repeat([0.6, 0.8, 1.0, 1.2, 1.5], 4)
    time_ms = np.where(ghz > 1.3, 300.0, 40.0 + 90.0 / ghz)
    shape = fit_clock_shape(ghz, time_ms)
    assert (shape.t0_ms, shape.c_ms_ghz) == pytest.approx((40.0, 90.0))
    assert shape.points == 16
    assert shape.error_percent == pytest.approx(0.0, abs=1e-6)
    assert shape.all_clocks_percent > 5.0, "the throttled clock is counted there and only there"
    assert shape.fixed_share == pytest.approx(40.0 / (40.0 + 50.0))


def test_two_clocks_are_too_few() -> None:
    with pytest.raises(MeasurementError, match=r"2 clocks up to 1\.2 GHz, 3 are needed"):
        fit_clock_shape(np.array([0.6, 1.0, 1.5]), np.array([3.0, 2.0, 1.0]))


def test_only_four_core_rows_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "rpi-smartcameras-cores-cpu-sdram"
    folder.mkdir()
    file = folder / "pi4b_tf_pose_estimation_results.csv"
    file.write_text(HEADER + "3200,4,1000,8.0,2.1,262144\n3200,2,1000,0.4,21.7,262144\n")
    ghz, time_ms = read_pose_rows(tmp_path)
    assert (ghz.tolist(), time_ms.tolist()) == ([1.0], [125.0])
    file.write_text(HEADER + "3200,4,1000,0.0,2.1,262144\n")
    with pytest.raises(MeasurementError, match="avg_fps must be above 0"):
        read_pose_rows(tmp_path)
    file.write_text("a,b\n1,2\n")
    with pytest.raises(MeasurementError, match="expected columns cpu_cores"):
        read_pose_rows(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"pi4b_tf_pose.*cannot be read"):
        calibrate_pi4b(tmp_path)
    with pytest.raises(MeasurementError, match=r"xu3_.*cannot be read"):
        fit_a15_voltage(tmp_path)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_higher_clock_and_more_cores_are_never_slower(workload: str) -> None:
    device = model(workload)
    assert device.cpu_mhz == tuple(float(mhz) for mhz in range(600, 1501, 100))
    assert device.mappings[0] == "cpu4"
    times = {mapping: whole_network_ms(device, mapping) for mapping in device.mappings}
    for time in times.values():
        assert np.all(np.diff(time) < 0.0)
    assert np.all(times["cpu1"] > times["cpu2"])
    assert np.all(times["cpu2"] > times["cpu4"])


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_later_cut_takes_longer_and_power_rises_with_the_clock(workload: str) -> None:
    device = model(workload)
    head = device.head_latency_ms("cpu4", device.cpu_mhz, device.gpu_mhz, device.mem_mhz)
    assert np.all(np.diff(head, axis=0) >= 0.0)
    energy = device.head_energy_mj("cpu4", device.cpu_mhz, device.gpu_mhz, device.mem_mhz, "board")
    power = energy[-1, :, 0, 0] / head[-1, :, 0, 0]
    assert np.all(np.diff(power) > 0.0)


def test_four_busy_cores_draw_what_the_assumption_says() -> None:
    device = model("resnet50")
    top = (device.cpu_mhz[-1:], device.gpu_mhz, device.mem_mhz)
    watts = (
        device.head_energy_mj("cpu4", *top, "board")[-1, 0, 0, 0]
        / device.head_latency_ms("cpu4", *top)[-1, 0, 0, 0]
    )
    assert watts == pytest.approx(5.4)
    assert device.idle_power_mw(*top, "board")[0, 0, 0] == pytest.approx(2400.0)


def test_only_the_measured_network_is_more_than_assumed() -> None:
    rows = {row["name"]: row for row in describe(load_device("raspberry-pi-4b"))}
    better = {name for name, row in rows.items() if row["evidence"] != "assumed"}
    assert better == {f"latency.resnet50.cpu{n}.cpu_ms_ghz" for n in (1, 4)}
    for name, row in rows.items():
        assert row["source"], name
        if row["evidence"] == "assumed":
            assert row["note"], name
            assert row["low"] <= row["value"] <= row["high"], name


def test_the_shipped_profile_comes_from_the_raw_files(tmp_path: Path) -> None:
    (profile,), report = calibrate_pi4b(measurements_dir())
    assert load_device(write_record(profile, tmp_path / "again.yaml")) == load_device("raspberry-pi-4b")
    assert len(report) == 12
    measured = {(row["workload"], row["mapping"]) for row in report if row["evidence"] == "measured"}
    assert measured == {("resnet50", "cpu1"), ("resnet50", "cpu4")}
    for row in report:
        assert row["shape_error_percent"] < 1.5
        assert row["low_ms"] <= row["ms_1800_mhz"] <= row["high_ms"]


def test_the_law_meets_the_table_at_its_clock() -> None:
    device = model("resnet50")
    for mapping, table_ms in (("cpu4", 262.83), ("cpu1", 534.11)):
        at_table = device.head_latency_ms(mapping, [1800.0], device.gpu_mhz, device.mem_mhz)[-1, 0, 0, 0]
        assert at_table == pytest.approx(table_ms, rel=1e-4)
