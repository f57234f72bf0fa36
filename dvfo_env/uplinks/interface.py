"""What every uplink offers the simulator: a bank of (rate, round-trip time) samples, radio power, and
evidence.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dvfo_env.schema import Coefficient, Record


class RadioPower(Record):
    """Extra power of the radio above the device's own idle power, in mW.

    Sending at r Mbit/s costs `transmit_base_mw + transmit_mw_per_mbps * r` for as long as the transfer
    lasts; receiving costs the same with the `receive_` pair. The linear form is that of Narayanan et al.,
    SIGCOMM 2021 (power against throughput, Monsoon meter).
    """

    transmit_base_mw: Coefficient
    transmit_mw_per_mbps: Coefficient
    receive_base_mw: Coefficient
    receive_mw_per_mbps: Coefficient

    def transmit_mw(self, rate_mbps: float) -> float:
        """Extra power in mW while sending at `rate_mbps` Mbit/s."""
        return self.transmit_base_mw.value + self.transmit_mw_per_mbps.value * rate_mbps

    def receive_mw(self, rate_mbps: float) -> float:
        """Extra power in mW while receiving at `rate_mbps` Mbit/s."""
        return self.receive_base_mw.value + self.receive_mw_per_mbps.value * rate_mbps


@runtime_checkable
class Uplink(Protocol):
    """A bandwidth process: the only thing the simulator knows about a network.

    `step_ms` is the spacing of the samples of `bank`, `downlink_mbps` the constant rate of the (small)
    answer, `radio` the extra power of sending and receiving.
    """

    @property
    def name(self) -> str:
        """Short name, as in `list_uplinks` or the stem of a file."""

    @property
    def step_ms(self) -> float:
        """Spacing of bank samples in ms."""

    @property
    def downlink_mbps(self) -> float:
        """Rate at which answers come back, Mbit/s."""

    @property
    def radio(self) -> RadioPower:
        """Extra power of the radio above the idle board."""

    def bank(self, samples: int, seed: int) -> NDArray[np.float32]:
        """Rates and round-trip times, shape [samples, 2]: Mbit/s and ms; the same for the same arguments."""

    def evidence(self) -> dict[str, Coefficient]:
        """Every coefficient behind this uplink, by name, each with source and measured/fitted/assumed."""
