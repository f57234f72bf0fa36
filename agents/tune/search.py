"""The search itself: hands trials to workers, stops poor ones at rungs, and writes down what came of each.

Only this process touches the database; workers are told what to train and report over a pipe. A worker whose
search is gone ends by itself.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import optuna
from optuna.trial import TrialState

from dvfo_agents.tune.settings import LAST_RUNG
from dvfo_agents.tune.study import StudyFile, is_shipped, plain_errors
from dvfo_agents.tune.worker import GO_ON, STOP, Job, Report, work
from dvfo_env.errors import ConfigError

#: Trials that may fail in a row before the search gives up.
_MOST_FAILURES = 3
_LOOK_EVERY_S = 1.0


class Standing(NamedTuple):
    """How far a search is.

    `finished` of `wanted` trials; `running`: number of a trial and its share of the budget; `best`: number
    and score of the best complete trial; `left_s`: estimate of the wall time left, None at the beginning.
    `ended` is the trial that has just ended, in words, where one has.
    """

    finished: int
    wanted: int
    running: tuple[tuple[int, float], ...]
    best: tuple[int, float] | None
    left_s: float | None
    ended: str | None = None


Watch = Callable[[Standing], None]


def search(file: StudyFile, trials: int, workers: int, watch: Watch) -> None:
    """Run until the study has `trials` finished trials, those of earlier starts included.

    Raises:
        ConfigError: the database cannot be written, or three trials in a row failed.
        KeyboardInterrupt: Ctrl-C; what was running is repeated at the next start.
    """
    with (
        plain_errors(file.path),
        tempfile.TemporaryDirectory(prefix="dvfo-tune-") as scratch,
    ):
        crew = _Crew(file, trials, workers, watch, Path(scratch))
        try:
            crew.run()
        finally:
            crew.dismiss()


class _Worker:
    """A worker process and the trial it has, if any."""

    def __init__(self, scenarios: list[dict[str, object]], scratch: Path) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        self.connection: Connection = ours
        self.process: SpawnProcess = spawn.Process(
            target=work, args=(theirs, scenarios, scratch), daemon=True
        )
        with _one_thread():
            self.process.start()
        theirs.close()
        self.trial: optuna.Trial | None = None
        self.spent_s = 0.0

    def end(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join()
        self.connection.close()


class _Crew:
    """Workers and what they are at."""

    def __init__(self, file: StudyFile, trials: int, workers: int, watch: Watch, scratch: Path) -> None:
        self.file, self.settings, self.watch, self.scratch = file, file.settings, watch, scratch
        self.wanted = trials
        self.scenarios = [arena.scenario.model_dump(mode="json") for arena in self.settings.arenas]
        self.budget_s = self.settings.seconds * len(self.scenarios)
        file.repeat_cut_off()
        self.finished = len(file.finished())
        self.failures = 0
        self.began_s, self.done_here = time.monotonic(), 0.0
        self.workers = [_Worker(self.scenarios, scratch) for _ in range(min(workers, self._missing()))]

    def run(self) -> None:
        """Until nothing is missing and nothing runs."""
        while True:
            for worker in self.workers:
                if worker.trial is None and self._missing() > self._running():
                    self._hand_out(worker)
            if not self._running():
                return
            ready = wait([w.connection for w in self.workers if w.trial is not None], timeout=_LOOK_EVERY_S)
            for worker in self.workers:
                if worker.connection in ready:
                    self._hear(worker)
            self._tell()

    def dismiss(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.end()

    def _missing(self) -> int:
        return max(0, self.wanted - self.finished)

    def _running(self) -> int:
        return sum(worker.trial is not None for worker in self.workers)

    def _hand_out(self, worker: _Worker) -> None:
        trial = self.file.next_trial()
        config = self.settings.trial_config(trial.params)
        seed = self.settings.seed * 10_000 + trial.number
        worker.trial, worker.spent_s = trial, 0.0
        job = Job(trial.number, config.model_dump(mode="json"), self.settings.seconds, seed)
        with contextlib.suppress(BrokenPipeError):  # it has died: hearing it will tell
            worker.connection.send(job)

    def _hear(self, worker: _Worker) -> None:
        trial = worker.trial
        assert trial is not None
        try:
            report: Report = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._died(worker, trial)
            return
        worker.spent_s = report.spent_s
        if report.error is not None:
            trial.set_user_attr("error", report.error)
            self._end(worker, trial, TrialState.FAIL, report.error)
        elif report.step is not None:
            self._rung(worker, trial, report)

    def _rung(self, worker: _Worker, trial: optuna.Trial, report: Report) -> None:
        arenas = self.settings.arenas
        scores = [arena.score(cost) for arena, cost in zip(arenas, report.costs, strict=True)]
        value = float(np.mean(scores))
        if not np.isfinite(value):
            trial.set_user_attr("error", "the cost is not finite")
            worker.connection.send(STOP)
            self._end(worker, trial, TrialState.FAIL, "the cost is not finite")
            return
        assert report.step is not None
        trial.report(value, report.step)
        trial.set_user_attr("costs", {a.scenario.name: c for a, c in zip(arenas, report.costs, strict=True)})
        trial.set_user_attr("steps", report.steps)
        trial.set_user_attr("seconds", round(report.spent_s, 2))
        if report.step == LAST_RUNG:
            self._end(worker, trial, TrialState.COMPLETE, f"score {value:.3f}", value)
            return
        poor = trial.should_prune() and not is_shipped(trial)
        worker.connection.send(STOP if poor else GO_ON)
        if poor:
            said = f"stopped at {report.spent_s:.0f} of {self.budget_s:.0f} s, score {value:.3f}"
            self._end(worker, trial, TrialState.PRUNED, said)

    def _end(
        self, worker: _Worker, trial: optuna.Trial, state: TrialState, said: str, value: float | None = None
    ) -> None:
        self.file.study.tell(trial, value, state=state)
        worker.trial = None
        self.finished += 1
        self.done_here += 1.0
        self.failures = self.failures + 1 if state == TrialState.FAIL else 0
        self._tell(f"trial {trial.number}: {said}")
        if self.failures >= _MOST_FAILURES:
            raise ConfigError(f"{self.file.path}: {self.failures} trials in a row failed; the last: {said}")

    def _died(self, worker: _Worker, trial: optuna.Trial) -> None:
        """Put the trial of a dead worker back in line, and a new worker in its place."""
        worker.process.join()
        reason = f"its worker ended with status {worker.process.exitcode}"
        self.file.repeat(self.file.study.trials[trial.number], reason)
        worker.end()
        self.finished = len(self.file.finished())
        self.failures += 1
        self._tell(f"trial {trial.number}: {reason}")
        if self.failures >= _MOST_FAILURES:
            raise ConfigError(f"{self.file.path}: {self.failures} trials in a row failed; the last: {reason}")
        self.workers[self.workers.index(worker)] = _Worker(self.scenarios, self.scratch)

    def _tell(self, ended: str | None = None) -> None:
        """Say how far the search is."""
        running = [(w.trial.number, w.spent_s / self.budget_s) for w in self.workers if w.trial is not None]
        done = self.done_here + sum(share for _, share in running)
        left = self.wanted - self.finished - sum(share for _, share in running)
        rate = done / max(time.monotonic() - self.began_s, 1e-9)
        complete = [t for t in self.file.trials() if t.state == TrialState.COMPLETE]
        best = max(complete, key=lambda t: float(t.value or 0.0), default=None)
        self.watch(
            Standing(
                finished=self.finished,
                wanted=self.wanted,
                running=tuple(running),
                best=None if best is None else (best.number, float(best.value or 0.0)),
                left_s=left / rate if done > 0.0 else None,
                ended=ended,
            )
        )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started inside compute on one thread each."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
