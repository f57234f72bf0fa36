"""Joint actions carried out for real, one request after the other, through a shaped link."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.client import Answer, SplitClient
from dvfo_controller.split.shaping import Trace
from dvfo_env.state import PHASES
from dvfo_env.tables import CostTables
from dvfo_verification.agreement import Agreement
from dvfo_verification.links import Link
from dvfo_verification.predict import predicted_phases, trace_bank
from dvfo_verification.world import World

Image = NDArray[np.uint8]
#: Between two requests, so that nothing of the one is left when the next begins.
PAUSE_S = 0.05


@dataclass(frozen=True)
class Trial:
    """Requests carried out: joint actions int64 [N, parts], where on the trace each began [ms], answers."""

    actions: NDArray[np.int64]
    arrivals_ms: NDArray[np.float64]
    answers: tuple[Answer, ...]


def random_actions(tables: CostTables, n: int, seed: int) -> NDArray[np.int64]:
    """`n` joint actions int64 [n, parts], every part uniformly from its choices."""
    rng = np.random.default_rng(seed)
    return rng.integers(np.array(tables.sizes), size=(n, len(tables.sizes)))


def uplink_trace(tables: CostTables, seed: int, seconds: float) -> Trace:
    """The first `seconds` of a bank of the scenario's uplink, rates and round-trip times, as a link replays
    them.
    """
    step_ms = float(tables.params[0]["bank_step_ms"])
    samples = max(1, int(1000.0 * seconds / step_ms))
    bank = tables.uplink.bank(samples, seed)
    times_s = np.arange(samples) * step_ms * 1e-3
    return Trace(times_s, bank[:, 0], bank[:, 1], samples * step_ms * 1e-3)


def carry_out(
    client: SplitClient,
    world: World,
    link: Link,
    actions: NDArray[np.int64],
    images: Sequence[Image],
    tell: Callable[[int], None],
) -> Trial:
    """Carry out `actions`, one request each, with a pause between, through `link`.

    Sessions of every cut and mapping are made before: what is timed is a device that has been running.
    """
    tables = world.tables
    client.wait_connected()
    cuts = [str(cut) for cut in tables.choices["cut"]]
    client.prepare(cuts, list(world.places.values()))
    for cut in cuts:  # code paths of both sides run once before anything counts
        client.request(images[0], cut, next(iter(world.places.values())), _codec(tables, cut))
    arrivals, answers = [], []
    for number, action in enumerate(actions):
        time.sleep(PAUSE_S)
        while not client.connected:
            time.sleep(PAUSE_S)
        chosen = tables.describe_action(action)
        arrivals.append(link.now_ms())
        answers.append(
            client.request(
                images[number % len(images)],
                str(chosen["cut"]),
                world.places[str(chosen["mapping"])],
                str(chosen["compression"]),
            )
        )
        tell(number + 1)
    return Trial(actions, np.array(arrivals), tuple(answers))


def _codec(tables: CostTables, cut: str) -> str:
    return tables.encoders[tables.choices["cut"].index(cut)][0]


def compare(trial: Trial, world: World, trace: Trace) -> Agreement:
    """What the model predicts for each request of a trial, beside what was measured."""
    tables = world.tables
    step_ms = float(tables.params[0]["bank_step_ms"])
    bank = trace_bank(trace.mbps, trace.rtt_ms + world.loopback_ms)
    predicted = predicted_phases(tables, bank, trial.arrivals_ms % (len(bank) * step_ms), trial.actions)
    measured = np.array([[a.phases_ms.get(phase, 0.0) for phase in PHASES] for a in trial.answers])
    return Agreement(
        PHASES,
        predicted,
        measured,
        tuple(_label(tables, action) for action in trial.actions),
        tuple(answer.where for answer in trial.answers),
    )


def _label(tables: CostTables, action: NDArray[np.int64]) -> str:
    chosen = tables.describe_action(action)
    return f"{chosen['mapping']}, {chosen['cut']}, {chosen['compression']}"
