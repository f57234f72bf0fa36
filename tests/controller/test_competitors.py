"""Other programs that set clocks are found and named; those that only look are not in the way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dvfo_controller.board import Board
from dvfo_controller.safety import Governor
from dvfo_controller.safety.competitors import competitors
from dvfo_env.errors import BoardError
from dvfo_env.hardware.sysfs import SysFs
from tests.controller.trees import TX2, build, contents
from tests.hardware.trees import write


def running(root: Path, *words: str, pid: int = 4321) -> SysFs:
    path = root / f"proc/{pid}/cmdline"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"\0".join(word.encode() for word in words) + b"\0")
    return SysFs(root)


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("/usr/bin/python3", "-Es", "/usr/sbin/tuned", "-l", "-P"), "tuned"),
        (("/usr/libexec/power-profiles-daemon",), "power-profiles-daemon"),
        (("/bin/sh", "/usr/sbin/tlp", "start"), "TLP"),
        (("/usr/sbin/thermald", "--systemd", "--dbus-enable", "--adaptive"), "thermald"),
        (("/opt/a/venv/bin/python", "/opt/a/venv/bin/auto-cpufreq", "--daemon"), "auto-cpufreq"),
        (("/bin/bash", "/etc/systemd/nvpower.sh"), "nvpower"),
        (("/usr/sbin/nvpmodel", "-m", "0"), "nvpmodel"),
        (("/bin/bash", "/usr/bin/jetson_clocks"), "jetson_clocks"),
        (("cpupower", "frequency-set", "-g", "performance"), "cpupower"),
        (("/usr/bin/python3", "/usr/local/bin/dvfo-controller", "run", "--bundle", "b"), "dvfo-controller"),
        (("python3", "-m", "dvfo_controller.main", "run"), "dvfo-controller"),
        (("/usr/bin/python3", "/usr/local/bin/dvfo", "profile"), "dvfo"),
    ],
)
def test_a_program_that_sets_clocks_is_named(tmp_path: Path, words: tuple[str, ...], name: str) -> None:
    assert [found.name for found in competitors(running(tmp_path, *words))] == [name]


@pytest.mark.parametrize(
    "words",
    [
        ("/usr/sbin/thermald", "--test-mode"),
        ("/usr/sbin/nvpmodel", "-q"),
        ("/usr/bin/jetson_clocks", "--show"),
        ("cpupower", "frequency-info"),
        ("/usr/sbin/tuned-adm", "active"),
        ("vi", "/etc/tuned/main.conf"),
        ("/usr/local/bin/dvfo-controller", "status"),
        ("/usr/local/bin/dvfo-controller", "run", "--dry-run"),
        ("python3", "-c", "tuned"),
        ("",),
    ],
)
def test_a_program_that_only_looks_is_not_in_the_way(tmp_path: Path, words: tuple[str, ...]) -> None:
    assert competitors(running(tmp_path, *words)) == ()


@pytest.mark.parametrize("unit", ["tlp.service", "cpupower.service"])
def test_a_unit_that_writes_now_and_then_counts_where_it_is_enabled(tmp_path: Path, unit: str) -> None:
    write(tmp_path, {f"etc/systemd/system/multi-user.target.wants/{unit}": ""})
    assert [str(found) for found in competitors(SysFs(tmp_path))] == [
        f"{'TLP' if 'tlp' in unit else 'cpupower'} ({unit} is enabled)"
    ]


def test_a_run_beside_a_competitor_is_refused_and_writes_nothing(tmp_path: Path) -> None:
    running(build(TX2, tmp_path), "/usr/bin/python3", "/usr/sbin/tuned")
    before = contents(tmp_path)
    with pytest.raises(BoardError, match=r"tuned \(process 4321\) sets clocks here too.*--beside"):
        Governor(Board.discover(tmp_path), tell=lambda line: None).__enter__()
    assert contents(tmp_path) == before
    assert not (tmp_path / "var/lib/dvfo-controller/originals.json").exists()
    with Governor(Board.discover(tmp_path), beside=["tuned"], tell=lambda line: None):
        pass


def test_of_two_controllers_that_start_at_once_the_younger_gives_way(tmp_path: Path) -> None:
    def stat(pid: int, born: int) -> None:
        write(tmp_path, {f"proc/{pid}/stat": f"{pid} (a) b) S 1 {'0 ' * 17}{born} 0"})

    sysfs = running(tmp_path, "/usr/local/bin/dvfo-controller", "run")
    stat(os.getpid(), 500)
    stat(4321, 400)
    assert [found.name for found in competitors(sysfs)] == ["dvfo-controller"]
    stat(4321, 600)
    assert competitors(sysfs) == ()


def test_who_started_this_process_is_no_competitor(tmp_path: Path) -> None:
    sysfs = running(tmp_path, "/usr/local/bin/dvfo-controller", "run")
    write(tmp_path, {f"proc/{os.getpid()}/stat": f"{os.getpid()} (a) S 4321 {'0 ' * 17}500 0"})
    assert competitors(sysfs) == ()


def test_this_machine_can_be_looked_at() -> None:
    assert isinstance(competitors(SysFs("/")), tuple)
