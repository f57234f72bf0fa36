"""The memory layout of a running simulation: one record per environment, one row of numbers per served
request.
"""

from __future__ import annotations

import numpy as np

#: Everything a simulated device carries from one request to the next. Times are wall time since the episode
#: began.
STATE = np.dtype(
    [
        ("now_ms", "f8"),  # the device is free and serves the current request from here
        ("arrival_ms", "f8"),  # when the current request arrived; now_ms - arrival_ms is its waiting time
        ("request", "i8"),  # index of the current request in its episode
        ("stream", "u8"),  # key of the episode's random numbers
        ("offset", "i8"),  # where in the bank the episode starts [samples]
        ("temperature_c", "f8"),
        ("battery_mj", "f8"),
        ("eta", "f8"),
        ("difficulty", "i8"),  # class of the current request, 0 the hardest
        ("heard_ms", "f8"),  # end of the last transfer or time-out; -inf before the first
        ("rate_log2", "f8"),  # log2 Mbit/s of the last transfer
        ("rate_before_log2", "f8"),  # of the one before
        ("rate_smooth_log2", "f8"),  # exponential moving average
        ("rtt_log2", "f8"),  # log2 ms, last seen
        ("server_log2", "f8"),  # log2 of the last seen server time over the unloaded server's
        ("timeouts", "i8"),  # consecutive, up to now; the link monitor's good news ends them
        ("answered_ms", "f8"),  # when the last answer came; -inf before the first
        ("unanswered", "i8"),  # requests sent since then
        ("cpu", "i4"),  # clock indices in force
        ("gpu", "i4"),
        ("mem", "i4"),
        ("trips", "i4"),  # bit i: trip point i holds its cap
        # kept where decisions take time:
        ("started_ms", "f8"),  # when computing the decision on the current request began
        ("interval_ms", "f8"),  # from the beginning of the decision before to that
    ],
    align=True,
)

#: Phases of a request, in order; latency and energy each have one part per phase and the parts add up.
PHASES = (
    "waiting", "decision", "transition", "head", "encode", "send", "network", "server", "receive", "fallback",
)  # fmt: skip
(
    WAITING, DECISION, TRANSITION, HEAD, ENCODE, SEND, NETWORK, SERVER, RECEIVE, FALLBACK,
) = range(len(PHASES))  # fmt: skip

#: Columns of an outcome row: latency parts [ms], energy parts [mJ], then these.
OUTCOME = (
    *(f"{phase}_ms" for phase in PHASES),
    *(f"{phase}_mj" for phase in PHASES),
    "latency_ms",
    "energy_mj",
    "board_mj",
    "accuracy_lost_points",
    "deadline_missed",
    "timed_out",
    "sent_kilobit",
    "seen_mbps",
    "cost",
    "dropped",
    "drop_cost",
    "idle_mj",
    "cpu_index",
    "gpu_index",
    "mem_index",
    "temperature_c",
)
ENERGY = len(PHASES)
(
    LATENCY_MS,
    ENERGY_MJ,
    BOARD_MJ,
    ACCURACY_LOST,
    DEADLINE_MISSED,
    TIMED_OUT,
    SENT_KILOBIT,
    SEEN_MBPS,
    COST,
    DROPPED,
    DROP_COST,
    IDLE_MJ,
    CPU_INDEX,
    GPU_INDEX,
    MEM_INDEX,
    TEMPERATURE,
) = range(2 * len(PHASES), len(OUTCOME))
