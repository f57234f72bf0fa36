"""The leaderboard that comes with the project: whole, about this release, and the same when run again."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_evaluation.contestants import checkpoint_sha256
from dvfo_evaluation.leaderboard import check, read_board
from dvfo_evaluation.results import read_results

BOARD = Path(__file__).parents[2] / "leaderboard" / "leaderboard.csv"


def test_every_row_has_its_results_and_its_policies_beside_it() -> None:
    rows = read_board(BOARD)
    assert {"hindsight", "ppo", "planner"} <= {row.agent for row in rows}
    for row in rows:
        results = BOARD.parent / row.results
        listed = {r.agent: r for r in read_results(results) if r.agent in row.members.split("; ")}
        assert len(listed) == max(row.seeds, 1)
        learned = [r for r in listed.values() if r.kind == "learned"]
        found = [checkpoint_sha256(results.parent / r.source) for r in learned]
        assert "; ".join(found) == row.checkpoints


def test_our_own_learner_stands_first() -> None:
    rows = [row for row in read_board(BOARD) if row.scenario == "nano-mobilenet-v2-wifi-campus"]
    assert max(rows, key=lambda row: row.score).agent == "hindsight"


@pytest.mark.slow
def test_every_row_is_the_same_when_run_again() -> None:
    checked = check(BOARD)
    assert [row.problem for row in checked] == [None] * len(checked)
