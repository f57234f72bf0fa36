"""The reference encoding: one tensor at one setting, timed, so that encoding times carry over to devices.

A table of measured encoding times says how long the reference took where it was measured; a device profile
says how long it takes there; their ratio scales the table's times.
"""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.codecs.features import FeatureCodec
from dvfo_env.codecs.settings import FeatureSetting

REFERENCE_SHAPE = (64, 14, 14)
REFERENCE_SETTING = FeatureSetting(keep=1.0, bits=4, coder="zstd")
_HIGH = 2.5


def reference_tensor() -> NDArray[np.float32]:
    """Positive parts of standard normal numbers, float32 [64, 14, 14], the same everywhere."""
    normal = np.random.Generator(np.random.PCG64(0)).standard_normal(REFERENCE_SHAPE)
    return np.maximum(normal, 0.0).astype(np.float32)


def reference_codec() -> FeatureCodec:
    """The codec of the reference encoding: 4 bits, every channel, zstd."""
    channels = REFERENCE_SHAPE[0]
    calibration = ChannelCalibration(
        shape=REFERENCE_SHAPE,
        channel_axis=0,
        order=np.arange(channels),
        fill=np.zeros(channels, dtype=np.float32),
        low=np.zeros(channels, dtype=np.float32),
        high=np.full(channels, _HIGH, dtype=np.float32),
    )
    return FeatureCodec([calibration], REFERENCE_SETTING)


def reference_encode_ms(repeats: int = 500) -> float:
    """Median time of the reference encoding on one core of this machine, ms."""
    codec, tensor = reference_codec(), [reference_tensor()]
    times = np.empty(repeats)
    for i in range(repeats + 20):
        begun = perf_counter_ns()
        codec.encode(tensor)
        times[max(i - 20, 0)] = perf_counter_ns() - begun
    return float(np.median(times)) * 1e-6
