"""From a suite's tables to figures over scenarios and seeds: means, robust statistics, ours and planner."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from dvfo_evaluation.aggregate import (
    Scores,
    interquartile_mean,
    mean_score,
    optimality_gap,
    probability_of_improvement,
    profile_band,
    stratified_interval,
)
from dvfo_evaluation.arena import OWN, Arena
from dvfo_evaluation.measures import difference, has_headroom
from dvfo_evaluation.statistics import LEVEL, Bootstrap, Interval

_THRESHOLDS = np.linspace(-0.5, 1.0, 61)
_RESAMPLES = 1000

Arenas = dict[tuple[str, str], Arena]


class Standings(NamedTuple):
    """Scores of one contestant in one variant: points [R, S], draws [B, R, S] over resampled episodes, and
    the names of the S scenarios.
    """

    points: Scores
    draws: Scores
    scenarios: tuple[str, ...]

    def on(self, scenarios: tuple[str, ...]) -> Standings:
        """The same on some of the scenarios."""
        at = [self.scenarios.index(name) for name in scenarios]
        return Standings(self.points[:, at], self.draws[:, :, at], scenarios)


def labels_of(arena: Arena) -> dict[str, tuple[str, ...]]:
    """The labels of each contestant's runs in a table, by contestant."""
    found: dict[str, list[str]] = {}
    for label, origin in arena.contestants.items():
        found.setdefault(origin.agent, []).append(label)
    return {agent: tuple(labels) for agent, labels in found.items()}


def standings(arenas: Arenas, variant: str, against: str = "bound") -> dict[str, Standings]:
    """Scores of every contestant in a variant: shares of what `against` (the bound or a contestant) gains
    over the best fixed action. Scenarios in which nothing can be gained are left out.
    """
    columns: dict[str, dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]] = {}
    for (scenario, name), arena in arenas.items():
        if name != variant or (against != "bound" and against not in arena.episodes):
            continue
        best = arena.bound if against == "bound" else arena.episodes[against].cost_per_request
        fixed = arena.episodes["best-fixed"].cost_per_request
        if not has_headroom(fixed, best):
            continue
        weights = Bootstrap(len(best), resamples=_RESAMPLES).episode_shares
        gain = weights @ (fixed - best)
        gain = np.where(np.abs(gain) < 1e-12, 1e-12, gain)
        for agent, labels in labels_of(arena).items():
            costs = np.stack([arena.episodes[label].cost_per_request for label in labels])
            points = (fixed - costs).mean(axis=1) / (fixed - best).mean()
            draws = (weights @ (fixed - costs).T) / gain[:, None]
            columns.setdefault(agent, {})[scenario] = (points, draws)
    found = {}
    for agent, by_scenario in columns.items():
        runs = max(len(points) for points, _ in by_scenario.values())
        whole = {name: column for name, column in by_scenario.items() if len(column[0]) == runs}
        found[agent] = Standings(
            np.stack([points for points, _ in whole.values()], axis=-1),
            np.stack([draws for _, draws in whole.values()], axis=-1),
            tuple(whole),
        )
    return found


def overall(arenas: Arenas, variant: str) -> dict[str, dict[str, Any]]:
    """Every contestant of a variant over all its scenarios, as plain data: mean score and mean clairvoyant
    share, interquartile mean, optimality gap, probability of scoring higher than the planner, and the share
    of its score in the scenarios as they are that it keeps.
    """
    scores, shares = standings(arenas, variant), standings(arenas, variant, "clairvoyant")
    own = scores if variant == OWN else standings(arenas, OWN)
    planner = scores.get("planner")
    found: dict[str, dict[str, Any]] = {}
    for agent, ours in scores.items():
        told: dict[str, Any] = {
            "scenarios": len(ours.scenarios),
            "training_seeds": len(ours.points),
            "mean_score": _told(stratified_interval(mean_score, [ours.points], [ours.draws])),
            "interquartile_mean": _told(stratified_interval(interquartile_mean, [ours.points], [ours.draws])),
            "optimality_gap": _told(stratified_interval(optimality_gap, [ours.points], [ours.draws])),
            "mean_clairvoyant_share": None,
            "better_than_planner": None,
            "kept_score": None,
        }
        if agent in shares:
            share = shares[agent]
            told["mean_clairvoyant_share"] = _told(
                stratified_interval(mean_score, [share.points], [share.draws])
            )
        if planner is not None and agent != "planner":
            both = tuple(name for name in ours.scenarios if name in planner.scenarios)
            pair = [ours.on(both), planner.on(both)]
            told["better_than_planner"] = _told(
                stratified_interval(
                    probability_of_improvement, [p.points for p in pair], [p.draws for p in pair]
                )
            )
        if variant != OWN and agent in own:
            both = tuple(name for name in ours.scenarios if name in own[agent].scenarios)
            before = float(own[agent].on(both).points.mean())
            told["kept_score"] = float(ours.on(both).points.mean()) / before if before > 0.0 else None
        found[agent] = told
    return dict(sorted(found.items(), key=lambda item: -item[1]["mean_score"]["mean"]))


def profiles(arenas: Arenas, variant: str) -> dict[str, Any]:
    """Performance profiles of every contestant with 95 % bands, as plain data."""
    told: dict[str, Any] = {"thresholds": _THRESHOLDS.tolist(), "contestants": {}}
    for agent, ours in standings(arenas, variant).items():
        share, low, high = profile_band(ours.points, ours.draws, _THRESHOLDS)
        told["contestants"][agent] = {"share": share.tolist(), "low": low.tolist(), "high": high.tolist()}
    return told


def against_planner(arenas: Arenas, variant: str, agent: str) -> dict[str, Any] | None:
    """One learned agent against the planner, scenario by scenario and counted, as plain data.

    A scenario counts as won where two things hold: the planner's cost lies above the 95 % interval of the
    agent's over training seeds (Student's t on the same episodes, on which the planner, which has no seeds,
    has one cost), and the paired interval of the gain over seeds and episodes lies above 0. `apart` tells
    whether the two intervals of cost over episodes (and seeds) do not overlap either: episodes differ far
    more than policies do, so that is a much harder demand. None where the planner does not take part.
    """
    rows: list[dict[str, Any]] = []
    for (scenario, name), arena in arenas.items():
        labels = labels_of(arena).get(agent, ())
        if name != variant or "planner" not in arena.episodes or not labels:
            continue
        ours, planner = [arena.episodes[label] for label in labels], arena.episodes["planner"]
        seeds = over_seeds(np.array([run.cost_per_request.mean() for run in ours]))
        gain = difference(ours, planner, Bootstrap(len(arena.bound), seeds=len(ours)))
        costs = np.stack([run.cost_per_request for run in ours])
        wide = Bootstrap(len(arena.bound), seeds=len(ours)).mean(costs if len(ours) > 1 else costs[0])
        their = Bootstrap(len(arena.bound)).mean(planner.cost_per_request)
        rows.append({
            "scenario": scenario,
            "training_seeds": len(ours),
            "cost_over_seeds": _told(seeds),
            "cost": _told(wide),
            "planner_cost": _told(their),
            "gain": _told(gain),
            "won": bool(seeds.high < their.mean and gain.low > 0.0),
            "lost": bool(seeds.low > their.mean and gain.high < 0.0),
            "apart": bool(wide.high < their.low or wide.low > their.high),
        })  # fmt: skip
    if not rows:
        return None
    return {
        "agent": agent,
        "won": sum(row["won"] for row in rows),
        "lost": sum(row["lost"] for row in rows),
        "of": len(rows),
        "worst_gain": min(row["gain"]["mean"] for row in rows),
        "rows": rows,
    }


def over_seeds(values: NDArray[np.float64]) -> Interval:
    """Student's t 95 % interval of the mean over training seeds; of no width for a single run."""
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, mean, mean)
    half = float(
        student_t.ppf(0.5 * (1.0 + LEVEL), len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    )
    return Interval(mean, mean - half, mean + half)


def _told(interval: Interval) -> dict[str, float]:
    return interval._asdict()
