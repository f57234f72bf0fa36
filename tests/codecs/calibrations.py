"""Tensors and calibrations for the tests of codecs: hypothesis strategies and a few plain ones."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from dvfo_env.codecs import BITS, CODERS, QUANTISED_BITS, ChannelCalibration, FeatureSetting, indices

#: Shape and channel axis: a convolution's, a sequence's, tokens, one value, odd sizes.
SHAPES = (((12, 7, 9), 0), ((33, 5), 0), ((10, 20), -1), ((1, 1, 1), 0), ((3, 4, 5), 1))


def features(shape: tuple[int, ...], seed: int, n: int = 4) -> NDArray[np.float32]:
    """Values like those after a leaky activation, float32 [n, *shape]."""
    drawn = np.random.default_rng(seed).standard_normal((n, *shape))
    return np.maximum(drawn, 0.1 * drawn).astype(np.float32)


def calibrated(
    shape: tuple[int, ...], axis: int = 0, seed: int = 0, *, points: bool = False
) -> ChannelCalibration:
    """A calibration with histograms at all bits, from features of the same kind."""
    batch = features(shape, seed, 16)
    random = np.random.default_rng(seed)
    c = shape[axis]
    by_channel = np.moveaxis(batch, axis % len(shape) + 1, 0).reshape(c, -1)
    low, high = by_channel.min(axis=1), by_channel.max(axis=1)
    bare = ChannelCalibration(shape, axis, random.permutation(c), by_channel.mean(axis=1), low, high)
    histograms, middles = {}, {}
    for bits in QUANTISED_BITS:
        counted = np.moveaxis(indices(bare, bits, batch), 1, 0).reshape(c, -1)
        histograms[bits] = np.stack([np.bincount(row, minlength=2**bits) for row in counted])
        middles[bits] = np.sort(random.standard_normal((c, 2**bits)).astype(np.float32))
    narrow = {2: (low * 0.5, high * 0.5)}
    return ChannelCalibration(
        shape, axis, bare.order, bare.fill, low, high, narrow, histograms, middles if points else {}
    )


def settings_of_codecs() -> st.SearchStrategy[FeatureSetting]:
    """Every combination that a codec accepts."""
    every = [
        FeatureSetting(keep, bits, coder)
        for keep in (1.0, 3 / 4, 1 / 2, 1 / 16)
        for bits in BITS
        for coder in CODERS
        if coder != "rans" or bits in QUANTISED_BITS
    ]
    return st.sampled_from(every)


CALIBRATIONS = [calibrated(shape, axis, points=i % 2 == 1) for i, (shape, axis) in enumerate(SHAPES)]
