"""Clocks are found where boards have them, with their legal values."""

from __future__ import annotations

from pathlib import Path

from dvfo_env.hardware.clocks import discover_clocks, point_of
from dvfo_env.hardware.sysfs import SysFs
from tests.hardware import trees


def test_a_board_has_its_cpu_and_gpu_clocks(tmp_path: Path) -> None:
    axes = discover_clocks(SysFs(trees.jetson_tx2(tmp_path)))
    assert axes["cpu"].settable
    assert axes["cpu"].mhz[0] == 345.6
    assert axes["gpu"].mhz == (114.75, 522.75, 930.75, 1300.5)
    assert not axes["memory"].settable
    assert axes["memory"].mhz == ()


def test_where_nothing_can_be_set_the_axis_has_one_value_and_says_why(tmp_path: Path) -> None:
    bare = discover_clocks(SysFs(trees.container(tmp_path / "vm")))["cpu"]
    assert bare.mhz == (2300.0,)
    assert "no cpufreq here" in bare.reason
    user = discover_clocks(trees.ReadOnlySysFs(trees.raspberry_pi_4(tmp_path / "pi")))["cpu"]
    assert user.mhz == (1500.0,)
    assert "may not write" in user.reason


def test_a_range_without_a_list_gets_a_few_points(tmp_path: Path) -> None:
    axis = discover_clocks(SysFs(trees.laptop(tmp_path)))["cpu"]
    assert axis.mhz[0] == 400.0
    assert axis.mhz[-1] == 4700.0
    assert len(axis.mhz) == 4


def test_thinning_keeps_both_ends(tmp_path: Path) -> None:
    axis = discover_clocks(SysFs(trees.raspberry_pi_4(tmp_path)))["cpu"]
    assert axis.thinned(4).mhz == (600.0, 900.0, 1200.0, 1500.0)
    assert axis.thinned(1).mhz == (1500.0,)
    assert axis.thinned(None) is axis


def test_slower_clusters_go_to_the_same_place_of_their_range(tmp_path: Path) -> None:
    axis = discover_clocks(SysFs(trees.phone(tmp_path)))["cpu"]
    assert axis.mhz == (800.0, 1400.0, 2000.0, 2800.0)
    little, mid, big = axis.knobs
    assert [point_of(knob, axis, 2800.0) for knob in (little, mid, big)] == [1_800_000, 2_400_000, 2_800_000]
    assert [point_of(knob, axis, 800.0) for knob in (little, mid, big)] == [300_000, 700_000, 800_000]


def test_memory_whose_firmware_lists_no_rates_is_not_tried_out(tmp_path: Path) -> None:
    clock = "sys/kernel/debug/bpmp/debug/clk/emc"
    ends = {f"{clock}/min_rate": 40_800_000, f"{clock}/max_rate": 1_866_000_000}
    now = {f"{clock}/mrq_rate_locked": 0, f"{clock}/state": 1, f"{clock}/rate": 1_866_000_000}
    axis = discover_clocks(SysFs(trees.write(tmp_path, ends | now)))["memory"]
    assert axis.settable
    assert (axis.snapped_down(1600.0), axis.snapped_down(20.0)) == (1600.0, 40.8)
    assert (axis.with_known_clocks().settable, axis.with_known_clocks().mhz) == (False, (1866.0,))
    trees.write(tmp_path, {"sys/kernel/debug/bpmp/debug/emc/possible_rates": "204000 1866000 (kHz)"})
    axis = discover_clocks(SysFs(tmp_path))["memory"]
    assert axis.with_known_clocks() is axis
    assert axis.mhz == (204.0, 1866.0)
