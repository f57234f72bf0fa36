"""Everything once, on this machine, in under five minutes: measure, learn, deploy, compare.

Measures a network on one core of this machine and on a server process with all of them, learns a policy on
the measurements, exports it, and lets the controller serve real requests with it over a link that replays 5G
on foot; then the same with fixed ways of doing it. Prints and draws the measured latencies.

Examples:
    dvfo demo                         what was measured and learned before is not done again
    dvfo demo --out /tmp/demo --run-seconds 60
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dvfo_cli.output import print_json, print_note, print_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo demo`."""
    parser.add_argument("workload", nargs="?", default="inception-v4", help="default: inception-v4")
    parser.add_argument("--uplink", default="5g-mmwave-walking", help="default: 5g-mmwave-walking")
    parser.add_argument("--profile-seconds", type=float, default=20.0, metavar="S", help="default: 20")
    parser.add_argument("--train-seconds", type=float, default=25.0, metavar="S", help="default: 25")
    parser.add_argument(
        "--run-seconds", type=float, default=20.0, metavar="S", help="each policy; default: 20"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="default: reports/demo-WORKLOAD")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it; status 1 where the learned policy does not have the least mean latency."""
    from dvfo_evaluation.progress_line import ProgressLine
    from dvfo_verification.demo import LEARNED, DemoOptions, demonstrate

    seconds = (arguments.profile_seconds, arguments.train_seconds, arguments.run_seconds)
    if min(seconds) <= 0.0:
        arguments.parser.error("--profile-seconds, --train-seconds and --run-seconds must be above 0")
    folder = arguments.out or Path("reports") / f"demo-{arguments.workload}"
    options = DemoOptions(folder, arguments.workload, arguments.uplink, *seconds)
    with ProgressLine[str]("dvfo demo: looking", lambda told: f"dvfo demo: {told}") as tell:
        demo = demonstrate(options, tell)
    means = {name: told["latency_ms"]["mean"] for name, told in demo.summaries.items()}
    if arguments.json:
        print_json(demo.summaries)
    else:
        rows = []
        for name, told in sorted(demo.summaries.items(), key=lambda item: means[item[0]]):
            by, latency = told["answered_by"], told["latency_ms"]
            rows.append(
                (
                    *(name, latency["mean"], latency["median"], latency["p95"]),
                    *(f"{told['answered']} of {told['requests']}", told["late"]),
                    *(by.get(where, 0) for where in ("device", "server", "fallback")),
                )
            )
        columns = (
            *("policy", "mean ms", "median ms", "p95 ms", "answered", "late"),
            *("by the device", "by the server", "after a time-out"),
        )
        print_table(columns, rows, "Measured latency over the same replayed uplink")
        print_note(f"Link: {demo.summaries[LEARNED]['link']}")
        print_note(f"Picture: {demo.picture}")
    return 0 if min(means, key=means.__getitem__) == LEARNED else 1
