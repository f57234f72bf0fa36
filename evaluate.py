"""Judge trained agents and baselines over scenarios and held-out seeds; write the table, the CSV and the
report.

evaluate.py                                    baselines on the default scenario
evaluate.py runs/ppo                           a trained agent and baselines on the agent's scenario
evaluate.py runs/ppo --uplink drive.csv        the same with a trace file in the place of the uplink
evaluate.py runs/seed-*                        several training seeds: one more row with intervals over seeds
evaluate.py --suite quick                      train and judge what a suite lists; goes on where it stopped
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvfo_env.scenario import Scenario


def build_parser() -> argparse.ArgumentParser:
    """The command line; needs nothing but the standard library."""
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs_to_judge", nargs="*", metavar="RUN_DIR", type=Path, help="run folders of train.py"
    )
    parser.add_argument(
        "--agents",
        metavar="NAME,...",
        help="baselines to compare with, or `all`, which takes minutes (default: those ready in seconds)",
    )
    parser.add_argument(
        "--scenario",
        nargs="+",
        metavar="NAME|FILE",
        help="scenarios to evaluate on (default: that of the runs, else `default`)",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="held-out episodes, spread evenly over 4 banks of uplink and server samples (default: 128)",
    )
    parser.add_argument(
        "--uplink",
        type=Path,
        metavar="FILE",
        help="trace (Mahimahi or CSV time_s,mbps) or model file in the place of the scenario's uplink",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where results go (default: reports/SCENARIO-TIME)"
    )
    suites = parser.add_argument_group(
        "suites", "scenarios, variants, baselines and trainings in one YAML file"
    )
    suites.add_argument("--suite", metavar="NAME|FILE", help="quick, full, another of configs/suites, a file")
    suites.add_argument("--dry-run", action="store_true", help="list the suite's cells and which are stored")
    suites.add_argument("--jobs", type=int, metavar="N", help="processes (default: one for each core)")
    suites.add_argument(
        "--runs",
        type=Path,
        metavar="DIR",
        default=Path("runs") / "suites",
        help="where a suite's trainings lie (default: runs/suites)",
    )
    parser.add_argument("--json", action="store_true", help="print the rows as JSON instead of the table")
    parser.add_argument(
        "--trust-pickle",
        action="store_true",
        help="allow stable-baselines3 .zip files, whose pickles can run any code",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate; returns the exit status: 0 done, 1 some cells of a suite failed, 2 bad input (one line on
    stderr), 130 interrupted.
    """
    arguments = build_parser().parse_args(argv)
    from dvfo_env.errors import DvfoError

    try:
        if arguments.suite is not None:
            return evaluate_suite(arguments)
        evaluate(arguments)
    except DvfoError as error:
        print(f"evaluate.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "; what is done is kept: the same command goes on" if arguments.suite else ""
        print(f"evaluate.py: interrupted{kept}", file=sys.stderr)
        return 130
    return 0


def evaluate(arguments: argparse.Namespace) -> None:
    """What the command line asks for, from scenarios to the report.

    Raises:
        DvfoError: something that was asked for does not exist or does not fit.
    """
    from dvfo_agents.registry import baseline_names
    from dvfo_env.errors import ConfigError
    from dvfo_evaluation.arena import evaluate_scenario
    from dvfo_evaluation.contestants import check_names
    from dvfo_evaluation.progress_line import ProgressLine
    from dvfo_evaluation.report import write_report
    from dvfo_evaluation.results import REPORT_NAME, as_json, write_results
    from dvfo_evaluation.runner import DEFAULT_SEEDS
    from dvfo_evaluation.table import print_arena

    seeds = DEFAULT_SEEDS if arguments.seeds is None else arguments.seeds
    if not 2 <= seeds <= 65536:
        raise ConfigError(f"--seeds: {seeds} is not between 2 and 65536")
    names = None
    if arguments.agents is not None:
        names = tuple(name.strip() for name in arguments.agents.split(",") if name.strip())
        names = baseline_names() if names == ("all",) else names
        check_names(names)
    if arguments.uplink is not None and not arguments.uplink.is_file():
        raise ConfigError(f"--uplink: {arguments.uplink}: no such file")

    assignments = _assignments(arguments)
    with ProgressLine[str]("getting the scenario ready") as progress:
        arenas = [
            evaluate_scenario(
                scenario,
                names=names,
                runs=runs,
                seeds=seeds,
                uplink=arguments.uplink,
                trust_pickle=arguments.trust_pickle,
                progress=progress,
            )
            for scenario, runs in assignments
        ]
    name = arenas[0].scenario.name if len(arenas) == 1 else f"{len(arenas)}-scenarios"
    folder = arguments.out or _default_folder(name)
    results = write_results(folder, arenas)
    write_report(folder / REPORT_NAME, arenas)
    if arguments.json:
        print(json.dumps(as_json(arenas), allow_nan=False))
    else:
        for arena in arenas:
            print_arena(arena)
    where = sys.stderr if arguments.json else sys.stdout
    print(
        f"Report: {folder / REPORT_NAME}\nRows:   {results} (replay them: dvfo validate {results})",
        file=where,
    )


def evaluate_suite(arguments: argparse.Namespace) -> int:
    """Everything a suite lists, from trainings to the tables; returns the exit status.

    Raises:
        DvfoError: the suite or something it names cannot be used.
    """
    from dvfo_evaluation.pool import cores
    from dvfo_evaluation.report import write_suite_report
    from dvfo_evaluation.results import REPORT_NAME, write_results
    from dvfo_evaluation.suite import load_suite
    from dvfo_evaluation.suite_plan import print_plan
    from dvfo_evaluation.suite_progress import SuiteProgress
    from dvfo_evaluation.suite_run import run_suite
    from dvfo_evaluation.suite_table import print_suite, summarise_suite, write_suite

    _refuse_beside_suite(arguments)
    suite = load_suite(arguments.suite)
    jobs = arguments.jobs or cores()
    if arguments.dry_run:
        print_plan(suite, arguments.runs, jobs, arguments.json)
        return 0
    with SuiteProgress(suite.name) as progress:
        result = run_suite(suite, arguments.runs, jobs, progress)

    folder = arguments.out or _default_folder(suite.name)
    summary = summarise_suite(result)
    write_suite(folder, summary)
    rows = write_results(folder, list(result.arenas.values()))
    write_suite_report(folder / REPORT_NAME, summary, result.arenas)
    if arguments.json:
        print(json.dumps(summary, allow_nan=False))
    else:
        print_suite(summary)
    where = sys.stderr if arguments.json else sys.stdout
    print(f"Report: {folder / REPORT_NAME}\nRows:   {rows} (replay them: dvfo validate {rows})", file=where)
    for failure in result.failures:
        print(f"failed: {failure.cell}: {failure.reason}", file=sys.stderr)
    return 1 if result.failures else 0


def _refuse_beside_suite(arguments: argparse.Namespace) -> None:
    """A suite says itself what meets where.

    Raises:
        ConfigError: an option that a suite has no use for.
    """
    from dvfo_env.errors import ConfigError

    for name in ("runs_to_judge", "agents", "scenario", "seeds", "uplink", "trust_pickle"):
        if getattr(arguments, name):
            option = "run folders" if name == "runs_to_judge" else f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option}: a suite says itself what meets where: put it into the suite's file")
    if arguments.jobs is not None and arguments.jobs < 1:
        raise ConfigError(f"--jobs: {arguments.jobs} is below 1")


def _assignments(arguments: argparse.Namespace) -> list[tuple[Scenario, tuple[Path, ...]]]:
    """Scenarios with the runs that compete there: all of them where scenarios are named, else each on its
    own.
    """
    from dvfo_env.scenario import load_scenario
    from dvfo_evaluation.contestants import trained_scenario

    runs = tuple(arguments.runs_to_judge)
    if arguments.scenario or not runs:
        return [(load_scenario(name), runs) for name in arguments.scenario or ["default"]]
    own: dict[Scenario, list[Path]] = {}
    for run in runs:
        own.setdefault(trained_scenario(run), []).append(run)
    return [(scenario, tuple(folders)) for scenario, folders in own.items()]


def _default_folder(name: str) -> Path:
    """A new folder under `reports`, named after what was evaluated and when."""
    import datetime

    stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
    folder, number = Path("reports") / f"{name}-{stamp}", 2
    while folder.exists():
        folder = Path("reports") / f"{name}-{stamp}-{number}"
        number += 1
    return folder


if __name__ == "__main__":
    sys.exit(main())
