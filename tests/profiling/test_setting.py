"""Clocks are set in an order the kernel accepts, and always put back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dvfo_env.errors import BoardError
from dvfo_env.hardware.clocks import discover_clocks
from dvfo_env.hardware.stopping import Terminated
from dvfo_env.profiling.setting import clocks_restored, restore_from
from tests.hardware import trees
from tests.hardware.trees import Kernel

POLICY = f"{trees.CPU}/cpufreq/policy0"
GPU = "sys/class/devfreq/17000000.gp10b"


def state(sysfs: Kernel) -> dict[str, str | None]:
    names = ("scaling_governor", "scaling_min_freq", "scaling_max_freq")
    found = {name: sysfs.read(f"{POLICY}/{name}") for name in names}
    return found | {name: sysfs.read(f"{GPU}/{name}") for name in ("governor", "min_freq", "max_freq")}


def test_every_order_of_clocks_is_one_the_kernel_accepts(tmp_path: Path) -> None:
    sysfs = Kernel(trees.jetson_tx2(tmp_path))
    axes = discover_clocks(sysfs)
    before = state(sysfs)
    with clocks_restored(sysfs, axes, tmp_path / "journal") as setter:
        for mhz in (345.6, 2035.2, 1113.6, 499.2, 2035.2):
            setter.set((mhz, 522.75, 0.0))
            assert sysfs.integer(f"{POLICY}/scaling_min_freq") == round(mhz * 1000)
            assert sysfs.integer(f"{POLICY}/scaling_max_freq") == round(mhz * 1000)
    assert state(sysfs) == before
    assert not (tmp_path / "journal").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_clocks_are_put_back_when_the_run_is_stopped(tmp_path: Path, number: signal.Signals) -> None:
    sysfs = Kernel(trees.jetson_tx2(tmp_path))
    before = state(sysfs)
    handler = signal.getsignal(number)
    if handler == signal.SIG_IGN and number == signal.SIGINT:  # as in a shell's background job
        pytest.skip("SIGINT is ignored in this process")

    def interrupted() -> None:
        with clocks_restored(sysfs, discover_clocks(sysfs), tmp_path / "journal") as setter:
            setter.set((345.6, 114.75, 0.0))
            os.kill(os.getpid(), number)

    with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else Terminated):
        interrupted()
    assert state(sysfs) == before
    assert signal.getsignal(number) is handler


def test_a_governor_that_somebody_changed_meanwhile_is_put_back_too(tmp_path: Path) -> None:
    sysfs = Kernel(trees.jetson_tx2(tmp_path))
    with clocks_restored(sysfs, discover_clocks(sysfs), tmp_path / "journal"):
        sysfs.write(f"{POLICY}/scaling_governor", "performance")
    assert sysfs.read(f"{POLICY}/scaling_governor") == "schedutil"


def test_after_a_killed_run_the_next_one_puts_the_clocks_back(tmp_path: Path) -> None:
    sysfs = Kernel(trees.jetson_tx2(tmp_path))
    before = state(sysfs)
    journal = tmp_path / "journal"
    guard = clocks_restored(sysfs, discover_clocks(sysfs), journal)
    guard.__enter__().set((345.6, 114.75, 0.0))
    saved = journal.read_bytes()
    guard.__exit__(None, None, None)
    sysfs.write(f"{POLICY}/scaling_min_freq", "499200")  # as SIGKILL would have left it
    sysfs.write(f"{POLICY}/scaling_max_freq", "499200")
    journal.write_bytes(saved)
    assert restore_from(sysfs, journal)
    assert state(sysfs) == before
    assert not restore_from(sysfs, journal)


def test_a_clock_that_something_else_holds_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    class Capped(Kernel):
        def write(self, path: str, text: str) -> None:
            if path.endswith("scaling_max_freq") and int(text) > 1_500_000:
                text = "1500000"
            super().write(path, text)

    sysfs = Capped(trees.write(trees.jetson_tx2(tmp_path), {f"{POLICY}/scaling_max_freq": 1_420_800}))
    with (
        pytest.raises(BoardError, match="policy0"),
        clocks_restored(sysfs, discover_clocks(sysfs), tmp_path / "journal") as setter,
    ):
        setter.set((2035.2, 1300.5, 0.0))
    assert sysfs.integer(f"{POLICY}/scaling_max_freq") == 1_420_800


def test_a_machine_without_clocks_writes_nothing(tmp_path: Path) -> None:
    sysfs = Kernel(trees.container(tmp_path))
    with clocks_restored(sysfs, discover_clocks(sysfs), tmp_path / "journal") as setter:
        setter.set((2300.0, 0.0, 0.0))
    assert sysfs.written == []
    assert not (tmp_path / "journal").exists()
