"""The feature codec: the tensors that cross a cut, to one frame of bytes and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs import coders
from dvfo_env.codecs.batches import roundtrip
from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.codecs.frame import (
    BOTTLENECK,
    FEATURES,
    MAX_BYTES,
    MAX_TENSORS,
    TensorPart,
    mask_of,
    read_features,
    write_features,
)
from dvfo_env.codecs.quantiser import Floats
from dvfo_env.codecs.settings import FeatureSetting
from dvfo_env.codecs.tensors import decode_tensor, encode_tensor, largest, plan_for
from dvfo_env.errors import CodecError


class FeatureCodec:
    """Encodes what crosses a cut at one setting, and decodes it.

    calibrations: one for each tensor that crosses the cut, in the order in which they are handed over
    setting: keep ratio, bits and coder
    context: mixed into the digests; decoders with another one refuse the frames (a bottleneck's weights)

    Raises CodecError when the setting needs statistics that a calibration lacks, or a package that is
    not installed. An instance may be used by several threads.
    """

    def __init__(
        self, calibrations: Sequence[ChannelCalibration], setting: FeatureSetting, context: bytes = b""
    ) -> None:
        if not 1 <= len(calibrations) <= MAX_TENSORS:
            raise CodecError(f"codec: {len(calibrations)} calibrations instead of 1 to {MAX_TENSORS}")
        coders.check_coder(setting.coder)
        self.calibrations = tuple(calibrations)
        self.setting = setting
        self._kind = BOTTLENECK if context else FEATURES
        self._digests = [_mixed(calibration.digest(), context) for calibration in calibrations]
        self._known = dict(zip(self._digests, self.calibrations, strict=True))
        self._plans = [plan_for(calibration, setting, named=bool(context)) for calibration in calibrations]

    def encode(self, tensors: Sequence[Floats], importance: Sequence[NDArray[Any]] | None = None) -> bytes:
        """One frame of the tensors of one input, float32, each in its calibration's shape.

        importance: per tensor [C]; the channels with the largest are kept and named in the frame. None: the
        calibrated order. Raises CodecError when a tensor does not fit its calibration.
        """
        self._check(tensors, importance, ())
        parts = []
        for i, (tensor, plan) in enumerate(zip(tensors, self._plans, strict=True)):
            channels, quantiser, mask = plan.channels, plan.chosen, None
            if importance is not None and plan.channels is not None:
                channels = largest(importance[i], plan.kept)
                if not np.array_equal(channels, plan.channels):
                    mask = mask_of(channels, plan.calibration.channels)
                    quantiser = plan.quantiser and plan.quantiser.at(channels)
            coder, payload = encode_tensor(tensor, plan, channels, quantiser, self.setting)
            digest = self._digests[i] if plan.calibrated else None
            parts.append(TensorPart(plan.calibration.shape, coder, digest, plan.kept, mask, payload))
        return write_features(self._kind, self.setting.bits, parts)

    def decode(self, frame: bytes) -> list[Floats]:
        """The tensors of a frame that this codec's `encode` made, at this or another setting.

        Raises CodecError, and nothing else, when the bytes are anything else; allocates for no other shapes
        than the calibrations'.
        """
        kind, bits, parts = _parts(frame, self._known)
        if kind != self._kind:
            raise CodecError("frame: features and bottlenecks have each their own decoder")
        if self._kind == BOTTLENECK and any(part.digest is None for part in parts):
            raise CodecError("frame: a bottleneck's tensor does not name its weights")
        if len(parts) != len(self.calibrations):
            raise CodecError(f"frame: {len(parts)} tensors instead of {len(self.calibrations)}")
        for i, (part, calibration) in enumerate(zip(parts, self.calibrations, strict=True)):
            if part.shape != calibration.shape:
                raise CodecError(f"frame: tensor {i}: shape {part.shape} instead of {calibration.shape}")
            if part.digest is not None and part.digest != self._digests[i]:
                raise CodecError(f"frame: tensor {i}: made with the calibration of another tensor")
        return [decode_tensor(part, bits, self._known) for part in parts]

    def roundtrip(
        self, batches: Sequence[Floats], importance: Sequence[NDArray[Any]] | None = None
    ) -> list[Floats]:
        """What `decode(encode(...))` gives for each input of a batch, equal to the bit, without coding.

        batches: per tensor float32 [N, *shape]; importance: per tensor [N, C]. Returns the same shapes.
        """
        n = len(batches[0]) if len(batches) else 0
        self._check(batches, importance, (n,))
        return [
            roundtrip(batch, plan, None if importance is None else importance[i], self.setting.bits)
            for i, (batch, plan) in enumerate(zip(batches, self._plans, strict=True))
        ]

    def _check(
        self, tensors: Sequence[Floats], importance: Sequence[NDArray[Any]] | None, batch: tuple[int, ...]
    ) -> None:
        if len(tensors) != len(self._plans) or (
            importance is not None and len(importance) != len(self._plans)
        ):
            raise CodecError(
                f"codec: {len(tensors)} tensors instead of {len(self._plans)}, or as many importances"
            )
        for i, (tensor, plan) in enumerate(zip(tensors, self._plans, strict=True)):
            if tensor.dtype != np.float32 or tensor.shape != (*batch, *plan.calibration.shape):
                raise CodecError(
                    f"codec: tensor {i}: {tensor.dtype} {tensor.shape} instead of float32 "
                    f"{(*batch, *plan.calibration.shape)}"
                )
            if importance is not None and importance[i].shape != (*batch, plan.calibration.channels):
                raise CodecError(
                    f"codec: importance {i}: shape {importance[i].shape} instead of "
                    f"{(*batch, plan.calibration.channels)}"
                )


def decode(
    frame: bytes, calibrations: Mapping[bytes, ChannelCalibration], max_bytes: int = MAX_BYTES
) -> list[Floats]:
    """Tensors of a frame, by the digests it names: what a server does that knows many cuts.

    calibrations: digest -> calibration. Frames with every channel at 32 or 16 bits need none. All
    tensors together have at most `max_bytes` bytes. Raises CodecError, and nothing else, for bad bytes.
    """
    kind, bits, parts = _parts(frame, calibrations)
    if kind != FEATURES:
        raise CodecError("frame: a bottleneck is decoded by its BottleneckCodec")
    if sum(4 * math.prod(part.shape) for part in parts) > max_bytes:
        raise CodecError(f"frame: declares tensors of more than {max_bytes} bytes")
    return [decode_tensor(part, bits, calibrations) for part in parts]


def _parts(frame: bytes, known: Mapping[bytes, ChannelCalibration]) -> tuple[int, int, list[TensorPart]]:
    return read_features(frame, {digest: calibration.channels for digest, calibration in known.items()})


def _mixed(digest: bytes, context: bytes) -> bytes:
    """The digest as it stands in frames of a codec with a context of as many bytes."""
    return bytes(a ^ b for a, b in zip(digest, context, strict=True)) if context else digest
