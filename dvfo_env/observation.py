"""What the agent sees: only what a real device could know, scaled to [-1, 1] by fixed constants.

The constants are part of the environment, not of a scenario and not of a policy, so an observation means the
same on every device and uplink and no normalisation statistics can get lost.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.compiled import inline_kernel
from dvfo_env.parameters import MAX_TRIPS


class Feature(NamedTuple):
    """One number of the observation: how it is scaled is given by the value at -1 (or 0) and at 1."""

    name: str
    unit: str
    low: str
    high: str
    meaning: str


RATE_CENTRE_LOG2 = 3.0  # 8 Mbit/s maps to 0
RATE_SPAN_LOG2 = 7.0  # 1/16 Mbit/s maps to -1, 1024 Mbit/s to 1
SILENCE_MS = 1000.0
RTT_SPAN_LOG2 = 10.0
SERVER_SPAN_LOG2 = 3.0
TIMEOUT_SPAN = 4.0
TEMPERATURE_LOW_C = 20.0
TEMPERATURE_SPAN_C = 80.0
# the step multiplies: that is faster than to divide
_PER_RATE_SPAN, _PER_RTT_SPAN = 1.0 / RATE_SPAN_LOG2, 1.0 / RTT_SPAN_LOG2
_PER_SERVER_SPAN, _PER_TEMPERATURE_SPAN = 1.0 / SERVER_SPAN_LOG2, 1.0 / TEMPERATURE_SPAN_C

FEATURES = (
    Feature("waiting", "share of the queue limit", "0", "1", "how long the current request has waited"),
    Feature("rate_last", "log2 Mbit/s", "1/16 Mbit/s", "1024 Mbit/s", "throughput of the last transfer"),
    Feature("rate_before", "log2 Mbit/s", "1/16 Mbit/s", "1024 Mbit/s", "throughput of the one before"),
    Feature("rate_smooth", "log2 Mbit/s", "1/16 Mbit/s", "1024 Mbit/s", "moving average, weight 0.3"),
    Feature(
        "silence", "t / (t + 1 s)", "0 (just now)", "1 (never)", "time since the last transfer or time-out"
    ),
    Feature("rtt", "log2 ms / 10", "1 ms", "1024 ms", "round-trip time last seen"),
    Feature(
        "server_factor", "log2 / 3", "1 (unloaded)", "8", "server time last seen over the unloaded server's"
    ),
    Feature("timeouts", "count / 4", "0", "4 or more", "consecutive time-outs up to now"),
    Feature("cpu_clock", "index share", "lowest point", "highest point", "CPU clock in force"),
    Feature("gpu_clock", "index share", "lowest point", "highest point", "GPU clock in force"),
    Feature("mem_clock", "index share", "lowest point", "highest point", "memory clock in force"),
    Feature("temperature", "deg C", "20 deg C (at 0)", "100 deg C", "temperature of the device"),
    Feature("throttled", "share", "0", "1", "share of the trip points that hold a cap"),
    Feature("battery", "share", "0 (empty)", "1 (full or mains)", "energy left"),
    Feature("eta", "1", "0 (latency only)", "1 (energy only)", "weight of energy in the cost"),
    Feature(
        "difficulty", "class share", "0 (hardest)", "1 (easiest)", "class of the current request; -1: unknown"
    ),
    Feature("previous_cut", "index share", "input", "all local", "cut last asked for; -1: none yet"),
    Feature("previous_mapping", "index share", "first", "last", "mapping last asked for; -1: none yet"),
    Feature("previous_cpu_clock", "index share", "lowest", "highest", "last asked for; -1: none yet"),
    Feature("previous_gpu_clock", "index share", "lowest", "highest", "last asked for; -1: none yet"),
    Feature("previous_mem_clock", "index share", "lowest", "highest", "last asked for; -1: none yet"),
    Feature("previous_compression", "index share", "first", "last", "level last asked for; -1: none yet"),
    Feature("decision_share", "t_AS / H", "0 (free)", "1", "time to decide over the time between decisions"),
    Feature("answer_age", "t / (t + 1 s)", "0 (just now)", "1 (never)", "time since the last answer came"),
    Feature("unanswered", "count / 4", "0", "4 or more", "requests sent since then"),
)
OBSERVATION_SIZE = len(FEATURES)


def index_of(name: str) -> int:
    """Column of a feature by name.

    Raises:
        KeyError: there is no such feature.
    """
    for i, feature in enumerate(FEATURES):
        if feature.name == name:
            return i
    raise KeyError(name)


#: Columns: class of difficulty, first part of the action last asked for, time to decide, answers.
DIFFICULTY, PREVIOUS, DECISION_SHARE = (index_of(n) for n in ("difficulty", "previous_cut", "decision_share"))
ANSWER_AGE, UNANSWERED = index_of("answer_age"), index_of("unanswered")


@inline_kernel()  # type: ignore[untyped-decorator]
def clip_unit(value: float, low: float) -> float:
    """`value` limited to [low, 1]."""
    return min(max(value, low), 1.0)


@inline_kernel()  # type: ignore[untyped-decorator]
def index_shares(top: Any, p: Any) -> tuple[float, ...]:
    """What turns numbers into shares: indices of the six parts of an action, of classes of difficulty, trip
    points held, milliseconds of waiting.

    `top` int64 [6] holds the highest index of each part.
    """
    return (
        1.0 / max(top[0], 1),
        1.0 / max(top[1], 1),
        1.0 / max(top[2], 1),
        1.0 / max(top[3], 1),
        1.0 / max(top[4], 1),
        1.0 / max(top[5], 1),
        1.0 / max(p.n_classes - 1, 1),
        1.0 / max(p.n_trips, 1),
        1.0 / p.queue_limit_ms,
    )


@inline_kernel()  # type: ignore[untyped-decorator]
def observe(
    s: Any, p: Any, shares: Any, now_ms: float, interval_ms: float, cpu: int, gpu: int, mem: int,
    row: NDArray[np.float32],
) -> None:  # fmt: skip
    """Write what state record `s` shows at `now_ms`, when the decision computed from it begins.

    `shares` are `index_shares`, `interval_ms` the time since the decision before began and `cpu`, `gpu`,
    `mem` the clocks in force; `row` is float32 [OBSERVATION_SIZE]. The action last asked for is not in the
    state: see `observe_asked` and `observe_nothing_asked`.
    """
    row[0] = clip_unit((now_ms - s.arrival_ms) * shares[8], 0.0)
    row[1] = clip_unit((s.rate_log2 - RATE_CENTRE_LOG2) * _PER_RATE_SPAN, -1.0)
    row[2] = clip_unit((s.rate_before_log2 - RATE_CENTRE_LOG2) * _PER_RATE_SPAN, -1.0)
    row[3] = clip_unit((s.rate_smooth_log2 - RATE_CENTRE_LOG2) * _PER_RATE_SPAN, -1.0)
    silence_ms = now_ms - s.heard_ms
    row[4] = 1.0 if silence_ms > 1e12 else silence_ms / (silence_ms + SILENCE_MS)
    row[5] = clip_unit(s.rtt_log2 * _PER_RTT_SPAN, 0.0)
    row[6] = clip_unit(s.server_log2 * _PER_SERVER_SPAN, 0.0)
    row[7] = clip_unit(s.timeouts / TIMEOUT_SPAN, 0.0)
    row[8] = cpu * shares[2]
    row[9] = gpu * shares[3]
    row[10] = mem * shares[4]
    row[11] = clip_unit((s.temperature_c - TEMPERATURE_LOW_C) * _PER_TEMPERATURE_SPAN, -1.0)
    held = 0
    for i in range(MAX_TRIPS):
        held += (s.trips >> i) & 1
    row[12] = held * shares[7]
    row[13] = 1.0 if np.isinf(p.battery_mj) else clip_unit(s.battery_mj / p.battery_mj, 0.0)
    row[14] = s.eta
    row[DIFFICULTY] = s.difficulty * shares[6]
    answer_age_ms = now_ms - s.answered_ms
    row[ANSWER_AGE] = 1.0 if answer_age_ms > 1e12 else answer_age_ms / (answer_age_ms + SILENCE_MS)
    row[UNANSWERED] = clip_unit(s.unanswered / TIMEOUT_SPAN, 0.0)
    row[DECISION_SHARE] = min(p.decision_ms / interval_ms, 1.0) if p.decision_ms > 0.0 else 0.0


@inline_kernel()  # type: ignore[untyped-decorator]
def observe_asked(shares: Any, action: Any, row: NDArray[np.float32]) -> None:
    """Write the action that was asked for last, indices [6], into `row`."""
    row[PREVIOUS] = action[0] * shares[0]
    row[PREVIOUS + 1] = action[1] * shares[1]
    row[PREVIOUS + 2] = action[2] * shares[2]
    row[PREVIOUS + 3] = action[3] * shares[3]
    row[PREVIOUS + 4] = action[4] * shares[4]
    row[PREVIOUS + 5] = action[5] * shares[5]


@inline_kernel()  # type: ignore[untyped-decorator]
def observe_nothing_asked(row: NDArray[np.float32]) -> None:
    """Write into `row` that no action was asked for yet."""
    for column in range(PREVIOUS, PREVIOUS + 6):
        row[column] = -1.0


def rate_mbps(feature: NDArray[np.floating]) -> NDArray[np.float64]:
    """Undo the scaling of the three rate features: Mbit/s of any shape."""
    return np.exp2(np.asarray(feature, dtype=np.float64) * RATE_SPAN_LOG2 + RATE_CENTRE_LOG2)


def rtt_ms(feature: NDArray[np.floating]) -> NDArray[np.float64]:
    """Undo the scaling of the RTT feature: ms of any shape."""
    return np.exp2(np.asarray(feature, dtype=np.float64) * RTT_SPAN_LOG2)


def server_factor(feature: NDArray[np.floating]) -> NDArray[np.float64]:
    """Undo the scaling of the server feature: factor >= 1 of any shape."""
    return np.exp2(np.asarray(feature, dtype=np.float64) * SERVER_SPAN_LOG2)


def temperature_c(feature: NDArray[np.floating]) -> NDArray[np.float64]:
    """Undo the scaling of the temperature feature: deg C of any shape."""
    return np.asarray(feature, dtype=np.float64) * TEMPERATURE_SPAN_C + TEMPERATURE_LOW_C
