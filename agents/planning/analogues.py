"""Belief by analogy: moments of the training bank at which a device had seen what this one sees now.

Devices that send now and then are simulated on the training bank (own transfers, link monitor, moving average
and all), and what they saw is kept with where in the bank that was. The K kept moments nearest to an
observation are K equally likely presents; what the bank goes on with there is what may come.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.belief import Transfers
from dvfo_agents.planning.seen import LAYOUT, silence_ms
from dvfo_agents.planning.tuning import tuned_on
from dvfo_controller.policies.analogues import Metric, NearMoments, bins_of, coordinates
from dvfo_env.observation import index_of, rate_mbps
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CUT, LEVEL, RATE, CostTables

Floats = NDArray[np.float64]

FIRST_SEED = 1_300_000
_DEVICES, _REQUESTS, _SKIPPED, _KEPT = 4096, 40, 8, 4  # keep one request in so many after the first few
_SIZES = 3  # classes of what is sent


class Moments:
    """What devices saw on the training bank, and where in it.

    observations float32 [M, OBSERVATION_SIZE]; at_ms float64 [M] place in the bank; rates_log2 float64
    [M, S]: throughput of transfers of `kilobits` [S] that begin there, log2 Mbit/s.

    Devices send above a bandwidth of their own (some always, some hardly ever) and do the opposite now and
    then, with random cuts and levels, so what is seen after long silence, time-outs and small transfers is
    represented. Stretches of the bank that settings are chosen on are left out.
    """

    def __init__(self, tables: CostTables) -> None:
        step_ms = float(tables.params[0]["bank_step_ms"])
        bank = tables.bank(TRAINING_BANK_SEED)
        simulator = Simulator(tables, _DEVICES, autoreset=False)
        observations = simulator.reset(FIRST_SEED + np.arange(_DEVICES))
        free = ~tuned_on(tables, simulator.states["offset"], _REQUESTS)
        generator = np.random.default_rng(0)
        ranks = (0.8 * len(bank) * generator.random(_DEVICES) ** 2).astype(np.int64)
        threshold_log2 = np.log2(np.maximum(np.sort(bank[:, RATE])[ranks], 0.01))
        whim = generator.choice([0.02, 0.1, 0.5], _DEVICES)
        rows, places = [], []
        for at in range(_REQUESTS):
            if at == 0 or (at >= _SKIPPED and at % _KEPT == 0):
                states = simulator.states[free]
                rows.append(observations[free].copy())
                places.append(states["offset"] * step_ms + states["now_ms"])
            seen = np.log2(rate_mbps(observations[:, index_of("rate_last")]))
            send = (seen >= threshold_log2) ^ (generator.random(_DEVICES) < whim)
            observations = simulator.step(_sent_anyhow(tables, send, generator)).observations
        self.observations: NDArray[np.float32] = np.concatenate(rows)
        self.at_ms: Floats = np.concatenate(places) % (len(bank) * step_ms)
        self.kilobits = size_classes(tables)
        self.rates_log2: Floats = np.stack(
            [
                Transfers(
                    bank[:, RATE].astype(np.float64),
                    step_ms,
                    size,
                    float(tables.params[0]["offload_timeout_ms"]),
                ).rate_log2(self.at_ms)
                for size in self.kilobits
            ],
            axis=1,
        )


def _sent_anyhow(
    tables: CostTables, send: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Joint actions [N, parts] at the highest clocks: random cuts, half of them the first, where `send`."""
    actions = np.repeat(tables.out_of_the_box[None], len(send), axis=0)
    if tables.sizes[CUT] > 1:
        cuts = generator.integers(tables.sizes[CUT] - 1, size=len(send))
        cuts[generator.random(len(send)) < 0.5] = 0
        actions[send, CUT] = cuts[send]
        actions[:, LEVEL] = generator.integers(tables.sizes[LEVEL], size=len(send))
    return actions


def size_classes(tables: CostTables) -> Floats:
    """Sizes in kilobits [S] that stand for all that can be sent in time, evenly spaced in logarithms."""
    if tables.sizes[CUT] == 1:
        return np.ones(1)
    sizes = tables.send[:-1, :, 0].astype(np.float64)
    fast = float(np.quantile(tables.bank(TRAINING_BANK_SEED)[:, RATE], 0.95))
    high = min(float(sizes.max()), fast * float(tables.params[0]["offload_timeout_ms"]))
    return np.geomspace(float(sizes.min()), max(high, 2.0 * float(sizes.min())), 2 * _SIZES + 1)[1::2]


class Analogues(NearMoments):
    """Belief from the `nearest` moments to an observation.

    `classes` int64 [K, Z] is the size class of what each cut and level send.

    Args:
        tables: the compiled scenario.
        moments: of its training bank.
        metric: which moments are near.
        nearest: number of moments, equally likely.
    """

    def __init__(self, tables: CostTables, moments: Moments, metric: Metric, nearest: int) -> None:
        heard = np.flatnonzero(np.isfinite(silence_ms(moments.observations)))
        generator = np.random.default_rng(1)
        points = coordinates(LAYOUT, moments.observations[heard], metric)
        points += generator.normal(0.0, 1e-3, points.shape)  # many moments look alike: any of them will do
        order = np.argsort(points[:, 0], kind="stable")
        sizes = len(moments.kilobits)
        super().__init__(
            LAYOUT,
            metric,
            nearest,
            points=np.ascontiguousarray(points[order].T),
            rows=heard[order],
            any_rows=generator.choice(len(moments.at_ms), nearest),
            ms_per_kilobit=np.exp2(-moments.rates_log2),
            bins=bins_of(moments.rates_log2[:, sizes // 2]),
        )
        nearest_size = np.abs(
            np.log(np.maximum(tables.send[:, :, 0], 1e-6))[..., None] - np.log(moments.kilobits)
        )
        self.classes: NDArray[np.int64] = nearest_size.argmin(axis=2).astype(np.int64)
