"""Run a sample of a results file again and compare bit for bit.

Example:
    dvfo validate reports/default-ppo-0/results.csv --sample 20
"""

from __future__ import annotations

import argparse
from dataclasses import asdict

from dvfo_agents.arguments import at_least
from dvfo_cli.output import print_json, print_note


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo validate`."""
    parser.add_argument("results", metavar="results.csv", help="a file that dvfo evaluate wrote")
    parser.add_argument(
        "--sample", type=at_least(int, 1), default=8, metavar="N", help="rows to run; default: 8"
    )
    parser.add_argument("--seed", type=int, default=0, help="draws the sample; default: 0")
    parser.add_argument(
        "--trust-pickle", action="store_true", help="allow policies whose file can run any code when read"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Replay and say what was replayed; a row that differs is an error that names its line."""
    from dvfo_evaluation.replay import validate

    report = validate(arguments.results, arguments.sample, arguments.seed, arguments.trust_pickle)
    if arguments.json:
        print_json(asdict(report))
        return 0
    print_note(f"{len(report.lines)} of {report.rows:,} rows run again: every figure the same, bit for bit")
    print_note(f"lines {', '.join(map(str, report.lines))}")
    print_note(f"agents {', '.join(report.agents)}")
    return 0
