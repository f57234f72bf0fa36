"""Options of every command that sets clocks, and what they make: a board and its governor."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from dvfo_controller.board.board import Board
from dvfo_controller.safety.dry_run import DryRun
from dvfo_controller.safety.governor import DWELL_S, Governor
from dvfo_controller.safety.guard import DEADLINE_MS, HOLD_S, Guard
from dvfo_controller.safety.lock import STATE


def add_safety_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    group = parser.add_argument_group("clocks and safety")
    group.add_argument("--sysfs-root", type=Path, default=Path("/"), metavar="DIR", help="a copy of /")
    group.add_argument("--state", type=Path, metavar="DIR", help=f"journal and lock; default ROOT/{STATE}")
    group.add_argument("--dry-run", action="store_true", help="say what would be written, write nothing")
    group.add_argument(
        "--on-exit",
        choices=("restore", "keep"),
        default="restore",
        help="clocks at the end (restore)",
    )
    group.add_argument(
        "--beside", action="append", default=[], metavar="NAME", help="put up with a program that sets clocks"
    )
    group.add_argument(
        "--above-found", action="store_true", help="go above the limits found at start (a power mode's)"
    )
    group.add_argument(
        "--dwell-ms", type=_time, metavar="MS", help="shortest time between two changes of any clock"
    )
    group.add_argument(
        "--policy-deadline-ms", type=_time, default=DEADLINE_MS, metavar="MS",
        help=f"longest time for one decision (default {DEADLINE_MS:g})",
    )  # fmt: skip
    group.add_argument(
        "--hold-s", type=_time, default=HOLD_S, metavar="S",
        help=f"shortest time of the safe profile (default {HOLD_S:g})",
    )  # fmt: skip
    group.add_argument(
        "--limit-c", type=float, metavar="C", help="too hot from here on (default: each zone's own limit)"
    )


def governor_of(arguments: argparse.Namespace, tell: Callable[[str], None] | None = None) -> Governor:
    """The governor of the board that the options name; a dry run prints what it would write."""
    root = arguments.sysfs_root
    board = Board.discover(sysfs=DryRun(root)) if arguments.dry_run else Board.discover(root)
    dwell_s = None if arguments.dwell_ms is None else dict.fromkeys(DWELL_S, arguments.dwell_ms / 1e3)
    return Governor(
        board,
        arguments.state,
        arguments.on_exit,
        dwell_s,
        arguments.beside,
        arguments.above_found,
        tell=tell,
    )


def guard_of(
    arguments: argparse.Namespace, governor: Governor, tell: Callable[[str], None] = lambda line: None
) -> Guard:
    """The guard with the options' deadline and limits."""
    return Guard(governor, arguments.policy_deadline_ms, arguments.hold_s, arguments.limit_c, tell=tell)


def _time(text: str) -> float:
    value = float(text)
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a time")
    return value
