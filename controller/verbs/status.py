"""Say what a controller on this machine is doing, what it has saved, and what the board says now.

Exit status 1 where clocks were left changed by a run that is gone.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `dvfo-controller status`."""
    parser.add_argument("--json", action="store_true", help="everything, as one JSON object")
    parser.add_argument("--sysfs-root", type=Path, default=Path("/"), metavar="DIR", help="a copy of /")
    parser.add_argument("--state", type=Path, metavar="DIR", help="default: ROOT/var/lib/dvfo-controller")


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    import json

    from dvfo_controller.board import Board
    from dvfo_controller.service.status import lines, status

    found = status(Board.discover(arguments.sysfs_root), arguments.state)
    print(json.dumps(found, indent=2) if arguments.json else "\n".join(lines(found)))
    saved = found["saved"] or {}
    kept = saved.get("about", {}).get("on_exit") == "keep"
    return 1 if saved.get("now_differs") and not found["running"] and not kept else 0
