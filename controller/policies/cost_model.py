"""What a device knows of its own costs: the scenario's tables and numbers, as a bundle carries them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Float32s = NDArray[np.float32]
Ints = NDArray[np.int64]

#: The action, part by part: this order is the columns of every action array.
CUT, MAPPING, CPU, GPU, MEM, LEVEL = range(6)
#: Columns of possible worlds: Mbit/s, round-trip time in ms, server time over the unloaded server's.
RATE, RTT, LOAD = range(3)
#: Columns of `CostModel.send`: kilobits, encode_ms at 1 GHz, decode_ms, then points lost by class.
KILOBIT, ENCODE_MS, DECODE_MS, LOST = range(4)
#: Columns of `CostModel.head`: latency and counted energy.
MS, MJ = range(2)

#: Values of `Numbers.decision_mode`.
FREE, BLOCKING, CONCURRENT = range(3)


@dataclass(frozen=True)
class Numbers:
    """Every scalar of a scenario that a decision may rest on; names and units as in the environment's record.

    Trip points come as one tuple a property; `trip_is_gpu` says which domain a cap holds for.
    """

    latency_weight_per_ms: float
    energy_weight_per_mj: float
    accuracy_weight_per_point: float
    deadline_weight: float
    eta_low: float
    eta_high: float
    poisson: int
    period_ms: float
    deadline_ms: float
    queue_limit_ms: float
    offload_timeout_ms: float
    radio_base_mw: float
    radio_mw_per_mbps: float
    radio_wait_mw: float
    answer_ms: float
    cpu_delay_ms: float
    gpu_delay_ms: float
    mem_delay_ms: float
    cpu_rank: int
    gpu_rank: int
    mem_rank: int
    n_trips: int
    n_classes: int
    decision_mode: int
    decision_ms: float
    delay_of_rank_ms: tuple[float, ...]
    trip_c: tuple[float, ...]
    release_c: tuple[float, ...]
    trip_is_gpu: tuple[int, ...]
    trip_cap_index: tuple[int, ...]

    @classmethod
    def of(cls, record: Any) -> Numbers:
        """Read from anything indexed by field name: the environment's record, or a dictionary out of JSON.

        Raises:
            KeyError: a number is missing.
            TypeError, ValueError: it is not a number.
        """
        values: dict[str, Any] = {}
        for field in fields(cls):
            value = np.asarray(record[field.name])
            plain = int if "int" in str(field.type) else float
            many = "tuple" in str(field.type)
            values[field.name] = tuple(plain(v) for v in value) if many else plain(value)
        return cls(**values)

    def as_json(self) -> dict[str, Any]:
        """As plain numbers and lists."""
        return {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(self).items()}


@dataclass(frozen=True)
class CostModel:
    """Tables of a scenario: K cuts, U mappings, C, G, M clock points, Z compression levels, D classes.

    head     float32 [U, K, C, G, M, >= 2]  latency_ms, counted energy_mj of the head before each cut
    idle     float32 [C, G, M, >= 1]        counted mw while waiting with these clocks set
    codec    float32 [C, G, M, >= 1]        the same with one core encoding
    send     float32 [K, Z, 3 + D]          kilobits, encode_ms at 1 GHz, decode_ms, points lost by class
    tail_ms  float32 [K]                    unloaded server time for what follows each cut
    cpu_ghz  float32 [C]                    CPU clock
    """

    head: Float32s
    idle: Float32s
    codec: Float32s
    send: Float32s
    tail_ms: Float32s
    cpu_ghz: Float32s
    numbers: Numbers

    ARRAYS = ("head", "idle", "codec", "send", "tail_ms", "cpu_ghz")

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]], numbers: Numbers) -> CostModel:
        """Put together from arrays by name.

        Raises:
            KeyError: an array is missing.
        """
        taken = {name: np.asarray(arrays[name], dtype=np.float32) for name in cls.ARRAYS}
        return cls(**taken, numbers=numbers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of choices of each action part."""
        mappings, cuts, cpus, gpus, mems = self.head.shape[:5]
        return (cuts, mappings, cpus, gpus, mems, self.send.shape[1])

    @property
    def out_of_the_box(self) -> Ints:
        """Everything local, first mapping, highest clocks; index array [6]."""
        action = np.array(self.sizes, dtype=np.int64) - 1
        action[MAPPING] = action[LEVEL] = 0
        return action


def capped(trips: int, numbers: Numbers, cpu: Any, gpu: Any) -> tuple[Any, Any]:
    """CPU and GPU clock indices after the caps of the trip points that hold (bits of `trips`)."""
    for i in range(numbers.n_trips):
        if (trips >> i) & 1:
            if numbers.trip_is_gpu[i]:
                gpu = np.minimum(gpu, numbers.trip_cap_index[i])
            else:
                cpu = np.minimum(cpu, numbers.trip_cap_index[i])
    return cpu, gpu
