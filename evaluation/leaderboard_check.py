"""Behind a row of the leaderboard: its figures from a results file, and that file's episodes run again."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.policy import Policy, SeesTrueState
from dvfo_agents.result_cache import tables_digest
from dvfo_agents.run_folder import read_run_config
from dvfo_env.errors import ResultsError
from dvfo_env.scenario import list_scenarios, load_scenario
from dvfo_env.tables import CostTables, compile_scenario
from dvfo_env.uplinks import list_uplinks
from dvfo_evaluation.contestants import baseline, checkpoint_sha256, learned
from dvfo_evaluation.measures import has_headroom
from dvfo_evaluation.results import ResultRow, read_results
from dvfo_evaluation.runner import DEFAULT_SEEDS, SeedBlock, bound_per_episode, held_out, run_policy
from dvfo_evaluation.statistics import Bootstrap, Interval

_FIXED = "best-fixed"
_BOUND_TOLERANCE = 1e-9


class Key(NamedTuple):
    """An agent on a scenario over an uplink; `members` are its labels in the results file, one for each
    training seed.
    """

    agent: str
    scenario: str
    uplink: str
    members: tuple[str, ...]


class Recomputed(NamedTuple):
    """What a row says, from the results file: score and cost with 95 % intervals; seeds 0 for a baseline."""

    key: Key
    score: Interval
    cost: Interval
    seeds: int
    episodes: int
    tables_sha256: str
    checkpoints: tuple[str, ...]


class Results:
    """A results file and what was run again for it; tables, references and policies are kept between rows.

    Args:
        path: the results.csv.
        progress: is told what is being run.

    Raises:
        ResultsError: the file cannot be read.
    """

    def __init__(self, path: Path, progress: Callable[[str], None]) -> None:
        self.path = path
        self._progress = progress
        self._worlds: dict[tuple[str, str], tuple[CostTables, CostTables, str]] = {}
        self._baselines: dict[tuple[str, str], Policy] = {}
        self._replayed: set[tuple[str, str, str]] = set()

    @cached_property
    def _rows(self) -> dict[tuple[str, str, str], list[ResultRow]]:
        """Rows by (label, scenario, uplink)."""
        rows: dict[tuple[str, str, str], list[ResultRow]] = {}
        for row in read_results(self.path):
            rows.setdefault((row.agent, row.scenario, row.uplink), []).append(row)
        return rows

    @cached_property
    def _groups(self) -> dict[tuple[str, str, str], Key]:
        """By (agent, scenario, uplink): all of a learned agent's runs together, so that none is left out."""
        members: dict[tuple[str, str, str], list[str]] = {}
        for (label, scenario, uplink), rows in self._rows.items():
            agent = self._learned_agent(rows[0]) if rows[0].kind == "learned" else label
            members.setdefault((agent, scenario, uplink), []).append(label)
        return {at: Key(*at, tuple(labels)) for at, labels in members.items()}

    def keys(self, agents: tuple[str, ...]) -> list[Key]:
        """What the file has of `agents`; of none: of its learned agents, else of what a device could run.

        Raises:
            ResultsError: an agent is not in the file.
        """
        known = list(dict.fromkeys(key.agent for key in self._groups.values()))
        for agent in agents:
            if agent not in known:
                raise ResultsError(f"{self.path}: holds no agent {agent!r}; it holds {', '.join(known)}")
        if not agents:
            kinds = {
                key.agent: self._rows[(key.members[0], *key[1:3])][0].kind for key in self._groups.values()
            }
            trained = tuple(agent for agent, kind in kinds.items() if kind == "learned")
            agents = trained or tuple(agent for agent in known if not self._is_yardstick(agent))
        return [key for key in self._groups.values() if key.agent in agents]

    def key_of(self, members: tuple[str, ...], scenario: str, uplink: str) -> Key:
        """The key of rows with these labels.

        Raises:
            ResultsError: the file has no such agent there, or other runs of it.
        """
        for key in self._groups.values():
            if (key.members, key.scenario, key.uplink) == (members, scenario, uplink):
                return key
        raise ResultsError(f"members: {self.path} has no agent with just the rows {', '.join(members)} there")

    def recompute(self, key: Key) -> Recomputed:
        """The figures of a row, from costs and bound as the file has them; cheap checks come with it.

        Raises:
            ResultsError: the episodes or tables are not the release's, or the runs are not of one agent.
        """
        costs = np.stack([self._column(label, key, "cost") for label in key.members])
        fixed, bound = self._column(_FIXED, key, "cost"), self._column(_FIXED, key, "bound")
        if not has_headroom(fixed, bound):
            raise ResultsError(f"{self._where(key)}: there is nothing to gain over the best fixed action")
        bootstrap = Bootstrap(len(bound), seeds=len(costs))
        values = costs if len(costs) > 1 else costs[0]
        checkpoints = self._checkpoints(key)
        return Recomputed(
            key=key,
            score=bootstrap.interval(
                lambda w: (w.mean(fixed) - w.mean(values)) / (w.mean(fixed) - w.mean(bound))
            ),
            cost=bootstrap.mean(values),
            seeds=len(checkpoints),
            episodes=len(bound),
            tables_sha256=self._world(key)[2],
            checkpoints=checkpoints,
        )

    def replay(self, key: Key) -> None:
        """Run every episode behind a row again, those of the best fixed action and the bound too.

        Raises:
            ResultsError: a cost is another one; names line, bank and episode.
            DvfoError: a run folder cannot be read.
        """
        tables = self._world(key)[1]
        if (again := ("bound", key.scenario, key.uplink)) not in self._replayed:
            self._progress(f"{key.scenario}: computing the bound")
            found = bound_per_episode(tables, held_out(len(self._of(_FIXED, key))))
            self._compare(_FIXED, key, "bound", found, _BOUND_TOLERANCE)
            self._replayed.add(again)
        for label in (_FIXED, *key.members):
            if (again := (label, key.scenario, key.uplink)) in self._replayed:
                continue
            self._progress(f"{key.scenario}: running {label}")
            rows = self._of(label, key)
            episodes = run_policy(self._policy(rows[0], key), tables, held_out(len(rows)))
            self._compare(label, key, "cost", episodes.cost_per_request, 0.0)
            bounds = self._column(_FIXED, key, "bound")
            self._compare(label, key, "bound", bounds, 0.0)
            self._replayed.add(again)

    def _learned_agent(self, row: ResultRow) -> str:
        """What the configuration of a run calls the agent.

        Raises:
            ResultsError: a file that does not say what it was trained with, and from which seed.
            CheckpointError: the run is not there.
        """
        folder = self.path.parent / row.source
        if folder.suffix == ".zip":
            raise ResultsError(f"{self.path}: {folder} does not say its seed: use run folders")
        return read_run_config(folder).agent.label

    def _is_yardstick(self, agent: str) -> bool:
        """Whether a baseline looks at the simulator's true state, which no device can."""
        first = next((rows[0] for (label, _, _), rows in self._rows.items() if label == agent), None)
        if first is None or first.kind != "baseline":
            return False
        return isinstance(self._baseline(first, self._release(first.scenario)), SeesTrueState)

    def _baseline(self, row: ResultRow, training: CostTables) -> Policy:
        at = (row.source, row.scenario)
        if at not in self._baselines:
            self._progress(f"{row.scenario}: preparing {row.source}")
            self._baselines[at] = baseline(row.source, training).policy
        return self._baselines[at]

    def _policy(self, row: ResultRow, key: Key) -> Policy:
        training = self._world(key)[0]
        if row.kind == "baseline":
            policy = self._baseline(row, training)
            if row.source != row.agent:
                raise ResultsError(f"{self._where(key)}: {row.agent} is listed with baseline {row.source}")
            if isinstance(policy, SeesTrueState):
                raise ResultsError(
                    f"{self._where(key)}: sees the true state: a yardstick, which no device runs"
                )
            return policy
        source = self.path.parent / row.source
        if checkpoint_sha256(source) != row.checkpoint_sha256:
            raise ResultsError(f"{self._where(key)}: {source} holds other weights than when it was evaluated")
        return learned(source, training).policy

    def _checkpoints(self, key: Key) -> tuple[str, ...]:
        """SHA-256 of the members' checkpoints, none for a baseline.

        Raises:
            ResultsError: the runs differ in more than their seed, or two of them are one.
        """
        firsts = [self._of(label, key)[0] for label in key.members]
        if firsts[0].kind == "baseline":
            return ()
        folders = [self.path.parent / row.source for row in firsts]
        runs = [read_run_config(folder) for folder in folders]
        for folder, run in zip(folders, runs, strict=True):
            if run.model_copy(update={"seed": runs[0].seed}) != runs[0]:
                raise ResultsError(f"{self._where(key)}: {folder} was trained otherwise than {folders[0]}")
        found = tuple(row.checkpoint_sha256 for row in firsts)
        if len({run.seed for run in runs}) < len(runs) or len(set(found)) < len(found):
            raise ResultsError(f"{self._where(key)}: two of its runs have the same seed or the same weights")
        return found

    def _column(self, label: str, key: Key, name: str) -> NDArray[np.float64]:
        """One figure of every held-out episode, in their order, float64 [E]."""
        return np.array([getattr(row, name) for row in self._of(label, key)], dtype=np.float64)

    def _of(self, label: str, key: Key) -> list[ResultRow]:
        """The rows of a label, exactly one for every held-out episode.

        Raises:
            ResultsError: there are others, or too few.
        """
        digest = self._world(key)[2]
        listed = self._rows.get((label, key.scenario, key.uplink), [])
        rows = [row for row in listed if row.tables_sha256 == digest and not row.perturbation]
        if listed and not rows:
            raise ResultsError(f"{self._where(key)}: was run in other cost tables than the release's")
        blocks = held_out(max(len(rows), 1))
        if len(rows) < DEFAULT_SEEDS or [(r.bank_seed, r.episode_seed) for r in rows] != _places(blocks):
            raise ResultsError(
                f"{self._where(key)}: the {len(rows)} episodes of {label} are not the held-out ones of an "
                f"evaluation with --seeds {DEFAULT_SEEDS} or more"
            )
        if len({(r.kind, r.source, r.checkpoint_sha256) for r in rows}) > 1:
            raise ResultsError(f"{self._where(key)}: rows of {label} come from several policies")
        return rows

    def _world(self, key: Key) -> tuple[CostTables, CostTables, str]:
        """The release's tables of the scenario, those with the uplink of the row, and the latters' digest."""
        at = (key.scenario, key.uplink)
        if at not in self._worlds:
            training = self._release(key.scenario)
            world = training
            if key.uplink != training.uplink.name:
                if key.uplink not in list_uplinks():
                    raise ResultsError(f"{self._where(key)}: uplink {key.uplink!r} is none of the release's")
                world = compile_scenario(load_scenario(key.scenario, uplink=key.uplink))
            self._worlds[at] = (training, world, tables_digest(world))
        return self._worlds[at]

    def _release(self, scenario: str) -> CostTables:
        if scenario not in list_scenarios():
            raise ResultsError(f"{self.path}: scenario {scenario!r} is none of the release's")
        return compile_scenario(load_scenario(scenario))

    def _compare(self, label: str, key: Key, name: str, found: NDArray[np.float64], tolerance: float) -> None:
        listed = self._column(label, key, name)
        for row, old, new in zip(self._of(label, key), listed, found, strict=True):
            if abs(old - new) > tolerance * abs(new):
                raise ResultsError(
                    f"{self.path}: {label} on {key.scenario}, bank {row.bank_seed}, episode "
                    f"{row.episode_seed}: {name} is {old!r} in the file, {float(new)!r} when run again"
                )

    def _where(self, key: Key) -> str:
        return f"{self.path}: {key.agent} on {key.scenario}, uplink {key.uplink}"


def _places(blocks: tuple[SeedBlock, ...]) -> list[tuple[int, int]]:
    return [(block.bank_seed, int(seed)) for block in blocks for seed in block.episode_seeds]
