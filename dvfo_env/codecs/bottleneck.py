"""A learned bottleneck around the feature codec: 1x1 convolutions down before and up after it, in numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_env.codecs.calibration import DIGEST_BYTES, ChannelCalibration
from dvfo_env.codecs.features import FeatureCodec
from dvfo_env.codecs.quantiser import Floats, channels_back, channels_first
from dvfo_env.codecs.settings import FeatureSetting
from dvfo_env.errors import CodecError


class BottleneckCodec:
    """Sends B mixtures of a tensor's C channels: `down` on the device, `up` on the server.

    down_w, down_b: float32 [B, C], [B], before the codec;  up_w, up_b: float32 [C, B], [C], after it
    calibration: of the B channels, so its shape has B where the tensor has C
    setting: for the B channels

    The same interface as FeatureCodec with one tensor. Frames name calibration and weights together; a
    decoder with other weights refuses them. Raises CodecError when something does not fit.
    """

    def __init__(
        self,
        down_w: NDArray[Any],
        down_b: NDArray[Any],
        up_w: NDArray[Any],
        up_b: NDArray[Any],
        calibration: ChannelCalibration,
        setting: FeatureSetting,
    ) -> None:
        narrow, wide = calibration.channels, len(up_b)
        self.down_w = _weights("down_w", down_w, (narrow, wide))
        self.down_b = _weights("down_b", down_b, (narrow,))
        self.up_w = _weights("up_w", up_w, (wide, narrow))
        self.up_b = _weights("up_b", up_b, (wide,))
        hashed = hashlib.blake2b(digest_size=DIGEST_BYTES, person=b"dvfo-bottleneck")
        for array in (self.down_w, self.down_b, self.up_w, self.up_b):
            hashed.update(array.astype("<f4").tobytes())
        self.setting = setting
        self.calibration = calibration
        axis = calibration.axis
        self.shape = (*calibration.shape[:axis], wide, *calibration.shape[axis + 1 :])
        self._codec = FeatureCodec([calibration], setting, context=hashed.digest())

    def down(self, tensor: Floats) -> Floats:
        """The B channels of a tensor float32 of `shape`, as they go into the codec."""
        return self._mixed(tensor, self.down_w, self.down_b, self.calibration.shape)

    def up(self, narrow: Floats) -> Floats:
        """The tensor of B channels as they come out of the codec."""
        return self._mixed(narrow, self.up_w, self.up_b, self.shape)

    def encode(self, tensors: Sequence[Floats], importance: Sequence[NDArray[Any]] | None = None) -> bytes:
        """One frame of one tensor float32; importance, if any, of the B channels. Raises CodecError."""
        (tensor,) = self._one(tensors, self.shape)
        return self._codec.encode([self.down(tensor)], importance)

    def decode(self, frame: bytes) -> list[Floats]:
        """The tensor of a frame, in a list of one. Raises CodecError, and nothing else, for bad bytes."""
        return [self.up(self._codec.decode(frame)[0])]

    def roundtrip(
        self, batches: Sequence[Floats], importance: Sequence[NDArray[Any]] | None = None
    ) -> list[Floats]:
        """What `decode(encode(...))` gives for each input of a batch [N, *shape], equal to the bit."""
        (batch,) = self._one(batches, (len(batches[0]), *self.shape) if len(batches) else ())
        if len(batch) == 0:
            return [batch]
        narrow = np.stack([self.down(tensor) for tensor in batch])
        restored = self._codec.roundtrip([narrow], importance)[0]
        return [np.stack([self.up(tensor) for tensor in restored])]

    def _mixed(self, tensor: Floats, weights: Floats, bias: Floats, shape: tuple[int, ...]) -> Floats:
        axis = self.calibration.axis
        return channels_back(weights @ channels_first(tensor, axis) + bias[:, None], shape, axis)

    def _one(self, tensors: Sequence[Floats], shape: tuple[int, ...]) -> Sequence[Floats]:
        if len(tensors) != 1 or tensors[0].dtype != np.float32 or tensors[0].shape != shape:
            found = [f"{tensor.dtype} {tensor.shape}" for tensor in tensors]
            raise CodecError(f"codec: {found} instead of one float32 {shape}")
        return tensors


def _weights(name: str, values: NDArray[Any], shape: tuple[int, ...]) -> Floats:
    array = np.ascontiguousarray(values, np.float32)
    if array.shape != shape or not np.isfinite(array).all():
        raise CodecError(f"bottleneck: {name}: shape {array.shape} instead of {shape}, or not finite")
    return array
