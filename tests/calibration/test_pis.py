"""The Raspberry Pis: clock laws are found again and hold on unseen clock pairs; profiles obey them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from dvfo_env.calibration.ncnn_tables import read_ncnn_tables, select_run
from dvfo_env.calibration.pi.fit import calibrate_pis
from dvfo_env.calibration.pi.pose import (
    PoseRows,
    fit_cpu_law,
    fit_pose_law,
    read_pose_rows,
    repeat_spread_percent,
)
from dvfo_env.calibration.pi.power import fit_a15_voltage, fit_core_share, fit_pi5_rail
from dvfo_env.devices import DeviceModel, describe, load_device
from dvfo_env.devices.profile import ClockLaw
from dvfo_env.errors import ConfigError, MeasurementError
from dvfo_env.record_yaml import write_record
from dvfo_env.workloads import load_workload
from tests.measurements import measurements_dir

PIS = ("raspberry-pi-2b", "raspberry-pi-3b-plus", "raspberry-pi-4b", "raspberry-pi-5", "raspberry-pi-zero-2w")
CLOCKED = tuple(name for name in PIS if name != "raspberry-pi-5")
HEADER = "sdram_freq,cpu_cores,cpu_freq,avg_fps,total_time,mem_limit_kb\n"


def model(device: str, workload: str = "resnet50") -> DeviceModel:
    return DeviceModel(load_device(device), load_workload(workload))


def whole_network_ms(device: DeviceModel, mapping: str) -> np.ndarray:
    return device.head_latency_ms(mapping, device.cpu_mhz, device.gpu_mhz, device.mem_mhz)[-1, :, 0, 0]


def grid(time_ms: object = None) -> PoseRows:
    """Every combination of 1, 2, 4 cores, four CPU and three SDRAM clocks, with a law's times."""
    cores, cpu, sdram = (
        axis.ravel() for axis in np.meshgrid([1.0, 2.0, 4.0], [0.6, 0.7, 0.9, 1.0], [0.2, 0.3, 0.45])
    )
    return PoseRows(cores, cpu, sdram, 300.0 + 800.0 / (cores**0.8 * cpu) + 60.0 / sdram)


def test_a_pose_law_is_found_again_and_holds_on_unseen_pairs() -> None:
    law = fit_pose_law(grid(), "all")
    assert (law.t0_ms, law.cpu_ms_ghz, law.mem_ms_ghz) == pytest.approx((300.0, 800.0, 60.0), rel=1e-3)
    assert law.core_exponent == pytest.approx(0.8, rel=1e-3)
    assert law.holdout_error_percent == pytest.approx(0.0, abs=0.01)
    part = law.shares(4, 1.0, 0.45)
    assert sum(part) == pytest.approx(1.0)
    assert part.memory == pytest.approx(60.0 / 0.45 / law.latency_ms(4, 1.0, 0.45), rel=1e-3)


def test_too_few_clocks_are_refused() -> None:
    rows = grid()
    with pytest.raises(MeasurementError, match="2 CPU and 3 SDRAM clocks, 3 and 2 are needed"):
        fit_pose_law(rows.where(rows.cpu_ghz < 0.75), "few")
    with pytest.raises(MeasurementError, match=r"2 clocks up to 0\.8 GHz"):
        fit_cpu_law(rows, 0.8, "few")


def test_a_throttled_clock_is_counted_only_in_the_error_over_all_clocks() -> None:
    ghz = np.repeat([0.6, 0.8, 1.0, 1.2, 1.5], 4)
    time_ms = np.where(ghz > 1.3, 300.0, 40.0 + 90.0 / ghz)
    law = fit_cpu_law(PoseRows(np.full(20, 4.0), ghz, np.full(20, 3.2), time_ms), 1.2, "cool")
    assert (law.t0_ms, law.cpu_ms_ghz, law.points) == pytest.approx((40.0, 90.0, 16))
    assert law.error_percent == pytest.approx(0.0, abs=1e-6)
    assert law.scope.startswith("cool. To 1.5 GHz, where the board throttled, the error is")


def test_repeats_that_agree_have_no_spread() -> None:
    rows = grid()
    assert repeat_spread_percent(rows) == 0.0
    twice = PoseRows(*(np.concatenate([column, column]) for column in rows))
    off = twice._replace(time_ms=twice.time_ms * np.repeat([0.9, 1.1], len(rows.time_ms)))
    assert repeat_spread_percent(off) == pytest.approx(10.0)


def test_malformed_pose_rows_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "rpi-smartcameras-cores-cpu-sdram"
    folder.mkdir()
    file = folder / "pi0_tf_pose_estimation_results.csv"
    file.write_text(HEADER + "450,4,1000,8.0,2.1,262144\n")
    assert [column.tolist() for column in read_pose_rows(tmp_path, "pi0")] == [[4.0], [1.0], [0.45], [125.0]]
    file.write_text(HEADER + "450,4,1000,0.0,2.1,262144\n")
    with pytest.raises(MeasurementError, match="avg_fps must be above 0"):
        read_pose_rows(tmp_path, "pi0")
    file.write_text("a,b\n1,2\n")
    with pytest.raises(MeasurementError, match="expected columns cpu_cores"):
        read_pose_rows(tmp_path, "pi0")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match=r"ncnn_benchmark.*cannot be read"):
        calibrate_pis(tmp_path)
    with pytest.raises(MeasurementError, match=r"xu3_.*cannot be read"):
        fit_a15_voltage(tmp_path)
    with pytest.raises(MeasurementError, match=r"dataset\.parquet: cannot be read"):
        fit_pi5_rail(tmp_path)


def test_a_malformed_power_file_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "odroidxu3-armpm-a15-power"
    folder.mkdir()
    file = folder / "xu3_cset_perfcpu_PARSEC_eMMC_1core_big.data.gz"
    file.write_bytes(gzip.compress(b"#head\nfew\tcolumns\n"))
    with pytest.raises(MeasurementError, match="expected nine columns"):
        fit_core_share(tmp_path)
    file.write_bytes(gzip.compress(b"#head\n1\tp\t1\t1000\t30\t0.9\t0\t0.01\t5\n"))
    with pytest.raises(MeasurementError, match="no busy row"):
        fit_core_share(tmp_path)


@pytest.mark.parametrize("name", CLOCKED)
def test_a_higher_clock_and_more_cores_are_never_slower(name: str) -> None:
    profile = load_device(name)
    for workload in profile.latency:
        device = DeviceModel(profile, load_workload(workload))
        assert device.mappings[0] == "cpu4"
        times = {mapping: whole_network_ms(device, mapping) for mapping in device.mappings}
        for time in times.values():
            assert np.all(np.diff(time) < 0.0)
        assert np.all(times["cpu1"] > times["cpu2"])
        assert np.all(times["cpu2"] > times["cpu4"])


@pytest.mark.parametrize(
    ("name", "clocks"),
    [
        ("raspberry-pi-2b", (600, 900)),
        ("raspberry-pi-3b-plus", (600, 1400)),
        ("raspberry-pi-4b", (600, 1500)),
        ("raspberry-pi-zero-2w", (600, 1000)),
    ],
)
def test_operating_points_are_the_boards(name: str, clocks: tuple[int, int]) -> None:
    device = model(name)
    assert device.cpu_mhz == tuple(float(mhz) for mhz in range(clocks[0], clocks[1] + 1, 100))
    assert device.gpu_mhz == (0.0,)


def test_the_sdram_clock_is_pinned_but_its_law_reaches_further() -> None:
    device = model("raspberry-pi-zero-2w")
    assert device.mem_mhz == (450.0,)
    slow, fast = device.head_latency_ms("cpu4", [1000.0], [0.0], [200.0, 450.0])[-1, 0, 0]
    assert 1.1 < slow / fast < 1.4


def test_the_pi_5_has_one_clock_and_a_metered_rail() -> None:
    device = model("raspberry-pi-5")
    assert device.cpu_mhz == (2400.0,)
    assert set(device.mappings) == {"cpu1", "cpu2", "cpu4", "gpu"}
    clocks = ([2400.0], [0.0], [0.0])
    time_ms = whole_network_ms(device, "cpu1")[0]
    rail = device.head_energy_mj("cpu1", *clocks, "rails")[-1, 0, 0, 0]
    assert rail / time_ms == pytest.approx(0.75 + 1.562, rel=0.01)
    assert device.head_energy_mj("cpu1", *clocks, "board")[-1, 0, 0, 0] > rail


def test_rails_are_refused_where_nobody_metered_them() -> None:
    device = model("raspberry-pi-4b")
    with pytest.raises(ConfigError, match="energy 'rails' is not known here"):
        device.idle_power_mw([600.0], [0.0], [0.0], "rails")


@pytest.mark.parametrize("name", PIS)
def test_every_coefficient_says_where_it_comes_from(name: str) -> None:
    for row in describe(load_device(name)):
        assert row["source"], row["name"]
        if row["evidence"] == "assumed":
            assert row["note"], row["name"]
            assert row["low"] <= row["value"] <= row["high"], row["name"]
        if row["evidence"] == "fitted":
            assert row["error_percent"] is not None, row["name"]
            assert row["holdout_error_percent"] is not None, row["name"]


@pytest.mark.parametrize("name", PIS)
def test_only_the_twin_board_has_no_network_of_its_own(name: str) -> None:
    profile = load_device(name)
    laws = [law for by_mapping in profile.latency.values() for law in by_mapping.values()]
    own = [law for law in laws if getattr(law, "anchor", None) or getattr(law, "evidence", "") == "measured"]
    assert bool(own) == (name != "raspberry-pi-2b")
    assert "resnet50" in profile.latency
    assert len(profile.latency) >= 3


def test_one_reading_of_the_whole_board_is_met_by_four_cores() -> None:
    for name, watts in (("raspberry-pi-4b", 5.4), ("raspberry-pi-3b-plus", 5.1), ("raspberry-pi-2b", 2.1)):
        device = model(name)
        clocks = (device.cpu_mhz[-1:], device.gpu_mhz, device.mem_mhz)
        energy = device.head_energy_mj("cpu4", *clocks, "board")[-1, 0, 0, 0]
        assert energy / whole_network_ms(device, "cpu4")[-1] == pytest.approx(watts, rel=1e-3)


def test_the_laws_pass_through_the_tables() -> None:
    tables = read_ncnn_tables(measurements_dir())
    headings = {
        "raspberry-pi-zero-2w": ("Raspberry Pi Zero 2 W", 1000.0),
        "raspberry-pi-3b-plus": ("Raspberry Pi 3 Model B+", 1400.0),
        "raspberry-pi-4b": ("Raspberry Pi 4 Model B", 1800.0),
    }
    for name, (heading, mhz) in headings.items():
        device = model(name)
        for threads in (1, 4):
            row = select_run(tables, heading, threads=threads)["resnet50"]
            law = device.profile.latency["resnet50"][f"cpu{threads}"]
            assert isinstance(law, ClockLaw)
            assert law.anchor is not None
            assert law.anchor.latency.value == row.avg_ms
            found = device.head_latency_ms(f"cpu{threads}", [mhz], [0.0], device.mem_mhz)[-1, 0, 0, 0]
            assert found == pytest.approx(row.avg_ms, rel=1e-4)


@pytest.mark.parametrize(("board", "reached"), [("pi0", 7.0), ("pi2b", 7.0)])
def test_unseen_clock_pairs_are_within_seven_percent(board: str, reached: float) -> None:
    law = fit_pose_law(read_pose_rows(measurements_dir(), board), "all")
    assert law.holdout_error_percent <= reached
    assert "clock pairs" in law.holdout_method


def test_the_a15_splits_a_busy_core_alike_at_every_clock() -> None:
    share = fit_core_share(measurements_dir())
    low, high = share.share_range
    assert high - low < 0.03
    assert low <= share.cluster_share <= high
    assert share.holdout_error_percent < 10.0


def test_the_pi_5_rail_is_a_line_in_time() -> None:
    pytest.importorskip("pyarrow", reason="reads Parquet")
    laws = {law.runtime: law for law in fit_pi5_rail(measurements_dir())}
    assert laws["litert"].watts == pytest.approx(1.56, abs=0.01)
    assert laws["litert"].holdout_error_percent < 5.0
    assert laws["onnx"].holdout_error_percent < 10.0


def test_the_shipped_profiles_come_from_the_raw_files(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="reads Parquet")
    profiles, report = calibrate_pis(measurements_dir())
    assert [profile.name for profile in profiles] == sorted((*PIS, "raspberry-pi-5-pinned"))
    for profile in profiles:
        assert load_device(write_record(profile, tmp_path / "again.yaml")) == load_device(profile.name)
    pose = {row["device"]: row for row in report if "core_exponent" in row}
    assert pose["raspberry-pi-zero-2w"]["holdout_error_percent"] <= 7.0
    assert pose["raspberry-pi-2b"]["holdout_error_percent"] <= 7.0
    for row in report:
        if "workload" in row:
            assert row["low_ms"] <= row["latency_ms"] <= row["high_ms"], row
