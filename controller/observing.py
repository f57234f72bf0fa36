"""What a device knows, made into the observation its policy was trained on.

The features and their scaling are those of `dvfo_env.observation`; their parameters come from the manifest of
the bundle. Times are milliseconds of any one clock that never jumps.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import PARTS, Feature, Manifest
from dvfo_env.errors import BundleError

SMOOTHING = 0.3  # weight of the newest transfer in the moving average
LEAST_MBPS = 2.0**-10  # what a link that carries nothing is remembered as
_NEVER = -math.inf


@dataclass(frozen=True)
class Transfer:
    """What sending one request has taught, answered or not.

    heard_ms: when the transfer ended: with the answer, or with the time-out
    mbps: throughput of the sending
    answered_ms: when the answer came; None: it did not come in time, and the rest below is not known
    rtt_ms: round-trip time
    server_factor: the server's time over the unloaded server's, see `Observer.server_factor`
    """

    heard_ms: float
    mbps: float
    answered_ms: float | None = None
    rtt_ms: float = 1.0
    server_factor: float = 1.0


@dataclass(frozen=True)
class Moment:
    """The device when it begins to decide on a request.

    now_ms: this moment; arrival_ms: when the request came
    clocks: indices of the CPU, GPU and memory clock in force, see `Observer.clock_indices`
    temperature_c: of the device
    battery_mj: energy left; None on mains
    difficulty: class of the request, 0 the hardest; None: not known
    trips: how many trip points hold a cap; None: worked out from the temperature
    """

    now_ms: float
    arrival_ms: float
    clocks: tuple[int, int, int]
    temperature_c: float
    battery_mj: float | None = None
    difficulty: int | None = 0
    trips: int | None = None


class Observer:
    """Remembers what transfers have taught and builds observations from it.

    Args:
        manifest: of the bundle.
        eta: weight of energy in the cost; None takes what the policy was made for, the middle of a range.
        decision_ms: how long deciding takes; None takes what the policy was made for.

    Raises:
        BundleError: the manifest names a feature or a law that is not known here.
    """

    def __init__(
        self, manifest: Manifest, eta: float | None = None, decision_ms: float | None = None
    ) -> None:
        objective = manifest.objective
        self._manifest = manifest
        self._eta = 0.5 * (objective.eta_low + objective.eta_high) if eta is None else eta
        self._decision_ms = manifest.requests.decision_ms if decision_ms is None else decision_ms
        self._values = [(_scaling(feature), self._source(feature.name)) for feature in manifest.observation]
        self.reset()

    def reset(self) -> None:
        """Forget everything: a new session begins."""
        self.rate_log2 = self.rate_before_log2 = self.rate_smooth_log2 = 0.0
        self.rtt_log2 = self.server_log2 = 0.0
        self.heard_ms = self.answered_ms = _NEVER
        self.timeouts = self.unanswered = 0
        self.asked: tuple[int, ...] | None = None
        self._held = [False] * len(self._manifest.trips)
        self._began_ms: float | None = None
        self._interval_ms = self._manifest.requests.period_ms
        self._trips = 0

    def observe(self, moment: Moment) -> NDArray[np.float32]:
        """The observation float32 [features] with which deciding begins at `moment`."""
        if self._began_ms is not None:
            self._interval_ms = moment.now_ms - self._began_ms
        self._began_ms = moment.now_ms
        self._trips = self._held_trips(moment.temperature_c) if moment.trips is None else moment.trips
        return np.array([scaled(read(moment)) for scaled, read in self._values], dtype=np.float32)

    def ask(self, action: NDArray[np.integer]) -> None:
        """Remember the joint action [6] that was decided on, whatever became of it."""
        self.asked = tuple(int(index) for index in action)

    def learn(self, transfer: Transfer) -> None:
        """Remember what a request that was sent has taught."""
        self._remember_rate(transfer.mbps, transfer.heard_ms)
        if transfer.answered_ms is None:
            self.timeouts += 1
            self.unanswered += 1
            return
        self.timeouts = self.unanswered = 0
        self.answered_ms = transfer.answered_ms
        self.rtt_log2 = _log2(transfer.rtt_ms)
        self.server_log2 = _log2(transfer.server_factor)

    def hear_link(self, mbps: float, reported_ms: float) -> None:
        """Remember a rate that a link monitor reports; older news than the last transfer is none."""
        if reported_ms > self.heard_ms:
            self._remember_rate(mbps, reported_ms)
            if mbps > LEAST_MBPS:
                self.timeouts = 0

    def server_factor(self, action: NDArray[np.integer], server_ms: float) -> float:
        """The server's time for a request, decoding included, over the unloaded server's; at least 1."""
        cut, level = int(action[0]), int(action[-1])
        tail_ms = self._manifest.action.cuts[cut].tail_ms
        spent_ms = server_ms - self._manifest.action.compression[cut][level].decode_ms
        return max(spent_ms / tail_ms, 1.0) if tail_ms > 0.0 else 1.0

    def clock_indices(
        self, cpu_mhz: float | None, gpu_mhz: float | None, mem_mhz: float | None
    ) -> tuple[int, int, int]:
        """Indices of the legal values nearest to clocks in force; None (cannot be read): the highest."""
        action = self._manifest.action
        read = ((action.cpu_mhz, cpu_mhz), (action.gpu_mhz, gpu_mhz), (action.mem_mhz, mem_mhz))
        cpu, gpu, mem = (_nearest(legal, mhz) for legal, mhz in read)
        return cpu, gpu, mem

    def _remember_rate(self, mbps: float, heard_ms: float) -> None:
        rate_log2 = _log2(max(mbps, LEAST_MBPS))
        if self.heard_ms == _NEVER:
            self.rate_before_log2 = self.rate_smooth_log2 = rate_log2
        else:
            self.rate_before_log2 = self.rate_log2
            self.rate_smooth_log2 += SMOOTHING * (rate_log2 - self.rate_smooth_log2)
        self.rate_log2 = rate_log2
        self.heard_ms = heard_ms

    def _held_trips(self, temperature_c: float) -> int:
        for i, trip in enumerate(self._manifest.trips):
            if temperature_c >= trip.temperature_c:
                self._held[i] = True
            elif temperature_c < trip.release_c:
                self._held[i] = False
        return sum(self._held)

    def _source(self, name: str) -> Callable[[Moment], float | None]:
        """Where the physical value of a feature comes from; None: there is none yet."""
        sources: dict[str, Callable[[Moment], float | None]] = {
            "waiting": lambda at: at.now_ms - at.arrival_ms,
            "rate_last": lambda at: self.rate_log2,
            "rate_before": lambda at: self.rate_before_log2,
            "rate_smooth": lambda at: self.rate_smooth_log2,
            "silence": lambda at: at.now_ms - self.heard_ms,
            "rtt": lambda at: self.rtt_log2,
            "server_factor": lambda at: self.server_log2,
            "timeouts": lambda at: self.timeouts,
            "cpu_clock": lambda at: at.clocks[0],
            "gpu_clock": lambda at: at.clocks[1],
            "mem_clock": lambda at: at.clocks[2],
            "temperature": lambda at: at.temperature_c,
            "throttled": lambda at: self._trips,
            "battery": lambda at: math.inf if at.battery_mj is None else at.battery_mj,
            "eta": lambda at: self._eta,
            "difficulty": lambda at: at.difficulty,
            "decision_share": lambda at: self._decision_share(),
            "answer_age": lambda at: at.now_ms - self.answered_ms,
            "unanswered": lambda at: self.unanswered,
        }
        for place, part in enumerate(PARTS):
            sources[f"previous_{part.replace('_mhz', '_clock')}"] = self._asked(place)
        if name not in sources:
            raise BundleError(f"observation: feature {name!r} is not known here; known: {', '.join(sources)}")
        return sources[name]

    def _asked(self, place: int) -> Callable[[Moment], float | None]:
        return lambda at: None if self.asked is None else self.asked[place]

    def _decision_share(self) -> float:
        if self._decision_ms <= 0.0:
            return 0.0
        return self._decision_ms / self._interval_ms if self._interval_ms > 0.0 else 1.0


def _nearest(legal: tuple[float, ...], mhz: float | None) -> int:
    if mhz is None:
        return len(legal) - 1
    return min(range(len(legal)), key=lambda i: abs(legal[i] - mhz))


def _log2(value: float) -> float:
    """In float32, as the environment keeps it."""
    return float(np.float32(math.log2(np.float32(value))))


def _scaling(feature: Feature) -> Callable[[float | None], float]:
    """From a physical value to the feature; what is logarithmic comes as a logarithm."""
    zero, span, low = feature.zero, feature.span, feature.low
    if not span > 0.0:
        raise BundleError(f"observation: {feature.name}: span {span:g} is not above 0")
    per_span = 1.0 / span
    laws: dict[str, Callable[[float], float]] = {
        "linear": lambda value: min(max((value - zero) * per_span, low), 1.0),
        "log2": lambda value: min(max((value - zero) * per_span, low), 1.0),
        "age": lambda value: 1.0 if value == math.inf else value / (value + span),
        "share": lambda value: min(max(value / span, 0.0), 1.0),
        "index": lambda value: value * per_span,
    }
    if feature.law not in laws:
        raise BundleError(f"observation: {feature.name}: law {feature.law!r} is not one of {', '.join(laws)}")
    law = laws[feature.law]
    return lambda value: low if value is None else law(value)
