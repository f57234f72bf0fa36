"""One worker: a process of its own that trains what it is told to and says at every rung how good it is."""

from __future__ import annotations

import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from dvfo_agents.tune.settings import LAST_RUNG, RUNGS
from dvfo_env.errors import DvfoError
from dvfo_env.scenario import Scenario
from dvfo_env.schema import parse_record
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables, compile_scenario

#: Seconds of wall time between two reports of how much of the budget is spent.
_REPORT_EVERY_S = 1.0
#: The search's answers at a rung.
GO_ON, STOP = "go on", "stop"


class Job(NamedTuple):
    """A trial to train: plain data of the agent's configuration, processor seconds for each scenario."""

    number: int
    config: dict[str, Any]
    seconds: float
    seed: int


class Report(NamedTuple):
    """What a worker says of its trial.

    `spent_s`: processor seconds so far, over all scenarios. `step` and `costs` (one for each scenario) at a
    rung; `error` when the trial failed.
    """

    number: int
    spent_s: float
    steps: int
    step: int | None = None
    costs: tuple[float, ...] = ()
    error: str | None = None


def work(connection: Connection, scenarios: list[dict[str, Any]], scratch: Path) -> None:
    """Train jobs from `connection` until it sends None or closes; one torch thread."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the search, which then ends its workers
    import torch

    torch.set_num_threads(1)
    tables = [compile_scenario(parse_record(data, Scenario, where="study")) for data in scenarios]
    for each in tables:
        _warm_up(each)
    try:
        while (job := connection.recv()) is not None:
            try:
                _Trial(job, tables, connection, scratch).train()
            except (DvfoError, ArithmeticError, ValueError, RuntimeError, MemoryError) as error:
                text = " ".join(f"{type(error).__name__}: {error}".split())
                connection.send(Report(job.number, 0.0, 0, error=f"{text:.200}"))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return  # the search is gone


def _warm_up(tables: CostTables) -> None:
    """Compile the step before anyone's processor time is counted."""
    simulator = Simulator(tables, 2)
    simulator.reset(np.arange(2))
    simulator.step(np.zeros((2, len(tables.sizes)), dtype=np.int64))


class _Trial:
    """A job being trained: one learner for each scenario, taken from rung to rung together."""

    def __init__(self, job: Job, tables: list[CostTables], connection: Connection, scratch: Path) -> None:
        from dvfo_agents.config import parse_agent_config
        from dvfo_agents.learners import build_learner

        self.job, self.tables, self.connection, self.scratch = job, tables, connection, scratch
        self.config = parse_agent_config(job.config, where=f"trial {job.number}")
        self.learners = [build_learner(self.config, each, job.seed) for each in tables]
        self.spent_s = [0.0] * len(tables)
        self._reported = time.monotonic()

    def train(self) -> None:
        """Train to the end, or until told to stop at a rung."""
        from dvfo_agents.tune.validation import learner_cost

        for step, share in RUNGS.items():
            for index in range(len(self.learners)):
                self._advance(index, share * self.job.seconds)
            costs = tuple(
                learner_cost(learner, self.config, tables, self.scratch)
                for learner, tables in zip(self.learners, self.tables, strict=True)
            )
            self._send(step, costs)
            if step == LAST_RUNG or self.connection.recv() != GO_ON:
                return

    def _advance(self, index: int, until_s: float) -> None:
        """Train one learner until it has had `until_s` processor seconds."""
        learner = self.learners[index]
        while self.spent_s[index] < until_s:
            began_s = time.process_time()
            learner.progress_remaining = max(0.0, 1.0 - self.spent_s[index] / self.job.seconds)
            learner.advance()
            self.spent_s[index] += time.process_time() - began_s
            if self.connection.poll():  # nothing is sent while we train: the search is gone
                self.connection.recv()
            if time.monotonic() - self._reported >= _REPORT_EVERY_S:
                self._send()

    def _send(self, step: int | None = None, costs: tuple[float, ...] = ()) -> None:
        self._reported = time.monotonic()
        steps = sum(learner.num_timesteps for learner in self.learners)
        self.connection.send(Report(self.job.number, sum(self.spent_s), steps, step, costs))
