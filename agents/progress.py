"""What a person sees while training: a progress bar in a terminal, plain lines elsewhere; on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import NamedTuple

import numpy as np

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.learners import Learner, training_env
from dvfo_agents.planning.tuning import mean_cost
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import CostTables


class ScoreScale(NamedTuple):
    """Costs per request in training episodes: of the best fixed action (score 0), at the bound (score 1)."""

    fixed: float
    bound: float

    def score(self, cost: float) -> float:
        """Score of a policy with this mean cost per request."""
        return (self.fixed - cost) / (self.fixed - self.bound)


def score_scale(
    tables: CostTables, patience_s: float = 2.5, max_actions: int = 2_000_000
) -> ScoreScale | None:
    """Measure the score scale roughly, on training episodes; None where it would take long or there is no
    headroom.

    The bound is taken over 4 to 64 episodes, as far as `patience_s` seconds go, and the best fixed action is
    searched on 2 of them when the bound was quick and there are at most `max_actions` joint actions.
    Evaluation measures both properly.
    """
    from dvfo_env.oracle import best_fixed_action, bound_costs

    began = time.perf_counter()
    bounds = []
    for first in range(0, 64, 4):
        bounds.append(bound_costs(tables, 1_000_000 + first + np.arange(4)).mean())
        if time.perf_counter() - began > patience_s / 2:
            break
    if time.perf_counter() - began > patience_s or tables.joint_actions > max_actions:
        return None
    seeds = 1_000_000 + np.arange(4 * len(bounds))
    always = ConstantPolicy("best-fixed", best_fixed_action(tables, episodes=2).action)
    fixed = mean_cost(always, tables, TRAINING_BANK_SEED, seeds)
    bound = float(np.mean(bounds))
    return ScoreScale(fixed, bound) if fixed > bound else None


class Standing:
    """How well a learner does on its own training episodes: a rough score where the scale is known, else the
    cost.

    Exploration is included, so a policy is better than its standing; evaluation on held-out episodes says
    how much.
    """

    def __init__(self, learner: Learner) -> None:
        self._env = training_env(learner)
        self._scale = score_scale(self._env.tables)

    def score(self) -> float | None:
        """Score of the last 256 episodes; None before one ends or where the scale is not known."""
        cost = self._env.mean_recent_cost()
        return None if cost is None or self._scale is None else self._scale.score(cost)

    def __str__(self) -> str:
        cost, score = self._env.mean_recent_cost(), self.score()
        if cost is None:
            return "no episode has ended yet"
        return f"cost {cost:.3f} a request" + ("" if score is None else f", score about {score:.2f}")


class Progress:
    """Shows how far training has come. A context manager; `say` prints a line without breaking the bar.

    Args:
        title: what is being trained.
        quiet_s: seconds between two plain lines where stderr is not a terminal.
    """

    def __init__(self, title: str, quiet_s: float = 10.0) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TaskProgressColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[note]}"),
        )
        self._bar = Bar(*columns, console=self._console) if sys.stderr.isatty() else None
        self._task = self._bar.add_task(title, total=1.0, note="") if self._bar else None
        self._title, self._quiet_s, self._last_line_s = title, quiet_s, 0.0

    def __enter__(self) -> Progress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, markup=False)

    def update(self, share_done: float, steps: int, seconds: float, standing: str) -> None:
        """Show the share of the budget used, steps, seconds trained, and a text on how well it goes."""
        left_s = seconds / share_done - seconds if share_done > 0.0 else float("nan")
        left = "" if left_s != left_s else f", {left_s:.0f} s left"
        note = f"{steps / 1e6:.2f} M steps, {standing}{left}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=min(share_done, 1.0), note=note)
        elif seconds - self._last_line_s >= self._quiet_s:
            self._last_line_s = seconds
            self.say(f"{self._title}: {100 * min(share_done, 1.0):3.0f} %, {note}")
