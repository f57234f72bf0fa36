"""The device's own state as far as an observation tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import BLOCKING, CONCURRENT, Numbers
from dvfo_controller.policies.expectation import Here
from dvfo_controller.policies.layout import Floats, Layout, Observations


@dataclass(frozen=True)
class Situations:
    """States of N devices: see `Here`; arrays [N]. `temperature_c` is what trip points hold by."""

    now_ms: Floats
    started_ms: Floats
    eta: Floats
    difficulty: NDArray[np.int64]
    cpu: NDArray[np.int64]
    gpu: NDArray[np.int64]
    mem: NDArray[np.int64]
    temperature_c: Floats
    trips: NDArray[np.int64]

    def here(self, i: int) -> Here:
        """The state of device `i`."""
        return Here(
            now_ms=float(self.now_ms[i]),
            started_ms=float(self.started_ms[i]),
            eta=float(self.eta[i]),
            difficulty=int(self.difficulty[i]),
            cpu=int(self.cpu[i]),
            gpu=int(self.gpu[i]),
            mem=int(self.mem[i]),
            trips=int(self.trips[i]),
        )


def ahead_ms(p: Numbers, layout: Layout, observations: Observations) -> Floats:
    """How much later than what was observed the action takes effect, ms [N].

    A blocking decision takes effect when it is there. A concurrent one does at the next request: about as
    much later as the last two decisions began apart.
    """
    if p.decision_mode != CONCURRENT:
        return np.full(len(observations), p.decision_ms)
    if p.decision_ms == 0.0:
        return np.full(len(observations), p.period_ms)
    return p.decision_ms / np.maximum(layout.feature(observations, "decision_share"), 1e-6)


def situations(
    p: Numbers, clocks: tuple[int, int, int], layout: Layout, observations: Observations
) -> Situations:
    """States [N] as far as observations float32 [N, features] tell; time counts from the arrival.

    The decision is taken to be there: a blocking one counts as waiting, a concurrent one as in time. The
    coming request is taken to wait as long as the one observed, and where its difficulty is not known yet it
    loses what requests lose on average. `clocks`: numbers of CPU, GPU and memory clocks.
    """
    now_ms = layout.feature(observations, "waiting") * p.queue_limit_ms
    if p.decision_mode == BLOCKING:
        now_ms = now_ms + p.decision_ms
    easiest = max(p.n_classes - 1, 0)
    difficulty = layout.raw(observations, "difficulty")
    cpu, gpu, mem = (
        np.rint(layout.raw(observations, f"{name}_clock") * np.float32(count - 1)).astype(np.int64)
        for name, count in zip(("cpu", "gpu", "mem"), clocks, strict=True)
    )
    temperature_c = layout.linear(observations, "temperature")
    return Situations(
        now_ms=now_ms,
        started_ms=now_ms - p.decision_ms,
        eta=np.clip(layout.feature(observations, "eta"), p.eta_low, p.eta_high),
        difficulty=np.where(difficulty < 0.0, easiest + 1, np.rint(difficulty * np.float32(easiest))).astype(
            np.int64
        ),
        cpu=cpu,
        gpu=gpu,
        mem=mem,
        temperature_c=temperature_c,
        trips=_trips(p, layout, observations, temperature_c),
    )


def _trips(
    p: Numbers, layout: Layout, observations: Observations, temperature_c: Floats
) -> NDArray[np.int64]:
    """Which trip points hold: as many as observed, those first that the temperature is furthest above."""
    n = p.n_trips
    bits: NDArray[np.int64] = np.zeros(len(observations), dtype=np.int64)
    held = np.rint(layout.raw(observations, "throttled") * np.float32(max(n, 1))).astype(np.int64)
    if n == 0 or not held.any():
        return bits
    above = np.where(
        temperature_c[:, None] >= np.array(p.trip_c[:n]),
        1e6,
        temperature_c[:, None] - np.array(p.release_c[:n]),
    )  # beyond the trip point for certain, else by the distance to release
    rank = np.argsort(np.argsort(-above, axis=1, kind="stable"), axis=1)
    holds = rank < held[:, None]
    bits += (holds * (1 << np.arange(n))).sum(axis=1)
    return bits
