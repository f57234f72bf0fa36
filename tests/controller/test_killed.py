"""Killed at any moment, a run leaves a machine that `restore` brings back to what it was, file for file."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from dvfo_controller.board import Board
from dvfo_controller.safety import Governor, Wanted
from dvfo_controller.safety.keeper import restore
from dvfo_env.hardware.sysfs import SysFs
from tests.controller.trees import MACHINES, build, contents

#: Longest time until the kill. A run takes some 20 ms here and starts again, so every part of it is hit.
LATEST_S = 0.12


def run_for_ever(root: Path) -> None:
    """Runs of a few random decisions each, with all that comes before and after them, until killed."""
    chance = random.Random(os.getpid())
    while True:
        board = Board.discover(root)
        with Governor(board, tell=lambda line: None, dwell_s=dict.fromkeys(board.knobs, 0.0)) as governor:
            for _ in range(4):
                clocks = [chance.choice(axis.mhz or (None,)) for axis in board.knobs.values()]
                governor.apply(Wanted(*clocks))
            governor.safe_profile(hot=True)


def killed_at_random(root: Path, chance: random.Random) -> None:
    child = os.fork()
    if child == 0:
        try:
            run_for_ever(root)
        finally:
            os._exit(1)
    time.sleep(chance.uniform(0.0, LATEST_S))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "it ended by itself"


def kills(name: str, times: int, root: Path) -> int:
    """Returns how many of the kills left something to put back."""
    before = contents(build(MACHINES[name], root))
    chance = random.Random(name)
    away = 0
    for _ in range(times):
        killed_at_random(root, chance)
        away += contents(root) != before
        restore(SysFs(root))
        assert contents(root) == before
        assert not (root / "var/lib/dvfo-controller/originals.json").exists()
    return away


@pytest.mark.parametrize("name", ["tx2", "orin"])
def test_a_kill_now_and_then_leaves_nothing_that_restore_does_not_undo(tmp_path: Path, name: str) -> None:
    assert kills(name, 6, tmp_path) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", MACHINES)
def test_a_hundred_kills_leave_nothing_that_restore_does_not_undo(tmp_path: Path, name: str) -> None:
    assert kills(name, 100, tmp_path) > 20


def test_the_next_run_puts_back_what_a_killed_one_left(tmp_path: Path) -> None:
    before = contents(build(MACHINES["tx2"], tmp_path))
    chance = random.Random(3)
    for _ in range(4):
        killed_at_random(tmp_path, chance)
        told: list[str] = []
        with Governor(Board.discover(tmp_path), tell=told.append):
            assert contents(tmp_path) == before, told
    assert contents(tmp_path) == before
