"""One tensor of a frame: the plan for it, its values to a payload, and a payload to its values."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs import coders, packing
from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.codecs.frame import TensorPart, channels_of
from dvfo_env.codecs.quantiser import (
    Floats,
    Quantiser,
    channels_back,
    channels_first,
    dequantise,
    quantise,
    to_half,
)
from dvfo_env.codecs.settings import FeatureSetting, kept_channels
from dvfo_env.errors import CodecError

#: Bits that no quantiser touches, and how they stand in a payload.
WHOLE_DTYPES: dict[int, str] = {32: "<f4", 16: "<f2"}


@dataclass(frozen=True)
class Plan:
    """What encoding one tensor at one setting needs, worked out once."""

    calibration: ChannelCalibration
    calibrated: bool  # the frame relies on the calibration
    kept: int
    channels: NDArray[np.int64] | None  # sorted calibrated choice; None: all
    quantiser: Quantiser | None  # of all channels
    chosen: Quantiser | None  # of the calibrated choice


def plan_for(calibration: ChannelCalibration, setting: FeatureSetting, *, named: bool = False) -> Plan:
    """The plan at a setting; `named`: frames carry the digest even where they rely on no statistics.

    Raises CodecError when the calibration lacks the histograms that rANS needs.
    """
    kept = kept_channels(setting.keep, calibration.channels)
    everything = kept == calibration.channels
    channels = None if everything else np.sort(calibration.order[:kept])
    quantiser = chosen = None
    if setting.bits not in WHOLE_DTYPES:
        quantiser = Quantiser.of(calibration, setting.bits)
        chosen = quantiser if channels is None else quantiser.at(channels)
    if setting.coder == "rans":
        coders.histograms_of(calibration, setting.bits)
    calibrated = named or quantiser is not None or not everything
    return Plan(calibration, calibrated, kept, channels, quantiser, chosen)


def largest(importance: NDArray[Any], kept: int) -> NDArray[np.int64]:
    """Channels with the largest importance, in ascending order, along the last axis; the lower wins a tie."""
    falling = np.negative(importance, dtype=np.float64)
    return np.sort(np.argsort(falling, axis=-1, kind="stable")[..., :kept], axis=-1)


def encode_tensor(
    tensor: Floats,
    plan: Plan,
    channels: NDArray[np.int64] | None,
    quantiser: Quantiser | None,
    setting: FeatureSetting,
) -> tuple[str, bytes | memoryview]:
    """The coder that was used (none where the wanted one does not pay) and the payload."""
    if quantiser is None:
        flat = channels_first(tensor, plan.calibration.axis) if plan.calibrated else tensor
        flat = flat if channels is None else flat[channels]
        whole = np.ascontiguousarray(
            to_half(flat) if setting.bits == 16 else flat, WHOLE_DTYPES[setting.bits]
        )
        plain = whole.reshape(-1).view(np.uint8)
        if setting.coder == "none":
            return "none", plain.data
        planes = np.ascontiguousarray(plain.reshape(-1, whole.itemsize).T).reshape(-1)
        coded = coders.compress(setting.coder, planes, setting.bits)
        return (setting.coder, coded) if len(coded) < plain.size else ("none", plain.data)
    values = channels_first(tensor, plan.calibration.axis)
    indices = quantise(values, channels, quantiser)
    symbols = indices.reshape(-1)
    size = packing.packed_bytes(symbols.size, setting.bits)
    if setting.coder == "rans":
        rows = range(plan.kept) if channels is None else channels.tolist()
        coded = coders.rans_encode(indices, rows, plan.calibration, setting.bits)
    elif setting.coder != "none":
        coded = coders.compress(
            setting.coder, packing.pack(symbols, packing.ALIGNED[setting.bits]), setting.bits
        )
    if setting.coder != "none" and len(coded) < size:
        return setting.coder, coded
    return "none", packing.pack(symbols, setting.bits).data


def decode_tensor(part: TensorPart, bits: int, known: Mapping[bytes, ChannelCalibration]) -> Floats:
    """Values of one tensor. Raises CodecError."""
    if part.digest is None:
        if bits not in WHOLE_DTYPES:
            raise CodecError(f"frame: {bits} bits without a calibration")
        return _whole(part, bits, math.prod(part.shape)).reshape(part.shape)
    calibration = known[part.digest]
    if part.shape != calibration.shape:
        raise CodecError(f"frame: shape {part.shape} instead of its calibration's {calibration.shape}")
    channels = _part_channels(part, calibration)
    positions = calibration.values // calibration.channels
    if bits in WHOLE_DTYPES:
        values = _whole(part, bits, part.kept * positions).reshape(part.kept, positions)
    else:
        rows = range(part.kept) if channels is None else channels.tolist()
        indices = _indices(part, bits, rows, positions, calibration)
        quantiser = Quantiser.of(calibration, bits)
        values = dequantise(indices, quantiser if channels is None else quantiser.at(channels))
    if channels is not None:
        chosen, values = values, np.empty((calibration.channels, positions), np.float32)
        values[:] = calibration.fill[:, None]
        values[channels] = chosen
    return channels_back(values, calibration.shape, calibration.axis)


def _part_channels(part: TensorPart, calibration: ChannelCalibration) -> NDArray[np.int64] | None:
    """Channels a part holds, ascending; None: all of them."""
    if part.mask is not None:
        return channels_of(part.mask, calibration.channels, part.kept)
    return None if part.kept == calibration.channels else np.sort(calibration.order[: part.kept])


def _payload(part: TensorPart, size: int, plain_size: int) -> NDArray[np.uint8]:
    """Bytes of a part's payload after its coder: `plain_size` of them without one, else `size`."""
    if part.coder == "none":
        if len(part.payload) != plain_size:
            raise CodecError(f"frame: payload of {len(part.payload)} bytes instead of {plain_size}")
        return np.frombuffer(part.payload, np.uint8)
    if len(part.payload) >= plain_size:
        raise CodecError(f"frame: {part.coder} payload is longer than without a coder")
    return coders.expand(part.coder, memoryview(part.payload), size)


def _whole(part: TensorPart, bits: int, count: int) -> Floats:
    """`count` float32 of a payload with whole numbers."""
    if part.coder == "rans":
        raise CodecError(f"frame: rans payload at {bits} bits")
    width = bits // 8
    data = _payload(part, count * width, count * width)
    if part.coder != "none":
        data = np.ascontiguousarray(data.reshape(width, count).T).reshape(-1)
    return data.view(WHOLE_DTYPES[bits]).astype(np.float32)


def _indices(
    part: TensorPart, bits: int, rows: Iterable[int], positions: int, calibration: ChannelCalibration
) -> NDArray[np.uint8]:
    """Indices uint8 [k, P]. Raises CodecError."""
    count = part.kept * positions
    size = packing.packed_bytes(count, bits)
    if part.coder == "rans":
        if len(part.payload) >= size:
            raise CodecError("frame: rans payload is longer than without a coder")
        indices = np.empty((part.kept, positions), np.uint8)
        coders.rans_decode(memoryview(part.payload), rows, calibration, bits, indices)
        return indices
    width = bits if part.coder == "none" else packing.ALIGNED[bits]
    data = _payload(part, packing.packed_bytes(count, width), size)
    symbols = packing.unpack(data, width, count)
    if width != bits and symbols.max() >= 2**bits:
        raise CodecError(f"frame: an index of more than {bits} bits")
    return symbols.reshape(part.kept, positions)
