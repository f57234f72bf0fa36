"""Train the demo networks on Fashion-MNIST, so that accuracy can be measured without any download.

Examples:
    dvfo accuracy train-demo                        all three, two to four minutes each on two cores
    dvfo accuracy train-demo demo-resnet            one
    dvfo accuracy train-demo demo-vgg --threads 1   the same weights wherever torch and processor are the same

Weights, and a file that says how they came about, go to $XDG_DATA_HOME/dvfo/models
(~/.local/share/dvfo/models).
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING, Any

from dvfo_cli.output import print_json, print_note, print_table

if TYPE_CHECKING:
    from dvfo_env.accuracy.models.training import Step

#: As in dvfo_env.accuracy.models.demo, repeated because --help must not wait for torch.
NAMES = ("demo-vgg", "demo-resnet", "demo-mobilenet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo accuracy train-demo`."""
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of first weights and of the order; default: 0")
    parser.add_argument("--threads", type=int, metavar="N", help="of torch; default: all cores")
    parser.add_argument("--data", metavar="FOLDER", help="of the four IDX files; default: fashion-mnist")
    parser.add_argument("--json", action="store_true", help="print what is stored beside the weights")


def run(arguments: argparse.Namespace) -> int:
    """Train, and print accuracy on all test images."""
    from dvfo_env.accuracy.datasets import open_images
    from dvfo_env.accuracy.models.training import train_demo
    from dvfo_env.errors import DataError

    names: list[str] = arguments.names or list(NAMES)
    for name in names:
        if name not in NAMES:
            raise DataError(f"model {name!r}: can be trained are {', '.join(NAMES)}")
    if arguments.threads is not None and arguments.threads < 1:
        raise DataError(f"--threads: {arguments.threads} is below 1")
    images = open_images(arguments.data or "fashion-mnist")
    trained: list[dict[str, Any]] = []
    for name in names:
        report = _Progress(name)
        trained.append(train_demo(name, arguments.seed, arguments.threads, report, images))
        report.end()
    if arguments.json:
        print_json(trained)
        return 0
    print_table(
        ("network", "test images", "accuracy %", "seconds", "sha256"),
        [
            (
                row["name"],
                row["test"]["images"],
                row["test"]["accuracy_percent"],
                row["seconds"],
                row["sha256"][:16],
            )
            for row in trained
        ],
    )
    print_note("stored; use them by name: dvfo accuracy measure --model " + names[0])
    return 0


class _Progress:
    """A line on stderr: rewritten twice a second on a terminal, one an epoch elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.terminal = sys.stderr.isatty()
        self.last = 0.0

    def __call__(self, step: Step) -> None:
        now = time.monotonic()
        if step.step < step.steps and (not self.terminal or now - self.last < 0.5):
            return
        self.last = now
        done = 100 * step.step // step.steps
        line = (
            f"{self.name}: epoch {step.epoch + 1} of {step.epochs}, {done:3d} %, loss {step.loss:.3f}, "
            f"{step.remaining_s:.0f} s left"
        )
        print(
            f"\r{line:<78}" if self.terminal else line,
            end="" if self.terminal else "\n",
            file=sys.stderr,
            flush=True,
        )

    def end(self) -> None:
        """Leave the line."""
        if self.terminal:
            print(file=sys.stderr)
