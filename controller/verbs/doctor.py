"""Say what works on this machine, what does not, and which right or setting would change that.

Nothing is written. Exit status 1 where a run would be refused.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `dvfo-controller doctor`."""
    parser.add_argument("--json", action="store_true", help="the findings, as a JSON list")
    parser.add_argument("--sysfs-root", type=Path, default=Path("/"), metavar="DIR", help="a copy of /")
    parser.add_argument("--state", type=Path, metavar="DIR", help="default: ROOT/var/lib/dvfo-controller")


def run(arguments: argparse.Namespace) -> int:
    """Examine and print."""
    import json
    from dataclasses import asdict

    from dvfo_controller.board import Board
    from dvfo_controller.service.doctor import examine

    board = Board.discover(arguments.sysfs_root)
    findings = examine(board, arguments.state)
    if arguments.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        print(board.topology.processor)
        for finding in findings:
            print(f"{finding.verdict:<8} {finding.what:<15} {finding.found}")
            if finding.advice:
                print(f"{'':<24} -> {finding.advice}")
    return 1 if any(finding.verdict == "stops" for finding in findings) else 0
