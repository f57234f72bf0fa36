"""TensorBoard scalars and histograms of a run; every tag is explained in `docs/training.md`."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.learners import Learner, training_env
from dvfo_agents.training_env import Totals
from dvfo_env.state import OUTCOME, PHASES

# every part adds up: latency_* to latency_ms, energy_* to energy_mj, all per request served
_MEANS = {
    **{f"{phase}_ms": f"latency/{phase}_ms" for phase in PHASES},
    "latency_ms": "latency/total_ms",
    **{f"{phase}_mj": f"energy/{phase}_mj" for phase in PHASES},
    "energy_mj": "energy/total_mj",
    "board_mj": "energy/board_mj",
    "idle_mj": "energy/idle_mj",
    "accuracy_lost_points": "request/accuracy_lost_points",
    "deadline_missed": "request/deadline_missed_share",
    "timed_out": "request/timed_out_share",
    "dropped": "request/dropped_per_served",
    "sent_kilobit": "request/sent_kilobit",
    "temperature_c": "device/temperature_c",
}


class TrainingLog:
    """Writes what happened since the last write, at most once every `every_s` seconds.

    Args:
        folder: where event files go.
        first_step: steps already trained; curves of a crashed run beyond it are hidden.
        every_s: least time between two writes.
        warn: told once, in one line, when the disk refuses; training goes on without curves.

    A context manager: leaving it flushes what is left.
    """

    def __init__(
        self, folder: Path, first_step: int, warn: Callable[[str], None], every_s: float = 2.0
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # tensorboard's own, on import
            from torch.utils.tensorboard import SummaryWriter
        self.every_s = every_s
        self._writer = SummaryWriter(str(folder), purge_step=first_step, flush_secs=10)
        self._warn = warn
        self._last_s = 0.0
        self._broken = False

    def write(self, learner: Learner, seconds: float, score: float | None, *, force: bool = False) -> None:
        """Write what was counted since the last write; `seconds` trained so far, `score` as in `progress`."""
        span_s = seconds - self._last_s
        if self._broken or (span_s < self.every_s and not force):
            return
        env = training_env(learner)
        totals = env.take_totals()
        if totals.steps == 0:
            return
        self._last_s = seconds
        scalars = means(totals) | learner.curves()
        scalars["time/steps_per_s"] = totals.steps / max(span_s, 1e-9)
        scalars["time/env_share"] = totals.env_seconds / max(span_s, 1e-9)
        if (cost := env.mean_recent_cost()) is not None:
            scalars["reward/episode_cost_per_request"] = cost
        if score is not None:
            scalars["reward/score_in_training"] = score
        try:
            for tag, value in scalars.items():
                self._writer.add_scalar(tag, value, learner.num_timesteps)
            for part, counts in zip(env.tables.choices, totals.choices, strict=True):
                if len(counts) > 1:
                    self._add_histogram(f"action/{part}", counts, learner.num_timesteps)
        except OSError as error:
            self._give_up(error)

    def _add_histogram(self, tag: str, counts: NDArray[np.int64], step: int) -> None:
        index = np.arange(len(counts))
        self._writer.add_histogram_raw(
            tag,
            min=-0.5,
            max=len(counts) - 0.5,
            num=int(counts.sum()),
            sum=float(counts @ index),
            sum_squares=float(counts @ index**2),
            bucket_limits=(index + 0.5).tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )

    def _give_up(self, error: OSError) -> None:
        self._broken = True
        self._warn(f"no more curves: {error.strerror or error}")

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        except OSError as error:
            self._give_up(error)


def means(totals: Totals) -> dict[str, float]:
    """Means per environment step of everything counted, by TensorBoard tag."""
    per_step = totals.outcomes / max(totals.steps, 1)
    scalars = {
        _MEANS[name]: float(value) for name, value in zip(OUTCOME, per_step, strict=True) if name in _MEANS
    }
    return {"reward/mean": totals.reward / max(totals.steps, 1), **scalars}
