"""Print a systemd unit for this machine: watchdog, restoring after every end, and rights to its clocks alone.

Everything after the verb's own options is what `dvfo-controller run` is to be called with:
  dvfo-controller unit -- --bundle /etc/dvfo/bundle --model /etc/dvfo/model.onnx --server 10.0.0.2:7000
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `dvfo-controller unit`."""
    parser.add_argument("--sysfs-root", type=Path, default=Path("/"), metavar="DIR", help="a copy of /")
    parser.add_argument("--program", metavar="PATH", help="default: this command's own path")
    parser.add_argument("arguments", nargs="*", metavar="-- ARGUMENTS", help="arguments of the run")


def run(arguments: argparse.Namespace) -> int:
    """Print it."""
    from dvfo_controller.board import Board
    from dvfo_controller.service.unit import unit_text

    print(unit_text(Board.discover(arguments.sysfs_root), arguments.arguments, arguments.program), end="")
    return 0
