"""What a study found, as plain data, and the agent file that it recommends."""

from __future__ import annotations

import datetime
import math
import textwrap
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.trial import FrozenTrial, TrialState

from dvfo_agents.tune.settings import RUNGS, Settings
from dvfo_agents.tune.spaces import as_changes
from dvfo_agents.tune.study import StudyFile, is_shipped, plain_errors
from dvfo_agents.tune.validation import EPISODES
from dvfo_env.errors import ConfigError
from dvfo_env.whole_file import write_whole

#: Trials below which an importance says nothing.
LEAST_FOR_IMPORTANCE = 8


def summary(file: StudyFile, best: int = 4) -> dict[str, Any]:
    """The study in numbers.

    `trials`: the `best` complete trials, best first, each with number, score, cost on each scenario, steps,
    seconds, and the values of what was searched; `shipped` the same for the configuration set out from, with
    its `rank` among the complete ones, or None before it is done; `behind`: how far its score lies below the
    best. `stopped`: as many of the trials stopped early, those that came furthest first, each with its score
    `after_share` of the budget and that of the configuration given there. `importance`: share of the score's
    variation that each parameter explains (PED-ANOVA), after the largest share of the budget that eight
    trials reached (`importance_after_share`) and over so many (`importance_trials`); empty where there is
    none.
    """
    with plain_errors(file.path):
        trials = file.trials()
        complete = _ranked(trials)
        shipped = next((t for t in complete if is_shipped(t)), None)
        settings = file.settings
        return {
            "study": settings.name,
            "file": str(file.path),
            "agent": settings.agent,
            "scenarios": [arena.scenario.name for arena in settings.arenas],
            "seconds": settings.seconds,
            "sampler": settings.sampler,
            "pruner": settings.pruner,
            "versions": settings.versions,
            "counts": _counts(trials),
            "processor_s": round(sum(float(t.user_attrs.get("seconds", 0.0)) for t in trials), 1),
            "trials": [_trial(t, settings) for t in complete[:best]],
            "shipped": None
            if shipped is None
            else {**_trial(shipped, settings), "rank": complete.index(shipped) + 1},
            "behind": None if shipped is None else _value(complete[0]) - _value(shipped),
            "stopped": [{**_trial(t, settings), **_standing(t, shipped)} for t in _furthest(trials)[:best]],
            **_importance(trials),
        }


def export(file: StudyFile, out: Path) -> dict[str, Any]:
    """Write the best configuration as an agent file whose head says where it comes from; returns `summary`.

    Raises:
        ConfigError: no trial is complete, or the file cannot be written.
    """
    about = summary(file)
    if not about["trials"]:
        raise ConfigError(f"{file.path}: no trial is complete yet: nothing to export")
    with plain_errors(file.path):
        best = _ranked(file.trials())[0]
    config = {**file.settings.config, **as_changes(file.settings.ranges, best.params)}
    tidy = {name: _tidy(value) for name, value in config.items() if value is not None}
    text = yaml.safe_dump(tidy, sort_keys=False, default_flow_style=None)
    write_whole(out, "".join(f"# {line}\n" for line in _head(about)) + text)
    return about


def _head(about: dict[str, Any]) -> list[str]:
    """Lines of the comment at the top of an exported file."""
    counts, best, shipped = about["counts"], about["trials"][0], about["shipped"]
    command = (
        f"dvfo tune {about['agent']} --scenario {' '.join(about['scenarios'])} "
        f"--trials {sum(counts.values())} --seconds {about['seconds']:g} --sampler {about['sampler']} "
        f"--pruner {about['pruner']}"
    )
    if shipped is None:
        against = "The configuration it set out from was not completed."
    elif shipped["trial"] == best["trial"]:
        against = "It is the configuration that the study set out from."
    else:
        against = f"The configuration it set out from: {shipped['score']:.3f}."
    made = ", ".join(f"{name} {release}" for name, release in about["versions"].items())
    prose = (
        f"Mean score {best['score']:.3f} on {EPISODES} episodes of the validation bank "
        f"(0 = best fixed action, 1 = bound). {against} "
        f"{counts['complete']} trials complete, {counts['stopped']} stopped early, "
        f"{counts['failed']} failed; {about['seconds']:g} s of processor time a trial and scenario, "
        f"{about['processor_s']:.0f} s in all. Versions: {made}."
    )
    return [
        f"Trial {best['trial']} of study {about['study']}, {datetime.date.today().isoformat()}:",
        f"  {command}",
        *textwrap.wrap(prose, 108),
    ]


def _ranked(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Complete trials, best first."""
    return sorted((t for t in trials if t.state == TrialState.COMPLETE), key=_value, reverse=True)


def _value(trial: FrozenTrial) -> float:
    assert trial.value is not None
    return float(trial.value)


def _counts(trials: list[FrozenTrial]) -> dict[str, int]:
    states = {"complete": TrialState.COMPLETE, "stopped": TrialState.PRUNED, "failed": TrialState.FAIL}
    return {name: sum(t.state == state for t in trials) for name, state in states.items()}


def _trial(trial: FrozenTrial, settings: Settings) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "score": trial.value,
        "costs": trial.user_attrs.get("costs"),
        "steps": trial.user_attrs.get("steps"),
        "seconds": trial.user_attrs.get("seconds"),
        "shipped": is_shipped(trial),
        "values": {k: _tidy(v) for k, v in as_changes(settings.ranges, trial.params).items()},
    }


def _furthest(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Trials stopped early, those that came furthest first, then by score."""
    stopped = [t for t in trials if t.state == TrialState.PRUNED and t.intermediate_values]
    return sorted(stopped, key=lambda t: (_last_step(t), t.intermediate_values[_last_step(t)]), reverse=True)


def _last_step(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values)


def _standing(trial: FrozenTrial, shipped: FrozenTrial | None) -> dict[str, Any]:
    step = _last_step(trial)
    return {
        "after_share": RUNGS[step],
        "score": trial.intermediate_values[step],
        "shipped_score": None if shipped is None else shipped.intermediate_values.get(step),
    }


def _importance(trials: list[FrozenTrial]) -> dict[str, Any]:
    """Importances at the last rung that enough trials reached: few are complete where poor ones stop."""
    for step in sorted(RUNGS, reverse=True):
        there = [t for t in trials if step in t.intermediate_values]
        if len(there) < LEAST_FOR_IMPORTANCE:
            continue
        at_rung = optuna.create_study(direction="maximize")
        at_rung.add_trials(
            [
                optuna.trial.create_trial(
                    params=t.params, distributions=t.distributions, value=t.intermediate_values[step]
                )
                for t in there
            ]
        )
        try:
            shares = optuna.importance.get_param_importances(at_rung)
        except (ValueError, RuntimeError):  # all trials came to the same
            break
        return {
            "importance": {name: float(share) for name, share in shares.items() if math.isfinite(share)},
            "importance_after_share": RUNGS[step],
            "importance_trials": len(there),
        }
    return {"importance": {}, "importance_after_share": None, "importance_trials": 0}


def _tidy(value: Any) -> Any:
    """A value as one would write it: four significant digits, lists instead of tuples."""
    if isinstance(value, float):
        return float(f"{value:.4g}")
    return list(value) if isinstance(value, tuple) else value
