"""The encoders that are tried at a cut, behind one interface: payload in, frame out, and back.

A payload is what the device would send of a batch of images: at the input the pixels, uint8 [N, H, W, C],
else what crosses the cut, float32 [N, ...] for every tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy.measuring.settings import BOTTLENECK, IMAGE, VariantKey
from dvfo_env.codecs import BottleneckCodec, ChannelCalibration, FeatureCodec, FeatureSetting, ImageCodec

Payload = list[NDArray[Any]]

#: Importance of the channels of every input: payload -> [N, C] for every tensor.
Scorer = Callable[[Payload], list[NDArray[np.float32]]]

#: Coder of a row whose codec has no choice of coders.
OWN_CODER = "own"


def coders_of(key: VariantKey, wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted coders that can follow: rANS codes quantised values, image codecs are their own."""
    if key.kind == IMAGE:
        return (OWN_CODER,)
    return tuple(coder for coder in wanted if coder != "rans" or key.bits <= 8)


def name_of(key: VariantKey, coder: str) -> str:
    """What a table calls a setting with a coder: `int4-keep1/4-zstd`, `bottleneck8-int4-zstd`, `jpeg-q75`."""
    if key.kind == IMAGE:
        return key.image
    if key.kind == BOTTLENECK:
        return f"{key.text}-{coder}"
    return FeatureSetting(key.keep, key.bits, coder).name


def single_images(payload: Payload, count: int) -> Iterator[Payload]:
    """The first images of a batch, one by one, without the batch axis."""
    for number in range(count):
        yield [np.ascontiguousarray(tensor[number]) for tensor in payload]


class Variant(Protocol):
    """One way of compressing at a cut, up to the coder."""

    key: VariantKey

    def roundtrip(self, payload: Payload) -> Payload:
        """What a decoder would give for a batch."""
        ...

    def encode(self, payload: Payload, coder: str) -> bytes:
        """The frame of one image (a payload without the batch axis)."""
        ...

    def sizes(self, payload: Payload, count: int, coder: str) -> list[int]:
        """Lengths of the frames of the first images of a batch."""
        ...

    def decode(self, frame: bytes, coder: str) -> Payload:
        """The inverse, for one image."""
        ...


class FeatureVariant:
    """Channels kept by a ranking, then quantised.

    Args:
        key: keep ratio and bits.
        calibrations: of the tensors that cross the cut.
        scorer: where the channels are chosen anew for every input; its time is part of encoding.
    """

    def __init__(
        self, key: VariantKey, calibrations: Sequence[ChannelCalibration], scorer: Scorer | None = None
    ) -> None:
        self.key = key
        self._calibrations = calibrations
        self._scorer = scorer
        self._codecs: dict[str, FeatureCodec] = {}

    def roundtrip(self, payload: Payload) -> Payload:
        """Without a coder, which would lose nothing."""
        importance = None if self._scorer is None else self._scorer(payload)
        return list(self._codec("none").roundtrip(payload, importance))

    def encode(self, payload: Payload, coder: str) -> bytes:
        """Importance first, where it is of the input."""
        importance = None
        if self._scorer is not None:
            importance = [scores[0] for scores in self._scorer([tensor[None] for tensor in payload])]
        return self._codec(coder).encode(payload, importance)

    def sizes(self, payload: Payload, count: int, coder: str) -> list[int]:
        """The batch's importance serves all of them."""
        if self._scorer is None:
            return [len(self.encode(image, coder)) for image in single_images(payload, count)]
        codec, scores = self._codec(coder), self._scorer(payload)
        return [
            len(codec.encode(image, [of_tensor[number] for of_tensor in scores]))
            for number, image in enumerate(single_images(payload, count))
        ]

    def decode(self, frame: bytes, coder: str) -> Payload:
        """All crossing tensors."""
        return list(self._codec(coder).decode(frame))

    def _codec(self, coder: str) -> FeatureCodec:
        if coder not in self._codecs:
            setting = FeatureSetting(self.key.keep, self.key.bits, coder)
            self._codecs[coder] = FeatureCodec(self._calibrations, setting)
        return self._codecs[coder]


class BottleneckVariant:
    """A learned bottleneck, quantised.

    Args:
        key: channels and bits.
        make: the codec at a setting.
    """

    def __init__(self, key: VariantKey, make: Callable[[FeatureSetting], BottleneckCodec]) -> None:
        self.key = key
        self._make = make
        self._codecs: dict[str, BottleneckCodec] = {}

    def roundtrip(self, payload: Payload) -> Payload:
        """Down, quantise, up."""
        return list(self._codec("none").roundtrip(payload))

    def encode(self, payload: Payload, coder: str) -> bytes:
        """Down, quantise, code."""
        return self._codec(coder).encode(payload)

    def sizes(self, payload: Payload, count: int, coder: str) -> list[int]:
        """Image by image."""
        return [len(self.encode(image, coder)) for image in single_images(payload, count)]

    def decode(self, frame: bytes, coder: str) -> Payload:
        """Decode, up."""
        return list(self._codec(coder).decode(frame))

    def _codec(self, coder: str) -> BottleneckCodec:
        if coder not in self._codecs:
            self._codecs[coder] = self._make(FeatureSetting(bits=self.key.bits, coder=coder))
        return self._codecs[coder]


class ImageVariant:
    """An image codec at the input; a coder of its own is part of it."""

    def __init__(self, key: VariantKey) -> None:
        self.key = key
        self._codec = ImageCodec(key.image)

    def roundtrip(self, payload: Payload) -> Payload:
        """Every image through encoder and decoder."""
        decode, encode = self._codec.decode, self._codec.encode
        return [np.stack([decode(encode(image)) for image in payload[0]])]

    def encode(self, payload: Payload, coder: str) -> bytes:
        """One image, uint8 [H, W, C]."""
        return self._codec.encode(payload[0])

    def sizes(self, payload: Payload, count: int, coder: str) -> list[int]:
        """Image by image."""
        return [len(self.encode(image, coder)) for image in single_images(payload, count)]

    def decode(self, frame: bytes, coder: str) -> Payload:
        """One image, uint8 [H, W, C]."""
        return [self._codec.decode(frame)]
