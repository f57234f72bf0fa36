"""Training runs of a suite: folders named by what went into them, trained by `train.py` in its own process.

A run that was interrupted, even killed, goes on from its newest checkpoint.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import parent_process
from pathlib import Path

import yaml

from dvfo_agents.config import AgentConfig
from dvfo_agents.run_folder import RUN_FILE, tables_fingerprint
from dvfo_env.errors import CheckpointError
from dvfo_env.scenario import Scenario
from dvfo_env.tables import compile_scenario
from dvfo_evaluation.sources import sources_digest

_RESULT = "result.json"
_POLL_S = 0.2
_LOCK_PATIENCE_S = 30.0  # a process that was told to stop still writes its checkpoint


@dataclass(frozen=True)
class TrainingRun:
    """One training: configuration, scenario, seed and budget (`steps` or `minutes`), in a folder under
    `runs`.
    """

    label: str
    agent: AgentConfig
    scenario: Scenario
    seed: int
    steps: int | None
    minutes: float | None
    runs: Path

    @cached_property
    def path(self) -> Path:
        """The run folder; its name ends with a digest of everything that decides the training."""
        parts = {
            "agent": self.agent.model_dump(mode="json"),
            "scenario": self.scenario.model_dump(mode="json"),
            "tables": tables_fingerprint(compile_scenario(self.scenario)),
            "seed": self.seed,
            "steps": self.steps,
            "minutes": self.minutes,
            "code": sources_digest(*_learner_modules(self.agent.algorithm)),
        }
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:10]
        return self.runs.resolve() / f"{self.scenario.name}-{self.label}-{self.seed}-{digest}"

    @property
    def finished(self) -> bool:
        """Whether the budget is used up."""
        return (self.path / _RESULT).is_file()

    @property
    def expected_s(self) -> float | None:
        """Seconds that the training still takes; None where the budget is in steps."""
        if self.finished:
            return 0.0
        return None if self.minutes is None else 60.0 * self.minutes

    def run(self) -> None:
        """Train until the budget is used up, from where an earlier start left it.

        When this process is stopped (KeyboardInterrupt, SystemExit) or its parent has died, the training
        saves and stops first.

        Raises:
            CheckpointError: the training failed; its last line says why.
        """
        deadline_s = time.monotonic() + _LOCK_PATIENCE_S
        while not self.finished:
            with tempfile.TemporaryDirectory(prefix="dvfo-training-") as folder:
                status, last_line = self._attempt(Path(folder))
            if status == 0 and self.finished:
                return
            if "another process is training" in last_line and time.monotonic() < deadline_s:
                time.sleep(1.0)
                continue
            raise CheckpointError(f"training in {self.path}: {last_line or f'ended with status {status}'}")

    def _attempt(self, folder: Path) -> tuple[int, str]:
        with (folder / "told.txt").open("w+", encoding="utf-8") as told:
            process = subprocess.Popen(
                [sys.executable, "-m", "dvfo_train", *self._arguments(folder)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
                env={**os.environ, **ONE_THREAD},
                start_new_session=True,  # Ctrl-C in the terminal goes to us; we pass it on, once
                preexec_fn=_stop_with_parent if sys.platform == "linux" else None,
            )
            try:
                while process.poll() is None:
                    time.sleep(_POLL_S)
                    parent = parent_process()
                    if parent is not None and not parent.is_alive():
                        raise SystemExit(1)
            except BaseException:
                if process.poll() is None:
                    process.send_signal(signal.SIGINT)
                    process.wait()
                raise
            told.seek(0)
            lines = [line.strip() for line in told if line.strip()]
        return process.returncode, lines[-1] if lines else ""

    def _arguments(self, folder: Path) -> list[str]:
        budget = ["--steps", str(self.steps)] if self.steps is not None else ["--minutes", str(self.minutes)]
        where = ["--out", str(self.path), *budget]
        if (self.path / RUN_FILE).is_file():
            return [*where, "--resume"]
        agent, scenario = folder / "agent.yaml", folder / "scenario.yaml"
        for file, record in ((agent, self.agent), (scenario, self.scenario)):
            text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
            file.write_text(text, encoding="utf-8")
        return [*where, "--agent", str(agent), "--scenario", str(scenario), "--seed", str(self.seed)]


#: Numerical libraries keep to one thread: a suite fills the cores with processes.
ONE_THREAD = {
    name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
}


def _stop_with_parent() -> None:
    """Ask the kernel for SIGINT when the process that started this one dies, however it dies."""
    set_parent_death_signal = 1
    ctypes.CDLL(None).prctl(set_parent_death_signal, signal.SIGINT)


def _learner_modules(algorithm: str) -> tuple[str, ...]:
    name = algorithm.replace("-", "_")
    return (f"dvfo_agents.learners.{name}", "dvfo_agents.learners", "dvfo_agents.training_env")
