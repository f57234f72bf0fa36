"""The arithmetic between float32 values and indices, in one place: encoder, decoder, batch agree to the bit.

The index of x in a channel with range low .. high at b bits is round((x - low) / step), clipped to
0 .. 2**b - 1, where step = (high - low) / (2**b - 1); NaN becomes index 0. The decoder gives low +
index * step, or the calibration's point.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.calibration import ChannelCalibration

Floats = NDArray[np.float32]

#: Values handled at a time: 256 KiB of float32, so that the passes over them stay in a core's cache.
BLOCK = 1 << 16


@dataclass(frozen=True)
class Quantiser:
    """Ranges of k channels at some bits, ready for arithmetic over [..., k, P].

    columns: float32 [4, k, 1]: low less half a step (truncation then rounds), 1 / step, low, step
    points: float32 [k, 2**bits], value of each index, where it is not low + index * step
    """

    bits: int
    columns: Floats
    points: Floats | None

    @classmethod
    @lru_cache(maxsize=64)
    def of(cls, calibration: ChannelCalibration, bits: int) -> Quantiser:
        """All channels of a calibration; a range too narrow for single precision has one value, its low."""
        low, high = (end.astype(np.float64) for end in calibration.range_at(bits))
        step = (high - low) / (2**bits - 1)
        narrow = step < 1e-37
        per_step = np.where(narrow, 0, 1 / np.where(narrow, 1, step))
        step = np.where(narrow, 0, step)
        low += 0.0  # no negative zero: the batch path would keep its sign, the decoder would not
        columns = np.stack((low - step / 2, per_step, low, step)).astype(np.float32)[..., None]
        return cls(bits, columns, calibration.points.get(bits))

    def at(self, channels: NDArray[np.int64] | slice) -> Quantiser:
        """The same for some of the channels; a slice copies nothing."""
        points = None if self.points is None else self.points[channels]
        return Quantiser(self.bits, self.columns[:, channels], points)

    def scale(self, values: Floats, out: Floats) -> None:
        """What truncation to integers turns into indices, [..., k, P]; never NaN, in [0, 2**bits - 1]."""
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            np.subtract(values, self.columns[0], out=out)
            np.multiply(out, self.columns[1], out=out)
            np.fmax(out, np.float32(0), out=out)  # fmax, fmin: a NaN becomes the other operand
            np.fmin(out, np.float32(2**self.bits - 1), out=out)

    def restore(self, indices: NDArray[np.uint8], out: Floats) -> None:
        """Values of indices uint8 [..., k, P], into `out` float32 of that shape."""
        if self.points is None:
            np.multiply(indices, self.columns[3], out=out)
            np.add(out, self.columns[2], out=out)
            return
        first = (np.arange(len(self.points)) * 2**self.bits).reshape(self.columns[2].shape)
        np.take(self.points.reshape(-1), indices + first, out=out, mode="clip")

    def requantise(self, values: Floats, out: Floats) -> None:
        """What the decoder would give for values [N, k, P]; `out` may be `values`."""
        if values.shape[-1] == 1:  # tokens: one long row a line is faster than many of one value
            flat = Quantiser(self.bits, self.columns[..., 0], self.points)
            flat._requantise(values[..., 0], out[..., 0])
        else:
            self._requantise(values, out)

    def _requantise(self, values: Floats, out: Floats) -> None:
        self.scale(values, out)
        if self.points is None:
            np.trunc(out, out=out)
            np.multiply(out, self.columns[3], out=out)
            np.add(out, self.columns[2], out=out)
            return
        self.restore(out.astype(np.uint8), out)


def quantise(values: Floats, channels: NDArray[np.int64] | None, quantiser: Quantiser) -> NDArray[np.uint8]:
    """Indices uint8 [k, P] of `channels` (None: all) of values float32 [C, P], block by block.

    `quantiser` holds those k channels.
    """
    kept = quantiser.columns.shape[1]
    positions = values.shape[1]
    indices = np.empty((kept, positions), np.uint8)
    step = max(1, BLOCK // positions)
    scratch = np.empty((min(step, kept), positions), np.float32)
    for begin in range(0, kept, step):
        rows = slice(begin, min(begin + step, kept))
        block = scratch[: rows.stop - begin]
        if channels is None:
            quantiser.at(rows).scale(values[rows], block)
        else:
            np.take(values, channels[rows], axis=0, out=block, mode="clip")
            quantiser.at(rows).scale(block, block)
        np.copyto(indices[rows], block, casting="unsafe")
    return indices


def dequantise(indices: NDArray[np.uint8], quantiser: Quantiser) -> Floats:
    """Values float32 [k, P] of indices uint8 [k, P]."""
    values = np.empty(indices.shape, np.float32)
    step = max(1, BLOCK // indices.shape[1])
    for begin in range(0, len(indices), step):
        rows = slice(begin, begin + step)
        quantiser.at(rows).restore(indices[rows], values[rows])
    return values


def to_half(values: Floats) -> NDArray[np.float16]:
    """Half precision, saturating at +-65504; NaN stays NaN."""
    largest = np.float32(np.finfo(np.float16).max)
    with np.errstate(invalid="ignore", under="ignore"):
        return np.clip(values, -largest, largest).astype(np.float16)


def channels_first(values: Floats, axis: int) -> Floats:
    """One tensor as [C, P], P all other positions in their order; a view where it can be one."""
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def channels_back(values: Floats, shape: tuple[int, ...], axis: int) -> Floats:
    """The inverse: values [C, P] in their tensor's shape."""
    moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
    return np.ascontiguousarray(np.moveaxis(values.reshape(moved), 0, axis))


def indices(calibration: ChannelCalibration, bits: int, batch: Floats) -> NDArray[np.uint8]:
    """Indices uint8 [N, C, P] of a batch float32 [N, *shape], as the encoder would compute them.

    For counting histograms and reconstruction points with the codec's own arithmetic.
    """
    quantiser = Quantiser.of(calibration, bits)
    return np.stack([quantise(channels_first(image, calibration.axis), None, quantiser) for image in batch])
