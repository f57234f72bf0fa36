"""Clocks are set within what is legal, in an order that holds, read back, and given back whatever happens."""

from __future__ import annotations

import argparse
import os
import signal
from pathlib import Path

import pytest

from dvfo_controller.board import Board
from dvfo_controller.main import main
from dvfo_controller.safety import Governor, Wanted
from dvfo_controller.safety.arguments import add_safety_arguments, governor_of, guard_of
from dvfo_controller.safety.dry_run import DryRun
from dvfo_controller.safety.keeper import restore
from dvfo_env.errors import BoardError
from dvfo_env.hardware.originals import Journal
from dvfo_env.hardware.stopping import Terminated
from dvfo_env.hardware.sysfs import SysFs
from tests.controller.trees import BPMP, MACHINES, ORIN, TX2, build, contents
from tests.hardware.trees import CPU, Kernel, write

POLICY = f"{CPU}/cpufreq/policy0"


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 1.0  # every look at it is a second later: no dwell holds anything up
        return self.now_s


class CappedKernel(Kernel):
    """A kernel whose thermal cap holds a CPU's upper limit: asked for more, the file shows the cap.

    As frequency constraints work since Linux 5.4: each writer's limit is remembered, the lowest is in force.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.cap_khz: int | None = None
        self._asked: dict[str, str] = {}

    def read(self, path: str) -> str | None:
        text = super().read(path)
        if self.cap_khz is not None and text and path.endswith(("scaling_max_freq", "scaling_min_freq")):
            return str(min(int(text), self.cap_khz))
        return text


def governed(root: Path, sysfs: SysFs | None = None, **options: object) -> Governor:
    board = Board.discover(sysfs=sysfs or Kernel(root))
    return Governor(board, tell=options.pop("tell", lambda line: None), clock=Clock(), **options)


@pytest.mark.parametrize("name", MACHINES)
def test_every_board_is_set_and_given_back(tmp_path: Path, name: str) -> None:
    root = build(MACHINES[name], tmp_path)
    before = contents(root)
    with governed(root) as governor:
        for share in (1.0, 0.3, 0.6, 0.0, 1.0):
            mhz = {}
            for domain, axis in governor.board.knobs.items():
                mhz[domain] = axis.mhz[round(share * (len(axis.mhz) - 1))] if axis.mhz else None
            applied = governor.apply(Wanted(mhz["cpu"], mhz["gpu"], mhz["memory"]))
            assert applied.differing == {}
            assert applied.waiting == ()
            if name != "nano":  # its override takes effect in another file, which no simulated kernel changes
                assert applied.mem_mhz == mhz["memory"]
            assert (applied.cpu_mhz, applied.gpu_mhz) == (mhz["cpu"], mhz["gpu"])
        assert Journal(root / "var/lib/dvfo-controller/originals.json").read() is not None
    assert contents(root) == before
    assert restore(SysFs(root)) is None


def test_clocks_that_are_not_legal_are_snapped_down(tmp_path: Path) -> None:
    with governed(build(TX2, tmp_path)) as governor:
        applied = governor.apply(Wanted(1500.0, 9999.0, 1600.0))
        assert (applied.cpu_mhz, applied.gpu_mhz, applied.mem_mhz) == (1420.8, 1300.5, 1600.0)
        assert governor.apply(Wanted(cpu_mhz=1.0)).cpu_mhz == 345.6


@pytest.mark.parametrize("mhz", [float("nan"), float("inf"), -1.0, 0.0])
def test_a_clock_that_is_no_clock_is_refused(tmp_path: Path, mhz: float) -> None:
    with governed(build(TX2, tmp_path)) as governor, pytest.raises(BoardError, match="not a positive number"):
        governor.apply(Wanted(cpu_mhz=mhz))


def test_the_memory_clock_is_locked_before_its_rate_and_unlocked_after(tmp_path: Path) -> None:
    kernel = Kernel(build(ORIN, tmp_path))
    with governed(tmp_path, kernel) as governor:
        governor.apply(Wanted(mem_mhz=665.6))
    clock = f"{BPMP}/clk/emc"
    assert kernel.written == [
        (f"{clock}/mrq_rate_locked", "1"),
        (f"{clock}/rate", "665600000"),
        (f"{clock}/rate", "2133000000"),
        (f"{clock}/mrq_rate_locked", "0"),
    ]


def test_no_governor_is_ever_written(tmp_path: Path) -> None:
    kernel = Kernel(build(MACHINES["phone"], tmp_path))
    with governed(tmp_path, kernel) as governor:
        governor.apply(Wanted(1996.8, 430.0))
        governor.safe_profile(hot=True)
        governor.safe_profile(hot=False)
    assert kernel.written
    assert not [path for path, _ in kernel.written if path.endswith(("governor", "setspeed", "set_freq"))]


def test_a_clock_rests_for_its_dwell_but_not_from_the_safe_profile(tmp_path: Path) -> None:
    now = [100.0]
    board = Board.discover(build(TX2, tmp_path))
    with Governor(board, dwell_s={"cpu": 0.5}, tell=lambda line: None, clock=lambda: now[0]) as governor:
        assert governor.apply(Wanted(cpu_mhz=345.6)).waiting == ()
        now[0] += 0.4
        held = governor.apply(Wanted(cpu_mhz=2035.2))
        assert held.waiting == ("cpu",)
        assert held.cpu_mhz == 345.6
        assert governor.apply(Wanted(cpu_mhz=345.6)).waiting == ()
        now[0] += 0.1
        assert governor.apply(Wanted(cpu_mhz=2035.2)).cpu_mhz == 2035.2
        assert governor.safe_profile(hot=True).cpu_mhz == 960.0


def test_the_safe_profile_is_cool_or_as_found(tmp_path: Path) -> None:
    root = build(ORIN, tmp_path)
    before = contents(root)
    with governed(root) as governor:
        governor.apply(Wanted(1510.4, 624.75, 665.6))
        hot = governor.safe_profile(hot=True)
        assert (hot.cpu_mhz, hot.gpu_mhz, hot.mem_mhz) == (729.6, 306.0, 2133.0)
        governor.safe_profile(hot=False)
        assert contents(root) == before
        assert governor.apply(Wanted(cpu_mhz=1510.4)).cpu_mhz == 1510.4


def test_a_kernel_that_clamps_is_reported_once_and_said_in_the_answer(tmp_path: Path) -> None:
    kernel = CappedKernel(build(MACHINES["raspberry-pi"], tmp_path))
    before = contents(tmp_path)
    told: list[str] = []
    with governed(tmp_path, kernel, tell=told.append) as governor:
        kernel.cap_khz = 1_000_000
        for _ in range(3):
            applied = governor.apply(Wanted(cpu_mhz=1500.0))
            assert applied.cpu_mhz == 1000.0
            assert "reads 1000000, not 1500000 as written" in applied.differing["cpu"]
        kernel.cap_khz = None
        assert governor.apply(Wanted(cpu_mhz=1500.0)).differing == {}
    assert len([line for line in told if "scaling_max_freq" in line]) == 1
    assert contents(tmp_path) == before


def test_what_a_cap_keeps_from_being_put_back_stays_saved_until_it_can_be(tmp_path: Path) -> None:
    kernel = CappedKernel(build(MACHINES["raspberry-pi"], tmp_path))
    before = contents(tmp_path)

    def capped_meanwhile() -> None:
        with governed(tmp_path, kernel) as governor:
            governor.apply(Wanted(cpu_mhz=800.0))
            kernel.cap_khz = 1_000_000

    with pytest.raises(BoardError, match=r"not put back.*scaling_max_freq should be 1500000, reads 1000000"):
        capped_meanwhile()
    with pytest.raises(BoardError, match="not put back"), governed(tmp_path, kernel) as governor:
        governor.apply(Wanted(cpu_mhz=700.0))  # runs all the same, with the true originals still saved
    kernel.cap_khz = None
    assert restore(kernel) is not None
    assert contents(tmp_path) == before


def test_a_right_that_is_lost_masks_the_clock_and_is_told_once(tmp_path: Path) -> None:
    class Locked(Kernel):
        locked = False

        def write(self, path: str, text: str) -> None:
            if self.locked and "gp10b" in path:
                raise PermissionError(13, "Permission denied")
            super().write(path, text)

    kernel = Locked(build(TX2, tmp_path))
    told: list[str] = []
    with governed(tmp_path, kernel, tell=told.append) as governor:
        kernel.locked = True
        for _ in range(3):
            applied = governor.apply(Wanted(2035.2, 522.75))
        assert applied.cpu_mhz == 2035.2
        assert "may not write" in applied.masked["gpu"]
        assert applied.gpu_mhz == 1300.5
        kernel.locked = False
    assert len([line for line in told if "gpu" in line]) == 1


def test_a_machine_without_clocks_needs_no_rights_and_no_state(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with governed(tmp_path / "root") as governor:
        applied = governor.apply(Wanted(1000.0, 500.0, None))
        assert set(applied.masked) == {"cpu", "gpu", "memory"}
    assert not (tmp_path / "root/var").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_everything_back(tmp_path: Path, number: signal.Signals) -> None:
    root = build(TX2, tmp_path)
    before = contents(root)

    def stopped() -> None:
        with governed(root) as governor:
            governor.apply(Wanted(960.0, 522.75, 408.0))
            os.kill(os.getpid(), number)

    with pytest.raises(Terminated):
        stopped()
    assert contents(root) == before


def test_an_exception_gives_everything_back(tmp_path: Path) -> None:
    root = build(TX2, tmp_path)
    before = contents(root)

    def failing() -> None:
        with governed(root) as governor:
            governor.apply(Wanted(960.0, 522.75, 408.0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert contents(root) == before


def test_clocks_may_be_kept_and_put_back_later(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = build(TX2, tmp_path)
    before = contents(root)
    for mhz in (960.0, 499.2):  # a second run knows the first one's originals
        with governed(root, on_exit="keep") as governor:
            governor.apply(Wanted(cpu_mhz=mhz))
        assert SysFs(root).integer(f"{POLICY}/scaling_max_freq") == round(mhz * 1000)
    assert main(["restore", "--sysfs-root", str(root), "--after-run"]) == 0
    assert contents(root) != before
    assert main(["restore", "--sysfs-root", str(root), "--dry-run"]) == 0
    assert "would write 345600 to /" in capsys.readouterr().out
    assert contents(root) != before
    assert main(["restore", "--sysfs-root", str(root)]) == 0
    assert contents(root) == before
    assert main(["restore", "--sysfs-root", str(root)]) == 0
    assert "nothing to restore" in capsys.readouterr().out


def test_a_dry_run_says_what_it_would_write_and_writes_nothing(tmp_path: Path) -> None:
    root = build(TX2, tmp_path)
    before = contents(root)
    told: list[str] = []
    with governed(root, DryRun(root, told.append)) as governor:
        assert governor.apply(Wanted(cpu_mhz=960.0)).cpu_mhz == 960.0
    first = [line for line in told if "policy0" in line]
    assert first == [
        f"would write 960000 to /{POLICY}/scaling_max_freq",
        f"would write 960000 to /{POLICY}/scaling_min_freq",
        f"would write 2035200 to /{POLICY}/scaling_max_freq",
        f"would write 345600 to /{POLICY}/scaling_min_freq",
    ] or first == [*first[:2], first[3], first[2]]
    assert contents(root) == before
    assert not (root / "var").exists()


def test_cores_that_are_not_there_are_dropped_and_threads_pinned(tmp_path: Path) -> None:
    root = build(TX2, tmp_path)
    with governed(root) as governor:
        one = governor.board.usable.cpus[0]
        applied = governor.apply(Wanted(cpus=(one, 517), threads=2))
        assert applied.cpus == (one,)
        assert applied.threads == 2
        assert "CPU 517" in applied.masked["cpus"]
    mine = os.sched_getaffinity(0)
    one = min(mine)
    (tmp_path / "empty").mkdir()
    board = Board.discover()
    with Governor(board, tmp_path / "state", pin_process=os.getpid(), tell=lambda line: None) as governor:
        assert governor.apply(Wanted(cpus=(one,))).cpus == (one,)
        assert os.sched_getaffinity(0) == {one}
    assert os.sched_getaffinity(0) == mine


def test_a_clock_that_somebody_else_moved_is_set_again(tmp_path: Path) -> None:
    root = build(TX2, tmp_path)
    with governed(root) as governor:
        governor.apply(Wanted(cpu_mhz=960.0))
        write(root, {f"{POLICY}/scaling_max_freq": 2_035_200})
        assert governor.apply(Wanted(cpu_mhz=960.0)).cpu_mhz == 960.0


def test_the_options_make_a_governor_and_its_guard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = build(TX2, tmp_path)
    parser = argparse.ArgumentParser()
    add_safety_arguments(parser)
    arguments = parser.parse_args(
        ["--sysfs-root", str(root), "--dry-run", "--limit-c", "41", "--dwell-ms", "5"]
    )
    with governor_of(arguments, tell=print) as governor:
        governor.apply(Wanted(cpu_mhz=960.0))
        guard = guard_of(arguments, governor, print)
        assert guard.decide(lambda: 1) is None
    said = capsys.readouterr().out
    assert f"would write 960000 to /{POLICY}/scaling_max_freq" in said
    assert "safe profile: CPU-therm is at 41.5 C (limit 41 C)" in said
    with pytest.raises(SystemExit):
        parser.parse_args(["--dwell-ms", "-1"])


def test_no_clock_goes_above_the_limits_that_were_found(tmp_path: Path) -> None:
    root = build(TX2, tmp_path)  # as nvpmodel's 15 W mode has it
    write(root, {f"{POLICY}/scaling_max_freq": 1_420_800, f"{CPU}/cpufreq/policy1/scaling_max_freq": 806_400})
    before = contents(root)
    told: list[str] = []
    with governed(root, tell=told.append) as governor:
        assert governor.apply(Wanted(cpu_mhz=2035.2)).cpu_mhz == 1420.8
        assert SysFs(root).integer(f"{CPU}/cpufreq/policy1/scaling_max_freq") == 806_400
        assert governor.board.choices("cpu", (1420.8, 2035.2)) == (True, False)
        assert governor.safe_profile(hot=True).cpu_mhz == 960.0
    assert [line for line in told if "limits found end at 1420.8 MHz" in line]
    assert contents(root) == before
    with governed(root, above_found=True) as governor:
        assert governor.apply(Wanted(cpu_mhz=2035.2)).cpu_mhz == 2035.2
    assert contents(root) == before


def test_a_killed_runs_low_limit_is_no_ceiling(tmp_path: Path) -> None:
    root = build(TX2, tmp_path)
    with governed(root) as governor:
        governor.apply(Wanted(cpu_mhz=345.6))
        journal = root / "var/lib/dvfo-controller/originals.json"
        saved = journal.read_bytes()
    journal.write_bytes(saved)
    write(root, {f"{POLICY}/scaling_max_freq": 345_600})
    with governed(root) as governor:
        assert governor.apply(Wanted(cpu_mhz=2035.2)).cpu_mhz == 2035.2


def test_after_another_start_files_that_are_gone_are_no_loss(tmp_path: Path) -> None:
    root = build(TX2, tmp_path)
    boot = "proc/sys/kernel/random/boot_id"
    write(root, {boot: "first"})
    with governed(root, on_exit="keep") as governor:
        governor.apply(Wanted(cpu_mhz=960.0))
    for path in (root / POLICY).iterdir():
        path.unlink()
    with pytest.raises(BoardError, match="policy0/scaling_max_freq should be 2035200, reads None"):
        restore(SysFs(root))
    write(root, {boot: "second"})
    assert restore(SysFs(root)) is not None
    assert SysFs(root).integer(f"{CPU}/cpufreq/policy1/scaling_max_freq") == 2_035_200
