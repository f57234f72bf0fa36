"""From a calibration set to what the codec needs: order, fill, ranges, histograms and points of a cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dvfo_env.accuracy.importance.features import CutFeatures
from dvfo_env.accuracy.importance.gates import dropped_divergence, keep_gates, means
from dvfo_env.accuracy.importance.ranges import METHODS, Floats, Range, clipping_range
from dvfo_env.accuracy.importance.rankings import order_of, static_importance
from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.codecs.quantiser import indices
from dvfo_env.codecs.settings import QUANTISED_BITS, kept_channels

#: Most values of a tensor that ranges, histograms and points are fitted on.
_MOST_VALUES = 1_000_000
#: Fills are compared at these keep ratios, on so many images.
_FILL_KEEPS, _FILL_IMAGES = (1 / 2, 1 / 4), 24


def calibrate(
    features: CutFeatures,
    ranking: str,
    bits: Sequence[int] = QUANTISED_BITS,
    *,
    importance: Sequence[Tensor] | None = None,
    range_method: str = METHODS[0],
    ranges: Mapping[int, Range] | None = None,
    points: bool = True,
) -> list[ChannelCalibration]:
    """Calibrations of the tensors that cross a cut, ready for `FeatureCodec`.

    ranking: of `static_importance`; not looked at where `importance` is given
    importance: [C] per tensor, such as an attention's mean
    bits: number of bits that get ranges, histograms and points
    range_method: of `METHODS`
    ranges: bits -> (low, high), [C] each, for the only tensor; None: by the method
    points: whether the decoder gives the mean of the values an index stands for, instead of a uniform grid

    Raises ConfigError for an unknown ranking.
    """
    scores = list(importance) if importance is not None else static_importance(features, ranking)
    fills = better_fill(features, scores)
    return [
        _calibration(
            features,
            number,
            scores[number],
            fills[number],
            ranges or {b: clipping_range(features.rows(number, _MOST_VALUES), b, range_method) for b in bits},
            points,
        )
        for number in range(len(features.tensors))
    ]


def better_fill(features: CutFeatures, scores: Sequence[Tensor]) -> list[Tensor]:
    """Mean or zero, [C] per tensor: what keeps the tail's answer closer where half and a quarter are kept."""
    some = features.some(_FILL_IMAGES)
    kept = [[keep_gates(s, kept_channels(keep, s.shape[-1])) for s in scores] for keep in _FILL_KEEPS]
    mean = means(features)
    zero = [torch.zeros_like(fill) for fill in mean]
    return min((mean, zero), key=lambda fills: sum(dropped_divergence(some, fills, gates) for gates in kept))


def reorder(calibration: ChannelCalibration, importance: Tensor) -> ChannelCalibration:
    """The same ranges with another order, so that several rankings share the costly part."""
    return replace(calibration, order=order_of(importance).numpy())


def _calibration(
    features: CutFeatures,
    number: int,
    scores: Tensor,
    fill: Tensor,
    ranges: Mapping[int, Range],
    points: bool,
) -> ChannelCalibration:
    rows = features.rows(number, _MOST_VALUES)
    bare = ChannelCalibration(
        shape=tuple(features.tensors[number].shape[1:]),
        channel_axis=features.channel_axes[number],
        order=order_of(scores).numpy(),
        fill=fill.numpy().astype(np.float32),
        low=rows.min(axis=1),
        high=rows.max(axis=1),
        ranges=dict(ranges),
    )
    counted = {b: _histogram_and_points(bare, b, rows) for b in ranges}
    return replace(
        bare,
        histograms={b: histogram for b, (histogram, _) in counted.items()},
        points={b: centres for b, (_, centres) in counted.items()} if points else {},
    )


def _histogram_and_points(
    calibration: ChannelCalibration, bits: int, rows: Floats
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint32]], Floats]:
    """How often each index occurs and the mean of its values (else the grid's point), [C, 2**bits]."""
    levels, channels = 2**bits, len(rows)
    flat_view = replace(calibration, shape=rows.shape, channel_axis=0)
    index = indices(flat_view, bits, rows[None])[0].astype(np.int64)
    index += np.arange(channels)[:, None] * levels
    counts = np.bincount(index.reshape(-1), minlength=channels * levels).reshape(channels, levels)
    sums = np.bincount(index.reshape(-1), weights=rows.reshape(-1), minlength=channels * levels)
    low, high = calibration.range_at(bits)
    grid = np.linspace(low, high, levels, axis=1, dtype=np.float32)
    centres = np.where(counts > 0, sums.reshape(counts.shape) / np.maximum(counts, 1), grid)
    return counts.astype(np.uint32), centres.astype(np.float32)
