"""Devices that differ from their model: compiled tables with latency, power, round trip and server scaled.

A policy is made and tuned on the nominal tables and meets perturbed ones: that is what model error looks like
from the outside. Simulator, clairvoyant, bound and best fixed action take perturbed tables like any others.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import ConfigError
from dvfo_env.tables import CostTables

#: Factors of other uplinks: rates from 5G down to a bad 3G link, and somewhat up; the shortest round trips,
#: and the longest where the rate is lowest and where it is highest. Of shipped uplinks none at least half as
#: fast as another is more than six times as far (campus Wi-Fi to Starlink); slower ones are up to twelve
#: times as far (campus Wi-Fi to UMTS).
UPLINK_RATES, LEAST_UPLINK_RTT, MOST_UPLINK_RTTS = (1.0 / 256.0, 2.0), 0.5, (16.0, 6.0)
_POWERS = ("radio_base_mw", "radio_mw_per_mbps", "radio_wait_mw")


@dataclass(frozen=True)
class Perturbation:
    """Factors by which a device and its surroundings differ from their model; 1 is the model.

    latency: time of the network on the device and of encoding (and with time its energy)
    power:   power of the device and of its radio, in every phase
    rtt:     round-trip times
    server:  time that the server takes, decoding included
    rate:    rate of the uplink

    Raises:
        ConfigError: a factor is not a finite number above 0.
    """

    latency: float = 1.0
    power: float = 1.0
    rtt: float = 1.0
    server: float = 1.0
    rate: float = 1.0

    def __post_init__(self) -> None:
        for name, factor in dataclasses.asdict(self).items():
            if not (np.isfinite(factor) and factor > 0.0):
                raise ConfigError(f"perturbation: {name}: {factor} must be a finite number above 0")


def draw_perturbations(spread: float, n: int, seed: int) -> tuple[Perturbation, ...]:
    """`n` perturbations whose factors are independent and uniform within 1 +- `spread`.

    The same arguments give the same factors, and the first of many are those of few.

    Raises:
        ConfigError: `spread` is not at least 0 and below 1, or `n` is below 0.
    """
    if not 0.0 <= spread < 1.0:
        raise ConfigError(f"perturbation: spread: {spread} must be at least 0 and below 1")
    if n < 0:
        raise ConfigError(f"perturbation: devices: {n} is below 0")
    factors = 1.0 + spread * np.random.default_rng(seed).uniform(-1.0, 1.0, size=(n, 4))
    return tuple(Perturbation(*map(float, row)) for row in factors)


def draw_uplinks(n: int, seed: int) -> tuple[Perturbation, ...]:
    """`n` other uplinks: the scenario's with rates and round-trip times of another order of magnitude.

    The factor of the rate is log-uniform within `UPLINK_RATES`, that of round-trip times log-uniform between
    `LEAST_UPLINK_RTT` and a most that falls with the rate, by a power of it, along `MOST_UPLINK_RTTS`. The
    same arguments give the same factors.
    """
    speeds, distances = np.random.default_rng(seed).random((n, 2)).T
    rates = np.exp(np.interp(speeds, (0.0, 1.0), np.log(UPLINK_RATES)))
    most = np.exp(np.interp(speeds, (0.0, 1.0), np.log(MOST_UPLINK_RTTS)))
    rtts = LEAST_UPLINK_RTT * (most / LEAST_UPLINK_RTT) ** distances
    return tuple(Perturbation(rate=float(r), rtt=float(t)) for r, t in zip(rates, rtts, strict=True))


def perturbed(tables: CostTables, perturbation: Perturbation) -> CostTables:
    """The tables of a device that differs from the model by `perturbation`.

    Cost weights, the reference they come from, deadlines and time-outs stay those of `tables`, so that costs
    compare. Factors multiply: perturbing perturbed tables perturbs further. Clock delays, the thermal
    model and the time to decide are left alone.
    """
    latency, power = perturbation.latency, perturbation.power
    head = _scaled(tables.head, np.array([latency, latency * power, latency * power]))
    idle = _scaled(tables.idle, np.array([power]))
    send = _scaled(
        tables.send, np.concatenate([[1.0, latency, perturbation.server], np.ones(tables.send.shape[2] - 3)])
    )
    params = tables.params.copy()
    for field in _POWERS:
        params[field] *= power
    params["wait_floor_mw"] *= power
    params["decision_floor_mj"] *= power
    params["slowest_ms"] *= latency
    return dataclasses.replace(
        tables,
        head=head,
        idle=idle,
        codec=_scaled(tables.codec, np.array([power])),
        send=send,
        params=params,
        rate_factor=tables.rate_factor * perturbation.rate,
        rtt_factor=tables.rtt_factor * perturbation.rtt,
        load_factor=tables.load_factor * perturbation.server,
    )


def _scaled(array: NDArray[np.float32], factors: NDArray[np.float64]) -> NDArray[np.float32]:
    """`array` [..., F] times `factors` [F], rounded once."""
    return (array.astype(np.float64) * factors).astype(np.float32)
