"""What a board has is found, whatever the board and its system release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dvfo_controller.board import Board
from dvfo_env.hardware.clocks import DOMAINS
from dvfo_env.hardware.sysfs import SysFs
from tests.controller.trees import MACHINES, NANO, PHONE, build
from tests.hardware.trees import ReadOnlySysFs, write

Top = tuple[int, float]
RAPL = "sys/class/powercap/intel-rapl:0/energy_uj"


def found(name: str, folder: Path) -> Board:
    return Board.discover(build(MACHINES[name], folder))


@pytest.mark.parametrize(
    ("name", "cpu", "gpu", "memory"),
    [
        ("nano", (15, 1479.0), (12, 921.6), (2, 1600.0)),
        ("tx2", (12, 2035.2), (13, 1300.5), (2, 1866.0)),
        ("xavier-nx", (25, 1907.2), (15, 1109.25), (7, 1600.0)),
        ("orin", (20, 1510.4), (5, 624.75), (3, 2133.0)),
        ("raspberry-pi", (10, 1500.0), None, None),
        ("phone", (9, 1996.8), (4, 430.0), None),
        ("laptop", (4, 4700.0), None, None),
    ],
)
def test_clocks_are_found_with_how_many_and_the_highest(
    tmp_path: Path, name: str, cpu: Top, gpu: Top | None, memory: Top | None
) -> None:
    board = found(name, tmp_path)
    for domain, expected in zip(DOMAINS, (cpu, gpu, memory), strict=True):
        axis = board.knobs[domain]
        assert axis.settable == (expected is not None), axis.reason
        assert expected is None or (len(axis.mhz), axis.mhz[-1]) == expected


@pytest.mark.parametrize("name", ["xavier-nx", "xavier-nx-jetpack-5"])
def test_rails_are_the_same_by_iio_and_by_hwmon(tmp_path: Path, name: str) -> None:
    power = found(name, tmp_path).reading().power_mw
    assert power == {"VDD_IN": 3500.0, "VDD_CPU_GPU_CV": 600.0, "VDD_SOC": 1150.0}


def test_what_is_no_rail_and_no_temperature_is_left_out(tmp_path: Path) -> None:
    assert "NC" not in found("orin", tmp_path / "orin").reading().power_mw
    assert found("orin", tmp_path / "orin").reading().temperatures_c == {
        "cpu-thermal": 47.0,
        "tj-thermal": 47.5,
    }
    assert "PMIC-Die" not in found("nano", tmp_path / "nano").reading().temperatures_c
    assert set(found("phone", tmp_path / "phone").reading().temperatures_c) == {"cpu-0-0-usr", "battery"}


def test_a_phones_votes_for_bandwidth_are_no_gpu_clock(tmp_path: Path) -> None:
    board = found("phone", tmp_path)
    assert [knob.folder for knob in board.knobs["gpu"].knobs] == [PHONE.gpu]
    reading = board.reading()
    assert reading.battery_share == 0.88
    assert reading.power_mw == pytest.approx({"battery battery": 2000.0})


def test_one_device_shown_in_two_places_is_one_clock(tmp_path: Path) -> None:
    assert len(found("tx2", tmp_path).knobs["gpu"].knobs) == 1


def test_a_gpu_whose_name_says_nothing_is_known_by_the_device_tree(tmp_path: Path) -> None:
    folder = "sys/class/devfreq/17000000.thing"
    files = {
        f"{folder}/available_frequencies": "306000000 408000000",
        f"{folder}/device/of_node/name": "gv11b\0",
    }
    write(tmp_path, files | {f"{folder}/min_freq": 306000000, f"{folder}/max_freq": 408000000})
    assert Board.discover(tmp_path).knobs["gpu"].mhz == (306.0, 408.0)


def test_a_tensor_phones_gpu_counts_in_kilohertz(tmp_path: Path) -> None:
    folder = "sys/class/misc/mali0/device"
    files = {f"{folder}/available_frequencies": "151000 302000 848000", f"{folder}/cur_freq": 151000}
    write(tmp_path, files | {f"{folder}/scaling_min_freq": 151000, f"{folder}/scaling_max_freq": 848000})
    board = Board.discover(tmp_path)
    assert board.knobs["gpu"].mhz == (151.0, 302.0, 848.0)
    assert board.reading().gpu_mhz == 151.0


def test_the_memory_clock_has_nvpmodels_ceiling(tmp_path: Path) -> None:
    root = build(MACHINES["orin"], tmp_path)
    write(root, {"sys/kernel/nvpmodel_emc_cap/emc_iso_cap": 665_600_000})
    assert Board.discover(root).knobs["memory"].mhz == (204.0, 665.6)


def test_rapl_is_the_mean_between_two_readings_across_a_wrap(tmp_path: Path) -> None:
    now = [0.0]
    board = found("laptop", tmp_path)
    board._clock = lambda: now[0]
    assert board.reading().power_mw == {}
    write(tmp_path, {RAPL: 671_149})  # the counter wraps at 262143328850: 1 J has gone by
    now[0] = 2.0
    assert board.reading().power_mw == pytest.approx({"package-0": 500.0})
    assert board.reading(power=False).power_mw == {}


def test_a_raspberry_pi_says_when_it_throttles(tmp_path: Path) -> None:
    board = found("raspberry-pi", tmp_path)
    assert board.reading().throttled is False
    write(tmp_path, {"sys/devices/platform/soc/soc:firmware/get_throttled": "50005"})
    assert board.reading().throttled is True


def test_a_fan_that_turns_is_no_throttling(tmp_path: Path) -> None:
    folder = "sys/class/thermal/cooling_device"
    write(build(NANO, tmp_path), {f"{folder}0/type": "pwm-fan", f"{folder}0/cur_state": 3})
    write(tmp_path, {f"{folder}1/type": "thermal-cpufreq-0", f"{folder}1/cur_state": 0})
    board = Board.discover(tmp_path)
    assert board.reading().throttled is False
    write(tmp_path, {f"{folder}1/cur_state": 2})
    assert board.reading().throttled is True


def test_a_zone_is_too_hot_at_its_own_limit_or_at_a_given_one(tmp_path: Path) -> None:
    board = found("nano", tmp_path)
    assert board.too_hot(board.reading()) is None
    assert "AO-therm" in board.too_hot(board.reading(), limit_c=41.5)
    write(tmp_path, {"sys/class/thermal/thermal_zone2/temp": 97_000})
    assert board.too_hot(board.reading()) == "GPU-therm is at 97 C (limit 97 C)"
    pi = found("raspberry-pi", tmp_path / "pi")  # only knows where it switches off, 110 C
    assert pi.zones[0].limit_c == 100.0


def test_unlike_cores_without_schedutil_are_reported(tmp_path: Path) -> None:
    root = build(PHONE, tmp_path)
    assert Board.discover(root).notes() == ()
    write(root, {"sys/devices/system/cpu/cpufreq/policy6/scaling_governor": "userspace"})
    assert "policy6: governor userspace: energy-aware scheduling" in Board.discover(root).notes()[0]
    write(root, {"proc/sys/kernel/sched_energy_aware": 0})
    assert len(Board.discover(root).notes()) == 2


def test_what_may_not_be_written_is_masked_with_the_reason(tmp_path: Path) -> None:
    board = Board.discover(sysfs=ReadOnlySysFs(build(NANO, tmp_path)))
    for domain in ("cpu", "gpu", "memory"):
        assert not board.knobs[domain].settable
        assert "may not write" in board.knobs[domain].reason
        assert len(board.knobs[domain].mhz) == 1


def test_this_machine_is_readable() -> None:
    reading = Board.discover(sysfs=SysFs("/")).reading()
    assert reading.cpu_mhz is None or reading.cpu_mhz > 0


def test_a_policy_may_choose_the_clocks_that_are_legal_here(tmp_path: Path) -> None:
    board = found("orin", tmp_path)
    assert board.choices("memory", (204.0, 665.6, 2133.0, 3199.0)) == (True, True, True, False)
    assert board.choices("gpu", (306.0, 624.8, 1000.0)) == (True, True, False)
    assert board.choices("gpu", (300.0, 1000.0)) == (True, False)
    board.mask("gpu", "gone")
    assert board.choices("gpu", (306.0, 408.0, 624.75)) == (True, False, False)  # it stands at 306
    assert found("raspberry-pi", tmp_path / "pi").choices("gpu", (100.0, 500.0)) == (False, True)


def test_the_whole_devices_power_is_the_input_rail_or_the_sum(tmp_path: Path) -> None:
    reading = found("nano", tmp_path).reading()
    assert reading.device_mw == 2000.0
    rest = {rail: power for rail, power in reading.power_mw.items() if rail != "POM_5V_IN"}
    assert replace(reading, power_mw=rest).device_mw == 800.0
    assert replace(reading, power_mw={}).device_mw is None
    assert replace(reading, power_mw={"package-0": 5.0, "psys": 9.0}).device_mw == 9.0
