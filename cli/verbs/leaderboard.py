"""The leaderboard: results that replay, as rows of a CSV file.

Examples:
    dvfo leaderboard keep runs/seed-* --out board      policies alone, to lie beside the results
    dvfo leaderboard add reports/default/results.csv --name my-agent --link https://example.org
    dvfo leaderboard validate                  run everything behind every row again
    dvfo leaderboard show --scenario default   who is best where
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from dvfo_cli.output import print_json, print_note, print_table
from dvfo_evaluation.progress_line import ProgressLine

if TYPE_CHECKING:
    from dvfo_evaluation.leaderboard import Entry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo leaderboard`."""
    whats = parser.add_subparsers(dest="what", required=True, metavar="WHAT")
    keeping = whats.add_parser("keep", help="copy the policies of runs, small enough to lie beside results")
    keeping.add_argument("runs", nargs="+", type=Path, metavar="RUN_DIR", help="run folders of train.py")
    keeping.add_argument("--out", type=Path, required=True, metavar="DIR", help="where their copies go")
    adding = whats.add_parser("add", help="check a results.csv and write its agents into the leaderboard")
    adding.add_argument("results", type=Path, metavar="results.csv", help="a file that dvfo evaluate wrote")
    adding.add_argument(
        "--agents", metavar="NAME,...", help="which of its agents; default: the learned ones, else all"
    )
    adding.add_argument("--name", help="under which name the agent is listed; default: as in the file")
    adding.add_argument("--link", default="", metavar="URL", help="a page about it")
    adding.add_argument(
        "--allow-few", action="store_true", help="take fewer than 5 training seeds, marked as few"
    )
    adding.add_argument("--replace", action="store_true", help="put the row in the place of an earlier one")
    validating = whats.add_parser("validate", help="recompute every row, running its episodes again")
    showing = whats.add_parser("show", help="rank the agents on each scenario")
    showing.add_argument("--scenario", metavar="NAME", help="only this one")
    for each in (adding, validating, showing):
        each.add_argument(
            "--board",
            type=Path,
            default=Path("leaderboard.csv"),
            metavar="FILE",
            help="the leaderboard; default: leaderboard.csv here",
        )
        each.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Keep, add, validate or show."""
    return {"keep": _keep, "add": _add, "validate": _validate, "show": _show}[arguments.what](arguments)


def _keep(arguments: argparse.Namespace) -> int:
    from dvfo_agents.kept import keep_policy

    for run in arguments.runs:
        folder = keep_policy(run, arguments.out / run.resolve().name)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print_note(f"{folder}: {size / 1e3:.0f} kB")
    return 0


def _add(arguments: argparse.Namespace) -> int:
    from dvfo_evaluation.leaderboard import add

    agents = tuple(name.strip() for name in (arguments.agents or "").split(",") if name.strip())
    with _progress() as progress:
        added = add(
            arguments.board,
            arguments.results,
            agents=agents,
            name=arguments.name,
            link=arguments.link,
            allow_few=arguments.allow_few,
            replace=arguments.replace,
            progress=progress,
        )
    if arguments.json:
        print_json([entry._asdict() for entry in added])
        return 0
    for entry in added:
        print_note(
            f"{arguments.board}: {entry}: score {_score(entry)}, every episode the same when run again"
        )
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    from dvfo_env.errors import ResultsError
    from dvfo_evaluation.leaderboard import check

    with _progress() as progress:
        checked = check(arguments.board, progress)
    if arguments.json:
        print_json([{"line": row.line, "problem": row.problem, **row.entry._asdict()} for row in checked])
    else:
        for row in checked:
            print_note(f"line {row.line}: {row.entry}: {row.problem or 'the same when run again'}")
    wrong = [row for row in checked if row.problem is not None]
    if wrong:
        lines = ", ".join(str(row.line) for row in wrong)
        raise ResultsError(
            f"{arguments.board}: {len(wrong)} of {len(checked)} rows do not agree: line {lines}"
        )
    return 0


def _show(arguments: argparse.Namespace) -> int:
    from dvfo_env.errors import ResultsError
    from dvfo_env.scenario import load_scenario
    from dvfo_evaluation.leaderboard import ranking, read_board

    scenario = None if arguments.scenario is None else load_scenario(arguments.scenario).name
    tables = ranking(read_board(arguments.board), scenario)
    if scenario is not None and not tables:
        raise ResultsError(f"{arguments.board}: holds no row on {scenario}")
    if arguments.json:
        print_json(
            [{"rank": at, **row._asdict()} for rows in tables.values() for at, row in enumerate(rows, 1)]
        )
        return 0
    for (name, uplink), rows in tables.items():
        print_table(
            ("agent", "rank", "score", "95 % interval", "cost", "seeds", "date"),
            [
                (row.agent, at, f"{row.score:.3f}", f"{row.score_low:.3f} to {row.score_high:.3f}", row.cost,
                 _seeds(row), row.date)
                for at, row in enumerate(rows, 1)
            ],
            title=f"{name}, uplink {uplink}",
        )  # fmt: skip
        print_note()
    print_note("score: 0 is the best fixed action, 1 a bound; seeds: training seeds, * fewer than five")
    if len({row.tables_sha256 for rows in tables.values() for row in rows}) > len(tables):
        print_note("some rows were run in other cost tables than their neighbours: dvfo leaderboard validate")
    return 0


def _seeds(row: Entry) -> str:
    return f"{row.seeds}*" if row.few else str(row.seeds or "")


def _score(entry: Entry) -> str:
    return f"{entry.score:.3f} [{entry.score_low:.3f}, {entry.score_high:.3f}]"


def _progress() -> ProgressLine[str]:
    """Says what is being run."""
    return ProgressLine("reading the results")
