"""A measured trace as an uplink: the recording itself, repeated, with round-trip times and radio of a
named model.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.schema import Coefficient
from dvfo_env.uplinks.interface import RadioPower
from dvfo_env.uplinks.model import (
    RATE_STREAM,
    ROUND_TRIP_STREAM,
    UplinkModel,
    check_bank,
    radio_coefficients,
    rtt_coefficient,
    stream,
)
from dvfo_env.uplinks.traces import Trace, resample


class TraceUplink:
    """A bandwidth recording, tiled from a random offset.

    Args:
        name: how reports call it.
        trace: the recording.
        companion: the model that lends round-trip times, answer rate and radio power, since a trace has none.
        step_ms: spacing of bank samples in ms; by default the trace's.

    Raises:
        TraceError: `step_ms` is not positive or longer than the trace.
    """

    def __init__(self, name: str, trace: Trace, companion: UplinkModel, step_ms: float | None = None) -> None:
        self.trace = trace if step_ms is None else resample(trace, step_ms)
        self.companion = companion
        self._name = name

    @property
    def name(self) -> str:
        """Name given by the caller; `load_uplink` uses the stem of the file."""
        return self._name

    @property
    def step_ms(self) -> float:
        """Spacing of bank samples in ms."""
        return self.trace.step_ms

    @property
    def downlink_mbps(self) -> float:
        """Rate of the answers in Mbit/s, from the companion model."""
        return self.companion.downlink_mbps.value

    @property
    def radio(self) -> RadioPower:
        """Extra power of the radio, from the companion model."""
        return self.companion.radio

    def bank(self, samples: int, seed: int) -> NDArray[np.float32]:
        """Rates and round-trip times, float32 [samples, 2]: the trace from a seed-dependent offset,
        over and over.

        Raises:
            TraceError: `samples` is below 1 or `seed` below 0.
        """
        check_bank(samples, seed)
        length = len(self.trace.rate_mbps)
        offset = int(stream(seed, RATE_STREAM).integers(length))
        out = np.empty((samples, 2), dtype=np.float32)
        out[:, 0] = self.trace.rate_mbps[(offset + np.arange(samples)) % length]
        out[:, 1] = self.companion.rtt.sample_ms(samples, self.step_ms, stream(seed, ROUND_TRIP_STREAM))
        return out

    def evidence(self) -> dict[str, Coefficient]:
        """The trace's median rate (measured) and what the companion model lends (assumed for this trace)."""
        rates = self.trace.rate_mbps
        own = Coefficient(
            value=float(np.median(rates)),
            unit="Mbit/s",
            evidence="measured",
            source=f"trace {self.name}, {self.trace.duration_ms / 1000.0:g} s at {self.step_ms:g} ms",
            range=(float(rates.min()), float(rates.max())),
        )
        lent = {
            "rtt_ms": rtt_coefficient(self.companion.rtt),
            "downlink_mbps": self.companion.downlink_mbps,
            **radio_coefficients(self.companion.radio),
        }
        note = f"taken from the model {self.companion.name}; the trace itself does not say"
        borrowed = {
            key: value.model_copy(update={"evidence": "assumed", "note": note}) for key, value in lent.items()
        }
        return {"rate_mbps": own, **borrowed}
