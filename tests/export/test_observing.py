"""The observer of a device sees what the environment shows: replayed over episodes of the simulator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dvfo_controller.bundle import Manifest, PolicyEntry
from dvfo_controller.observing import Moment, Observer, Transfer
from dvfo_env.observation import FEATURES
from dvfo_env.simulator import Simulator
from dvfo_env.state import FALLBACK, LATENCY_MS, NETWORK, SEEN_MBPS, SERVER, TIMED_OUT
from dvfo_env.tables import CPU, CUT, GPU, LOAD, MEM, RATE, CostTables, compile_scenario
from dvfo_export.manifest import manifest_of
from tests import worlds

WORLDS: dict[str, dict[str, Any]] = {
    "free": {},
    "blocking": {"decision": {"mode": "blocking", "latency_ms": 7.5}},
    "monitored": {"link_monitor_ms": 250.0},
    "battery": {"battery": {"capacity_mj": 60_000.0}},
    "classes": {"requests": {"period_ms": 150.0, "deadline_ms": 400.0, "difficulty": "known"}},
    "impatient": {"offload_timeout_ms": 60.0},
    "concurrent": {"decision": {"mode": "concurrent", "latency_ms": 60.0}, "link_monitor_ms": 300.0},
}
#: The environment's logarithms are the C library's log2f, whose last bit is off in one of 700; those of the
#: device are rounded correctly. 2^-22: one bit of log2 of 1 Gbit/s over seven octaves, and one of its own.
LOGARITHMS = {"rate_last", "rate_before", "rate_smooth", "rtt", "server_factor"}
ONE_BIT = 2.0**-22


def manifest(tables: CostTables) -> Manifest:
    return manifest_of(tables, PolicyEntry("graph", "test", None, {}), {})


class Replay:
    """Steps one simulated device and tells an observer only what a device would know."""

    def __init__(self, tables: CostTables, seed: int) -> None:
        self.tables = tables
        self.simulator = Simulator(tables, 1, bank_seed=3, autoreset=False)
        self.shown = self.simulator.reset(np.array([seed]))[0].copy()
        self.observer = Observer(manifest(tables), eta=float(self.state["eta"]))
        self.hear_link()

    @property
    def state(self) -> np.void:
        record: np.void = self.simulator.states[0]
        return record

    def observe(self) -> np.ndarray:
        """Before a request that is decided on now."""
        state = self.state
        return self.observer.observe(
            self.moment(state, float(state["now_ms"]), (state["cpu"], state["gpu"], state["mem"]))
        )

    def moment(self, state: np.void, now_ms: float, clocks: tuple[int, int, int]) -> Moment:
        mains = np.isinf(self.tables.params[0]["battery_mj"])
        return Moment(
            now_ms=now_ms,
            arrival_ms=float(state["arrival_ms"]),
            clocks=clocks,
            temperature_c=float(state["temperature_c"]),
            battery_mj=None if mains else float(state["battery_mj"]),
            difficulty=int(state["difficulty"]),
        )

    def hear_link(self, now_ms: float | None = None) -> None:
        every_ms = self.tables.scenario.link_monitor_ms
        if every_ms is None:
            return
        report_ms = np.floor((self.state["now_ms"] if now_ms is None else now_ms) / every_ms) * every_ms
        step = max(int(np.ceil(report_ms / self.tables.params[0]["bank_step_ms"])) - 1, 0)
        bank = self.simulator.bank
        self.observer.hear_link(float(bank[(int(self.state["offset"]) + step) % len(bank), RATE]), report_ms)

    def ahead(self, state: np.void, action: np.ndarray) -> np.ndarray:
        """While the request of `state` begins, with `action`, deciding on the next one does."""
        p = self.tables.params[0]
        now_ms = max(float(state["now_ms"]), float(state["started_ms"]) + p["decision_ms"])
        self.hear_link(now_ms)
        cpu, gpu = int(action[CPU]), int(action[GPU])
        for i in range(p["n_trips"]):
            if state["trips"] >> i & 1 and p["trip_is_gpu"][i]:
                gpu = min(gpu, p["trip_cap_index"][i])
            elif state["trips"] >> i & 1:
                cpu = min(cpu, p["trip_cap_index"][i])
        return self.observer.observe(self.moment(state, now_ms, (cpu, gpu, int(action[MEM]))))

    def step(self, action: np.ndarray) -> tuple[bool, np.ndarray]:
        """Serve a request; whether the episode ended, and what the observer sees before the next one."""
        before = self.state.copy()
        self.observer.ask(action)
        ahead = None
        if self.tables.scenario.decision.mode == "concurrent":
            ahead = self.ahead(before, action)
        batch = self.simulator.step(action[None])
        out = batch.outcomes[0].astype(np.float64)
        if action[CUT] < self.tables.sizes[CUT] - 1:
            done_ms = float(before["arrival_ms"]) + out[LATENCY_MS]
            bank = self.simulator.bank
            step = int(before["arrival_ms"] / self.tables.params[0]["bank_step_ms"])
            load = float(bank[(int(before["offset"]) + step) % len(bank), LOAD])
            if out[TIMED_OUT]:
                transfer = Transfer(done_ms - out[FALLBACK], out[SEEN_MBPS])
            else:
                transfer = Transfer(done_ms, out[SEEN_MBPS], done_ms, out[NETWORK], load)
                assert self.observer.server_factor(action, out[SERVER]) == pytest.approx(load, rel=1e-5)
            self.observer.learn(transfer)
        self.hear_link()
        self.shown = batch.observations[0].copy()
        return bool(batch.ends[0]), self.observe() if ahead is None else ahead


@pytest.mark.parametrize("world", WORLDS)
def test_every_feature_equals_the_environments(world: str, tmp_path: Path) -> None:
    tables = compile_scenario(
        worlds.scenario(tmp_path, worlds.device(hot=True), episode_requests=150, **WORLDS[world])
    )
    rng = np.random.default_rng(0)
    seen = []
    for seed in range(4):
        replay = Replay(tables, seed)
        ended, observed = False, replay.observe()
        while not ended:
            different = [
                f"{feature.name}: {mine!r} instead of {shown!r}"
                for feature, mine, shown in zip(FEATURES, observed, replay.shown, strict=True)
                if abs(mine - shown) > (ONE_BIT if feature.name in LOGARITHMS else 0.0)
            ]
            assert different == []
            seen.append(observed)
            ended, observed = replay.step(rng.integers(0, tables.sizes))
    varied = np.ptp(np.array(seen), axis=0) > 0.0
    constant = {feature.name for feature, changes in zip(FEATURES, varied, strict=True) if not changes}
    assert constant <= {"battery", "eta", "difficulty", "decision_share"} - {
        {
            "battery": "battery",
            "blocking": "decision_share",
            "concurrent": "decision_share",
            "classes": "difficulty",
        }.get(world)
    }
