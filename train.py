"""Train an agent on a scenario and save it: config -> environment -> agent -> learn -> save.

    python train.py --agent ppo --scenario default --seed 0 --out runs/first --minutes 2.5

The run folder holds the resolved configuration, versions, checkpoints and TensorBoard curves;
`docs/training.md` explains each. A run that was stopped or killed goes on with `--resume`. Progress is on
stderr; `--json` prints the result as one JSON object on stdout. Exit codes: 0 done, 2 an error in one line,
130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dvfo_agents.arguments import at_least

if TYPE_CHECKING:  # imported late, so that --help answers at once
    from dvfo_agents.learners import Learner
    from dvfo_agents.progress import Progress, Standing
    from dvfo_agents.run_folder import RunConfig, RunFolder

PROGRAM = "dvfo train" if Path(sys.argv[0]).stem == "dvfo" else "train.py"


def build_parser() -> argparse.ArgumentParser:
    """The command line. With --resume, what is left out comes from the run."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM, description="Train an agent on a scenario; the result is a run folder."
    )
    parser.add_argument(
        "--agent", metavar="NAME|FILE", help="shipped agent or a .yaml file (default: hindsight)"
    )
    parser.add_argument(
        "--scenario", metavar="NAME|FILE", help="shipped scenario or a .yaml file (default: default)"
    )
    parser.add_argument(
        "--seed", type=at_least(int, 0), metavar="N", help="seed of everything random (default: 0)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="run folder (default: runs/SCENARIO-AGENT-SEED)"
    )
    budget = parser.add_mutually_exclusive_group()
    budget.add_argument(
        "--steps", type=at_least(int, 1), metavar="N", help="train for N environment steps in all"
    )
    budget.add_argument(
        "--minutes",
        type=at_least(float, 1e-3),
        metavar="M",
        help="train for M minutes in all (default: the agent's)",
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the newest whole checkpoint in --out"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    return parser


class Budget(NamedTuple):
    """How long to train: environment steps, or minutes where `steps` is None."""

    steps: int | None
    minutes: float | None

    def share_done(self, steps: int, seconds: float) -> float:
        """Share of the budget used, 0 to 1 and beyond."""
        return steps / self.steps if self.steps is not None else seconds / (60.0 * (self.minutes or 1.0))


def main(argv: list[str] | None = None) -> int:
    """Train as the arguments say; returns the exit code."""
    from dvfo_env.errors import DvfoError

    words = sys.argv[1:] if argv is None else argv
    arguments = build_parser().parse_args(words)
    arguments.words = words
    try:
        return train(arguments)
    except DvfoError as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("train: stopped before anything new was saved", file=sys.stderr)
        return 130


def train(arguments: argparse.Namespace) -> int:
    """One run from start to end; returns the exit code.

    Raises:
        DvfoError: a configuration that cannot be used, or a run folder that cannot be read or written.
    """
    from dvfo_agents.learners import build_learner
    from dvfo_agents.progress import Progress, Standing
    from dvfo_agents.run_folder import RunFolder
    from dvfo_env.tables import compile_scenario

    path = run_path(arguments)
    config = begun_config(path, arguments) if arguments.resume else new_config(arguments)
    given = Budget(arguments.steps, arguments.minutes)
    budget = given if any(given) else Budget(config.steps, config.minutes)

    tables = compile_scenario(config.scenario)
    with (
        RunFolder.open(path) if arguments.resume else RunFolder.create(path, config) as folder,
        Progress(f"{config.agent.label} on {config.scenario.name}") as progress,
        ctrl_c_stops() as stop_asked,
    ):
        folder.record_start(tables, [PROGRAM, *arguments.words])
        learner = build_learner(config.agent, tables, config.seed)
        trained_s = take_up(folder, learner, progress) if arguments.resume else 0.0
        standing = Standing(learner)
        clock = Clock(trained_s)
        learn(folder, learner, budget, clock, standing, progress, stop_asked)

    finished = budget.share_done(learner.num_timesteps, clock.seconds) >= 1.0
    result = summary(folder, learner, clock, standing.score(), finished)
    print(json.dumps(result) if arguments.json else sentence(result), flush=True)
    if finished:
        folder.write_result(result)
        return 0
    go_on = [PROGRAM, "--out", str(folder.path), "--resume", *budget_words(given)]
    print(f"stopped and saved; to go on: {shlex.join(go_on)}", file=sys.stderr)
    return 130


def learn(
    folder: RunFolder,
    learner: Learner,
    budget: Budget,
    clock: Clock,
    standing: Standing,
    progress: Progress,
    stop_asked: Callable[[], bool],
) -> None:
    """Train until the budget is used up or a stop is asked for; ends with everything saved.

    Raises:
        CheckpointError: a checkpoint cannot be written; earlier ones are untouched.
    """
    from dvfo_agents.checkpoint import write_checkpoint
    from dvfo_agents.run_folder import versions
    from dvfo_agents.snapshot import capture
    from dvfo_agents.training_log import TrainingLog

    def save() -> tuple[int, float]:
        steps, seconds = learner.num_timesteps, clock.seconds
        write_checkpoint(folder.checkpoints, steps, capture(learner, seconds), versions())
        return steps, seconds

    saved_steps, saved_s = learner.num_timesteps, clock.seconds
    with TrainingLog(folder.tensorboard, saved_steps, warn=progress.say) as log:
        while (done := budget.share_done(learner.num_timesteps, clock.seconds)) < 1.0 and not stop_asked():
            learner.progress_remaining = 1.0 - done
            learner.advance()
            log.write(learner, clock.seconds, standing.score())
            progress.update(done, learner.num_timesteps, clock.seconds, str(standing))
            if clock.seconds - saved_s >= folder.config.agent.checkpoint_s:
                saved_steps, saved_s = save()
        clock.stop()
        if learner.num_timesteps > saved_steps:
            save()
        log.write(learner, clock.seconds, standing.score(), force=True)


def new_config(arguments: argparse.Namespace) -> RunConfig:
    """The configuration of a new run.

    Raises:
        ConfigError: the agent or the scenario cannot be used.
    """
    from dvfo_agents.config import load_agent_config
    from dvfo_agents.run_folder import RunConfig
    from dvfo_env.scenario import load_scenario

    agent = load_agent_config(arguments.agent or "hindsight")
    scenario = load_scenario(arguments.scenario or "default")
    minutes = agent.minutes if arguments.steps is None and arguments.minutes is None else arguments.minutes
    return RunConfig(
        seed=arguments.seed or 0, steps=arguments.steps, minutes=minutes, agent=agent, scenario=scenario
    )


def begun_config(path: Path, arguments: argparse.Namespace) -> RunConfig:
    """The configuration of the run in folder `path`.

    Raises:
        DvfoError: there is no run in the folder, or the arguments contradict it.
    """
    from dvfo_agents.config import load_agent_config
    from dvfo_agents.run_folder import read_run_config
    from dvfo_env.errors import ConfigError
    from dvfo_env.scenario import load_scenario

    config = read_run_config(path)
    for option, same in (
        ("agent", arguments.agent is None or load_agent_config(arguments.agent) == config.agent),
        ("scenario", arguments.scenario is None or load_scenario(arguments.scenario) == config.scenario),
        ("seed", arguments.seed is None or arguments.seed == config.seed),
    ):
        if not same:
            raise ConfigError(f"--{option}: {path} began with another one: leave it out, or begin a new run")
    return config


def take_up(folder: RunFolder, learner: Learner, progress: Progress) -> float:
    """Put the learner where the newest whole checkpoint left it; returns the seconds trained until then.

    Raises:
        CheckpointError: there are checkpoints but none is whole, or it does not fit the run.
    """
    from dvfo_agents.checkpoint import newest_whole
    from dvfo_agents.snapshot import restore

    checkpoint = newest_whole(folder.checkpoints, warn=progress.say)
    if checkpoint is None:
        progress.say(f"{folder.path}: nothing was saved yet, starting at the beginning")
        return 0.0
    seconds = restore(learner, checkpoint)
    progress.say(f"going on from {checkpoint.path}: {checkpoint.steps} steps, {seconds:.0f} s trained")
    return seconds


class Clock:
    """Seconds spent training, those of earlier starts included."""

    def __init__(self, earlier_s: float) -> None:
        self.earlier_s = earlier_s
        self._began_s = time.perf_counter()
        self._stopped_s: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds trained in all."""
        now_s = time.perf_counter() if self._stopped_s is None else self._stopped_s
        return self.earlier_s + now_s - self._began_s

    def stop(self) -> None:
        """Count no further."""
        self._stopped_s = time.perf_counter()


@contextmanager
def ctrl_c_stops() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C only asks to stop after the current update; the second interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # signals are not ours to handle
        return

    def ask(number: int, frame: Any) -> None:
        asked.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def summary(
    folder: RunFolder, learner: Learner, clock: Clock, score: float | None, finished: bool
) -> dict[str, Any]:
    """The result as `--json` prints it; rates of this start, rewards of the last 256 episodes."""
    from dvfo_agents.learners import training_env

    env = training_env(learner)
    seconds, here_s = clock.seconds, clock.seconds - clock.earlier_s
    cost = env.mean_recent_cost()
    return {
        "run": str(folder.path),
        "agent": folder.config.agent.label,
        "scenario": folder.config.scenario.name,
        "seed": folder.config.seed,
        "finished": finished,
        "steps": learner.num_timesteps,
        "seconds": round(seconds, 2),
        "steps_per_s": round(env.steps / here_s) if here_s > 0.0 else None,
        "env_share": round(env.env_seconds / here_s, 4) if here_s > 0.0 else None,
        "reward_per_request": None if cost is None else round(-cost, 5),
        "score_in_training": None if score is None else round(score, 4),
    }


def sentence(result: dict[str, Any]) -> str:
    """The result for people."""
    rate = f" ({result['steps_per_s']} steps/s, {100 * result['env_share']:.0f} % of it in the environment)"
    return f"{result['run']}: {result['steps']} steps in {result['seconds']:.0f} s" + (
        rate if result["steps_per_s"] else ""
    )


def run_path(arguments: argparse.Namespace) -> Path:
    """Where the run lies: `--out`, or a folder named after scenario, agent and seed."""
    scenario, agent = Path(arguments.scenario or "default").stem, Path(arguments.agent or "hindsight").stem
    out: Path = arguments.out or Path("runs") / f"{scenario}-{agent}-{arguments.seed or 0}"
    return out


def budget_words(given: Budget) -> list[str]:
    """The budget as command-line arguments, where one was given."""
    return [word for name, value in given._asdict().items() if value for word in (f"--{name}", str(value))]


if __name__ == "__main__":
    sys.exit(main())
