"""What encoder and decoder agree on before the first frame: order, ranges, statistics of the channels."""

from __future__ import annotations

import hashlib
import math
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.settings import QUANTISED_BITS
from dvfo_env.errors import CodecError

#: Bytes of a digest: two calibrations with equal ones do not meet by accident.
DIGEST_BYTES = 8


@dataclass(frozen=True, eq=False)
class ChannelCalibration:
    """One tensor at one cut, described from a calibration set (never from the set accuracy is tested on).

    shape: of the tensor, without the batch axis
    channel_axis: which axis of `shape` holds the C channels: 0 for convolutions, -1 for tokens
    order: int64 [C], channels, the most important first
    fill: float32 [C], stands for every value of a dropped channel
    low, high: float32 [C], range of the quantiser of each channel
    ranges: bits -> (low, high), where a range of its own measured better at that many bits
    histograms: bits -> uint32 [C, 2**bits], how often each index occurred; the rANS coder needs them
    points: bits -> float32 [C, 2**bits], value that the decoder gives to each index; without: a uniform grid

    Raises CodecError naming the field that does not fit. Arrays are copied and become read-only.
    """

    shape: tuple[int, ...]
    channel_axis: int
    order: NDArray[np.int64]
    fill: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    ranges: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = field(default_factory=dict)
    histograms: dict[int, NDArray[np.uint32]] = field(default_factory=dict)
    points: dict[int, NDArray[np.float32]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = tuple(int(size) for size in self.shape)
        if not 1 <= len(shape) <= 8 or min(shape) < 1 or max(shape) >= 2**32:
            raise CodecError(f"calibration: shape: {self.shape} is not one to eight sizes of at least 1")
        if not -len(shape) <= self.channel_axis < len(shape):
            raise CodecError(f"calibration: channel_axis: {self.channel_axis} is no axis of {shape}")
        _set(self, "shape", shape)
        c = self.channels
        _set(self, "order", _frozen("order", self.order, np.int64, (c,)))
        if not np.array_equal(np.sort(self.order), np.arange(c)):
            raise CodecError(f"calibration: order: is no permutation of 0 .. {c - 1}")
        _set(self, "fill", _frozen("fill", self.fill, np.float32, (c,)))
        low, high = _range("low, high", (self.low, self.high), c)
        _set(self, "low", low)
        _set(self, "high", high)
        _set(
            self,
            "ranges",
            {b: _range(f"ranges[{b}]", pair, c) for b, pair in _by_bits("ranges", self.ranges)},
        )
        for name, dtype in (("histograms", np.uint32), ("points", np.float32)):
            tables = _by_bits(name, getattr(self, name))
            frozen = {bits: _frozen(f"{name}[{bits}]", table, dtype, (c, 2**bits)) for bits, table in tables}
            _set(self, name, frozen)

    @classmethod
    def uncalibrated(cls, shape: tuple[int, ...], channel_axis: int = 0) -> ChannelCalibration:
        """For settings that use no statistics: 32 or 16 bits, every channel kept."""
        channels = shape[channel_axis]
        zeros = np.zeros(channels, np.float32)
        return cls(shape, channel_axis, np.arange(channels), zeros, zeros, zeros + 1)

    @property
    def channels(self) -> int:
        """C."""
        return self.shape[self.channel_axis]

    @property
    def axis(self) -> int:
        """The channel axis, counted from the front."""
        return self.channel_axis % len(self.shape)

    @property
    def values(self) -> int:
        """How many numbers one tensor has."""
        return math.prod(self.shape)

    def range_at(self, bits: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Ends of the quantiser's range at so many bits, float32 [C] each."""
        return self.ranges.get(bits, (self.low, self.high))

    def digest(self) -> bytes:
        """Eight bytes that name this calibration; every frame that relies on it carries them."""
        return self._digest

    @cached_property
    def _digest(self) -> bytes:
        hashed = hashlib.blake2b(digest_size=DIGEST_BYTES, person=b"dvfo-calibration")
        hashed.update(struct.pack(f"<{len(self.shape) + 2}Q", len(self.shape), self.axis, *self.shape))
        for name, array in sorted(self.arrays().items()):
            hashed.update(name.encode() + b"\0" + array.astype(array.dtype.newbyteorder("<")).tobytes())
        return hashed.digest()

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Every array by its name: "order", "ranges/4/low", "histograms/4" ...; `from_arrays` inverts it."""
        named: dict[str, NDArray[Any]] = {key: getattr(self, key) for key in ("order", "fill", "low", "high")}
        for bits, (low, high) in self.ranges.items():
            named |= {f"ranges/{bits}/low": low, f"ranges/{bits}/high": high}
        named |= {f"histograms/{bits}": table for bits, table in self.histograms.items()}
        named |= {f"points/{bits}": table for bits, table in self.points.items()}
        return named

    @classmethod
    def from_arrays(
        cls, shape: tuple[int, ...], channel_axis: int, arrays: dict[str, NDArray[Any]]
    ) -> ChannelCalibration:
        """The inverse of `arrays`. Raises CodecError when one is missing, unknown or does not fit."""
        left = dict(arrays)
        try:
            order, fill, low, high = (left.pop(key) for key in ("order", "fill", "low", "high"))
            tables: dict[str, dict[int, Any]] = {"ranges": {}, "histograms": {}, "points": {}}
            for bits in QUANTISED_BITS:
                if f"ranges/{bits}/low" in left:
                    tables["ranges"][bits] = (left.pop(f"ranges/{bits}/low"), left.pop(f"ranges/{bits}/high"))
                for kind in ("histograms", "points"):
                    if f"{kind}/{bits}" in left:
                        tables[kind][bits] = left.pop(f"{kind}/{bits}")
        except KeyError as error:
            raise CodecError(f"calibration: {error.args[0]}: is missing") from None
        if left:
            raise CodecError(f"calibration: {min(left)}: is no array of a calibration")
        return cls(shape, channel_axis, order, fill, low, high, **tables)


def _set(calibration: ChannelCalibration, name: str, value: object) -> None:
    """Assign once, from `__post_init__` of the frozen dataclass."""
    object.__setattr__(calibration, name, value)


def _frozen(name: str, values: Any, dtype: type[np.generic], shape: tuple[int, ...]) -> NDArray[Any]:
    """A read-only copy in the dtype and shape it must have."""
    array = np.array(values)
    if array.shape != shape:
        raise CodecError(f"calibration: {name}: shape {array.shape} instead of {shape}")
    if array.dtype.kind not in ("f" if dtype is np.float32 else "iu"):
        raise CodecError(f"calibration: {name}: holds {array.dtype}, not {np.dtype(dtype)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CodecError(f"calibration: {name}: is not finite everywhere")
    if dtype is np.uint32 and (array.min(initial=0) < 0 or array.max(initial=0) >= 2**32):
        raise CodecError(f"calibration: {name}: counts are not in 0 .. 2**32 - 1")
    if array.dtype.kind == "f" and np.abs(array).max(initial=0) > np.finfo(np.float32).max:
        raise CodecError(f"calibration: {name}: is beyond single precision")
    array = np.ascontiguousarray(array.astype(dtype))
    array.flags.writeable = False
    return array


def _range(name: str, pair: Any, channels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        low, high = pair
    except (TypeError, ValueError):
        raise CodecError(f"calibration: {name}: is no pair of low and high") from None
    low, high = (_frozen(name, end, np.float32, (channels,)) for end in (low, high))
    if (low > high).any():
        raise CodecError(f"calibration: {name}: low is above high in channel {int((low > high).argmax())}")
    if (high.astype(np.float64) - low > np.finfo(np.float32).max).any():
        raise CodecError(f"calibration: {name}: is wider than single precision")
    return low, high


def _by_bits(name: str, tables: dict[int, Any]) -> list[tuple[int, Any]]:
    unknown = sorted(set(tables) - set(QUANTISED_BITS))
    if unknown:
        raise CodecError(f"calibration: {name}: {unknown[0]} bits is not one of {QUANTISED_BITS}")
    return sorted(tables.items())
