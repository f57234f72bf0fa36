"""A run killed at any moment goes on from its newest whole checkpoint and ends."""

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from dvfo_agents.learned import load_policy
from tests.agents import small

# An interpreter that has trained once, so that everything is imported and compiled, and then forks a child
# for every line it reads: a child is at work within milliseconds, and kills land in training, not in imports.
STARTER = """
import json, os, sys
import dvfo_train
assert dvfo_train.main(json.loads(sys.stdin.readline())) == 0
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        os.dup2(2, 1)
        os._exit(dvfo_train.main(json.loads(line)))
    os.write(1, b"%d\\n" % child)
    os.write(1, b"%d\\n" % os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


class Starter:
    """Starts training runs as processes of their own."""

    def __init__(self, to: IO[str], answers: IO[str]) -> None:
        self._to, self._answers = to, answers

    def start(self, arguments: list[str]) -> int:
        """Process id of a run that has just begun."""
        self._to.write(json.dumps(arguments) + "\n")
        self._to.flush()
        return int(self._answers.readline())

    def exit_code(self) -> int:
        """Wait for the run to end."""
        return int(self._answers.readline())


@contextmanager
def starter(folder: Path) -> Iterator[Starter]:
    (folder / "warm").mkdir()
    with (
        open(folder / "stderr", "w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", STARTER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(small.train_arguments(folder / "warm", steps=128)) + "\n")
        process.stdin.flush()
        assert "128 steps" in process.stdout.readline()
        yield Starter(process.stdin, process.stdout)


def saved_steps(run: Path) -> int:
    """Steps in the newest checkpoint, whole or not; 0 without any."""
    return max((int(path.name) for path in (run / "checkpoints").glob("[0-9]*")), default=0)


def wait_for_more_than(steps: int, run: Path) -> None:
    deadline = time.monotonic() + 60.0
    while saved_steps(run) <= steps:
        assert time.monotonic() < deadline, "no new checkpoint within a minute"
        time.sleep(0.01)


def kill_and_resume(folder: Path, kind: str, kills: int) -> None:
    begin = small.train_arguments(folder, kind, steps=100_000_000, checkpoint_s=0.01)
    run = folder / "run"
    resume = ["--resume", "--out", str(run)]
    rng = random.Random(kills)
    steps = 0
    with starter(folder) as runs:
        for _ in range(kills):
            child = runs.start(resume if (run / "run.yaml").exists() else begin)
            if rng.random() < 0.7:  # else it dies somewhere in its start
                wait_for_more_than(steps, run)
            time.sleep(rng.uniform(0.0, 0.5))
            subprocess.run(["kill", "-KILL", str(child)], check=True)
            assert runs.exit_code() == -9, (folder / "stderr").read_text()
            assert saved_steps(run) >= steps
            steps = saved_steps(run)
        runs.start([*resume, "--steps", str(steps + 1024)])
        assert runs.exit_code() == 0, (folder / "stderr").read_text()
    assert (load_policy(run).steps or 0) >= steps + 1024


def test_a_run_killed_at_random_moments_resumes_and_ends(tmp_path: Path) -> None:
    kill_and_resume(tmp_path, "ppo", kills=12)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("kind", "kills"), [("ppo", 100), ("sac", 30)])
def test_a_run_killed_many_times_resumes_and_ends(tmp_path: Path, kind: str, kills: int) -> None:
    kill_and_resume(tmp_path, kind, kills)
