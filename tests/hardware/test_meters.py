"""What measures energy where, in which units."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_env.hardware.meters import discover_meters
from dvfo_env.hardware.sysfs import SysFs
from tests.hardware import trees


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rapl_counts_energy_over_time_and_survives_the_wrap(tmp_path: Path) -> None:
    root = trees.laptop(tmp_path, battery="Full")
    clock = Time()
    meters, notes = discover_meters(SysFs(root), clock)
    assert [(meter.name, meter.scope) for meter in meters] == [
        ("RAPL psys", "board"),
        ("RAPL package-0 + dram", "package"),
    ]
    assert notes == ("battery BAT0: Full; it measures only while it discharges",)
    package = meters[1]
    zone = "sys/class/powercap/intel-rapl:0"
    trees.write(root, {f"{zone}/energy_uj": 262_143_328_850 - 499_999})
    package.start()
    clock.now += 2.0
    trees.write(root, {f"{zone}/energy_uj": 9_500_000})  # 500 000 to the wrap and 9 500 000 after it
    assert package.stop() == pytest.approx(5000.0)


def test_rapl_that_only_root_may_read_is_said(tmp_path: Path) -> None:
    root = trees.laptop(tmp_path, battery="Full")
    for zone in ("intel-rapl:0", "intel-rapl:0:1", "intel-rapl:1"):
        (root / f"sys/class/powercap/{zone}/energy_uj").write_text("", encoding="utf-8")
    meters, notes = discover_meters(SysFs(root))
    assert meters == ()
    assert "energy_uj: cannot be read (root can)" in notes[0]


def test_a_discharging_battery_measures_the_whole_device(tmp_path: Path) -> None:
    meters, _ = discover_meters(SysFs(trees.laptop(tmp_path)))
    battery = next(meter for meter in meters if meter.name == "battery BAT0")
    assert battery.scope == "board"
    battery.start()
    assert battery.stop() == pytest.approx(6500.0)


def test_a_phone_shows_volts_and_a_negative_current(tmp_path: Path) -> None:
    (battery,), _ = discover_meters(SysFs(trees.phone(tmp_path)))
    battery.start()
    assert battery.stop() == pytest.approx(2000.0)


def test_ina3221_by_hwmon_is_volts_times_amperes(tmp_path: Path) -> None:
    (board, rails), _ = discover_meters(SysFs(trees.jetson_orin_nano(tmp_path)))
    assert (board.name, board.scope) == ("ina3221 VDD_IN", "board")
    assert rails.scope == "rails"
    board.start()
    rails.start()
    assert board.stop() == pytest.approx(4500.0)
    assert rails.stop() == pytest.approx(2500.0)


def test_ina3221_by_iio_is_read_in_milliwatts(tmp_path: Path) -> None:
    (board, rails), _ = discover_meters(SysFs(trees.jetson_tx2(tmp_path)))
    board.start()
    rails.start()
    assert board.stop() == pytest.approx(3460.0)
    assert rails.stop() == pytest.approx(1550.0)


@pytest.mark.parametrize("tree", [trees.container, trees.raspberry_pi_4])
def test_where_nothing_measures_there_is_no_meter(tmp_path: Path, tree) -> None:
    assert discover_meters(SysFs(tree(tmp_path))) == ((), ())
