"""What a suite would do, before it does it: its cells, which are stored, how long the rest takes."""

from __future__ import annotations

import json
from pathlib import Path

from dvfo_env.errors import DvfoError
from dvfo_evaluation.contest import CellName, Contest
from dvfo_evaluation.suite import Suite
from dvfo_evaluation.suite_progress import duration
from dvfo_evaluation.suite_run import contests, standing


def print_plan(suite: Suite, runs: Path, processes: int, as_json: bool) -> None:
    """List every cell with what is known of it; the last line sums up.

    Raises:
        ConfigError: a scenario or agent of the suite does not fit.
    """
    planned = contests(suite, runs)
    state = standing(planned, processes)
    told: dict[CellName, str] = {}
    for contest in planned:
        told |= _cells(contest)
    for cell, status in told.items():
        if status == "stored":
            state.expected_s.pop(cell)
    stored = sum(status == "stored" for status in told.values())
    if as_json:
        cells = [{**cell._asdict(), "status": status} for cell, status in told.items()]
        print(json.dumps({"cells": cells, "stored": stored, "left_s": round(state.left_s)}))
        return
    width = max(map(len, told.values()))
    for cell, status in told.items():
        print(f"{status:<{width}}  {cell}")
    print(
        f"{len(told)} cells, {stored} stored; the rest takes about {duration(state.left_s)} "
        f"on {processes} cores, searches of baselines not counted"
    )


def _cells(contest: Contest) -> dict[CellName, str]:
    told: dict[CellName, str] = {}
    if contest.training is not None and contest.training_cell is not None:
        begun = contest.training.path.exists()
        status = "stored" if contest.training.finished else "begun" if begun else "missing"
        told[contest.training_cell] = status
    for place in contest.places:
        try:
            told[contest.cell(place)] = "stored" if contest.stored(place) else "missing"
        except DvfoError as error:
            told[contest.cell(place)] = f"cannot be: {error}"
    return told
