"""A server profile and a workload made into what a simulation reads: tail times and load factors."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from dvfo_env.errors import ConfigError
from dvfo_env.schema import Coefficient
from dvfo_env.servers.profile import MeasuredTails, ServerProfile


class WorkloadFlops(Protocol):
    """The part of a workload card that a server needs."""

    @property
    def name(self) -> str:
        """Name of the workload."""
        ...

    @property
    def flops(self) -> NDArray[np.float64]:
        """[segments] floating-point operations, two per multiply-accumulate."""
        ...

    @property
    def cut_names(self) -> tuple[str, ...]:
        """[segments + 1] names of the cuts."""
        ...


class ServerModel:
    """One server running the tails of one workload.

    A card of S segments has S + 1 cuts: cut k runs the first k segments on the device and the rest here, so
    cut 0 sends the raw input and cut S needs no server.

    Raises:
        ConfigError: the card has no segment, a FLOP count below zero, or none above it.
    """

    def __init__(self, profile: ServerProfile, card: WorkloadFlops) -> None:
        self.profile = profile
        self.workload = card.name
        self._cuts = card.cut_names
        self._flops = np.asarray(card.flops, dtype=np.float64)
        if (
            self._flops.ndim != 1
            or self._flops.size == 0
            or not np.all(self._flops >= 0.0)
            or not self._flops.any()
        ):
            raise ConfigError(
                f"workload {card.name!r}: flops: expected one count >= 0 per segment, not all zero"
            )

    @property
    def network_ms(self) -> Coefficient:
        """Time of the whole network on the unloaded server, ms: the profile's, else scaled by FLOPs."""
        known = self.profile.network_ms.get(self.workload)
        if known is not None:
            return known
        rate = self.profile.other_ms_per_gflop
        gflop = float(self._flops.sum()) / 1e9
        bounds = (rate.range[0] * gflop, rate.range[1] * gflop) if rate.range else None
        return Coefficient(
            value=rate.value * gflop,
            unit="ms",
            evidence="assumed",
            source=rate.source,
            range=bounds,
            note=rate.note,
        )

    @cached_property
    def tail_ms(self) -> NDArray[np.float64]:
        """Time of everything after each cut on an unloaded server, ms; shape (cuts,), never rising, last 0.

        Tails that were measured one by one are taken as they are. Else a tail takes the whole-network time
        times (its share of the FLOPs) ^ tail_share; nobody measured that per layer, so tail_share is assumed
        to be 1.
        """
        measured = self.profile.tails.get(self.workload)
        if measured is not None:
            return self._measured(measured)
        after = np.concatenate([np.cumsum(self._flops[::-1])[::-1], [0.0]])
        tail = self.network_ms.value * (after / after[0]) ** self.profile.tail_share.value
        tail.flags.writeable = False
        return np.asarray(tail, dtype=np.float64)

    def _measured(self, table: MeasuredTails) -> NDArray[np.float64]:
        missing = [name for name in self._cuts[:-1] if name not in table.tail_ms]
        if missing:
            raise ConfigError(
                f"{self.profile.name}: tails.{self.workload}: has no time after cut {missing[0]!r}"
            )
        tail = np.array([*(table.tail_ms[name] for name in self._cuts[:-1]), 0.0])
        tail = np.maximum.accumulate(tail[::-1])[::-1].copy()  # more to do never takes less
        tail.flags.writeable = False
        return tail

    def load_bank(self, samples: int, step_ms: float, seed: int) -> NDArray[np.float32]:
        """Load factors over wall time, one every `step_ms`: multiply a tail time by the factor of its moment.

        Shape (samples,), every factor >= 1, the same bits for the same arguments. The process is stationary
        from the first sample on: factor = 1 + exp(mu + sigma z), z an AR(1) process with unit variance and
        autocorrelation exp(-lag / correlation_time), mu chosen so that the mean is the profile's (the mean
        of a log-normal variable is exp(mu + sigma^2 / 2)). Nobody measured the load of these servers: its
        three numbers are assumed.

        Raises:
            ConfigError: `samples` below 1 or `step_ms` not above 0.
        """
        if samples < 1:
            raise ConfigError(f"load_bank: samples: {samples} is below 1")
        if not (np.isfinite(step_ms) and step_ms > 0.0):
            raise ConfigError(f"load_bank: step_ms: {step_ms} must be above 0")
        load = self.profile.load
        if load is None:
            return np.ones(samples, dtype=np.float32)
        excess, sigma = load.mean_factor.value - 1.0, load.log_std.value
        if excess == 0.0:
            return np.ones(samples, dtype=np.float32)
        decay = float(np.exp(-step_ms / load.correlation_time_ms.value))
        shocks = np.random.default_rng(seed).standard_normal(samples)
        shocks[1:] *= np.sqrt(1.0 - decay * decay)
        state = np.asarray(lfilter([1.0], [1.0, -decay], shocks), dtype=np.float64)
        factors = 1.0 + np.exp(np.log(excess) - 0.5 * sigma * sigma + sigma * state)
        return np.asarray(factors, dtype=np.float32)

    def coefficients(self) -> dict[str, Coefficient]:
        """The numbers this workload uses on this server, by name, with source and evidence."""
        profile = self.profile.coefficients()
        load = {name: value for name, value in profile.items() if name.startswith("load.")}
        measured = f"tails.{self.workload}"
        if measured in profile:
            return {measured: profile[measured], **load}
        return {
            f"network_ms.{self.workload}": self.network_ms,
            "tail_share": self.profile.tail_share,
            **load,
        }
