"""The scenarios: what adapting can gain in each, how much of it is measured, and how the baselines fare.

Examples:
    dvfo scenarios               all shipped ones with the quick baselines; minutes the first time, then kept
    dvfo scenarios --quick       the same over fewer episodes
    dvfo scenarios default       one scenario, or a .yaml file of your own
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from dvfo_cli.output import print_json, print_note, print_table, terminal_width
from dvfo_evaluation.progress_line import ProgressLine

if TYPE_CHECKING:
    from dvfo_evaluation.scenarios import ScenarioRow

#: Columns of a terminal from which on every baseline has one.
FULL_WIDTH = 120
#: Headroom below which a scenario teaches little.
LITTLE = 0.1
#: The baselines shown where there are fewer columns: the ones a new policy is compared with first.
NARROW = ("neurosurgeon-style", "planner", "clairvoyant")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo scenarios`."""
    parser.add_argument("names", nargs="*", metavar="NAME|FILE", help="scenarios; default: all shipped ones")
    parser.add_argument("--quick", action="store_true", help="few episodes: rough figures in less time")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Evaluate the baselines where that was not done before, and print."""
    from dvfo_env.scenario import list_scenarios, load_scenario
    from dvfo_evaluation.pool import cores
    from dvfo_evaluation.scenarios import survey

    scenarios = [load_scenario(name) for name in arguments.names or list_scenarios()]
    with ProgressLine[str]("looking for what was evaluated before") as progress:
        rows = survey(scenarios, arguments.quick, progress, cores())
    if arguments.json:
        print_json([row.as_json() for row in rows])
        return 0
    if len(arguments.names) == 1:
        _one(rows[0])
        return 0
    _table(rows)
    print_note(f"default is {load_scenario('default').name}")
    return 0


def _table(rows: list[ScenarioRow]) -> None:
    full = (terminal_width() or FULL_WIDTH) >= FULL_WIDTH
    known = list(dict.fromkeys(name for row in rows for name in row.baselines))
    shown = known if full else [name for name in known if name in NARROW]
    print_table(
        ("scenario", "headroom", "measured", *(name.replace("-", "-\n") for name in shown)),
        [
            (
                row.name,
                f"{row.headroom.mean:.1%}",
                f"{row.measured_share:.0%}",
                *(_score(row, name) for name in shown),
            )
            for row in rows
        ],
    )
    print_note("headroom: cost that the best fixed action pays above the bound, as a share of its cost")
    print_note(
        "measured: share of the coefficients that the scenario reaches and somebody measured or fitted"
    )
    whole = [row.name for row in rows if not row.assumed]
    print_note(f"fully measured: {', '.join(whole) or 'none of these'}")
    little = [row.name for row in rows if row.headroom.mean < LITTLE]
    if little:
        print_note(f"little to gain (headroom below {LITTLE:.0%}): {', '.join(little)}")
    print_note("agents: score on held-out episodes; 0 is the best fixed action, 1 the bound")


def _score(row: ScenarioRow, baseline: str) -> float | None:
    score = row.baselines.get(baseline, {}).get("score")
    return None if score is None else round(score, 2)


def _one(row: ScenarioRow) -> None:
    print_note(f"{row.name}: {row.title}")
    print_note(f"{row.device}, {row.workload}, uplink {row.uplink}; {row.joint_actions:,} joint actions")
    room = row.headroom
    print_note(f"headroom {room.mean:.1%} (95 % interval {room.low:.1%} to {room.high:.1%})")
    evidence = ", ".join(f"{number} {kind}" for kind, number in row.evidence.items())
    print_note(f"{row.measured_share:.0%} of the coefficients it reaches measured or fitted ({evidence})")
    if row.assumed:
        print_note(f"assumed: {', '.join(row.assumed)}")
    baselines = sorted(row.baselines.items(), key=lambda item: item[1]["cost"] or 0.0)
    print_table(
        ("baseline", "cost", "score"), [(name, told["cost"], told["score"]) for name, told in baselines]
    )
