"""What crosses a cut to bytes and back, by the names that `dvfo_env.codecs` spells."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from dvfo_controller.split.cutting import Array, Cut
from dvfo_controller.split.engine import Engine
from dvfo_controller.split.plan import codec_shape
from dvfo_env.codecs import (
    LOSSLESS_IMAGE_CODECS,
    ChannelCalibration,
    FeatureCodec,
    FeatureSetting,
    ImageCodec,
)
from dvfo_env.codecs.frame import IMAGE, PREFIX_BYTES
from dvfo_env.errors import CodecError, SplitError

#: Bytes of a codec's headers and masks, generously: per frame and tensor, beside the values themselves.
_FRAME_BYTES, _TENSOR_BYTES = 256, 4096


class Codecs:
    """Encoders and decoders of an engine's cuts, made when first used.

    Feature settings of 32 and 16 bits with every channel need nothing; all others need the calibrations of
    the engine's plan. Image codecs send the raw image: they work at the first cut, with a plan that says how
    images are scaled. Bottlenecks are not served: their weights are in no plan.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._features: dict[tuple[object, str], FeatureCodec] = {}
        self._images: dict[str, ImageCodec] = {}

    def encode(self, cut: Cut, name: str, tensors: Sequence[Array], image: Array) -> bytes:
        """One frame.

        tensors: what crosses, with the batch dimension; image: what the device was given.

        Raises:
            SplitError: the codec cannot be used at this cut.
        """
        try:
            if is_image_codec(name):
                self._check_image(cut, image)
                if name not in self._images:
                    self._images[name] = ImageCodec(name)
                return self._images[name].encode(image)
            codec = self._feature_codec(cut, name)
            return codec.encode(
                [
                    np.ascontiguousarray(tensor, np.float32).reshape(calibration.shape)
                    for tensor, calibration in zip(tensors, codec.calibrations, strict=True)
                ]
            )
        except CodecError as error:
            raise SplitError(f"cut {cut.name}: {name}: {error}") from None

    def check(self, cut: Cut, name: str) -> None:
        """Raises SplitError saying why a codec cannot be used at a cut, for any image of bytes."""
        try:
            if is_image_codec(name):
                ImageCodec(name)
                self._check_place(cut)
            else:
                self._feature_codec(cut, name)
        except CodecError as error:
            raise SplitError(f"cut {cut.name}: {name}: {error}") from None

    def decode(self, cut: Cut, frame: memoryview) -> list[Array]:
        """The tensors that cross, with batch dimension. Raises CodecError or SplitError for bad bytes."""
        specs = self._engine.tensors(cut)
        if len(frame) > PREFIX_BYTES and frame[4] == IMAGE:
            if cut.tensors != (self._engine.network.input,):
                raise SplitError(f"cut {cut.name}: an image, where features cross")
            (spec,) = specs
            image = ImageCodec("raw", max_pixels=int(np.prod(spec.shape[2:]))).decode(bytes(frame))
            return [self._engine.input(image)]
        values = self._feature_codec(cut, "fp32-keep1-none").decode(bytes(frame))
        return [
            value.astype(spec.dtype, copy=False).reshape(spec.shape)
            for value, spec in zip(values, specs, strict=True)
        ]

    def most_bytes(self, cut: Cut) -> int:
        """No frame of this cut is longer."""
        specs = self._engine.tensors(cut)
        return _FRAME_BYTES + sum(_TENSOR_BYTES + 4 * int(np.prod(spec.shape)) for spec in specs)

    def _feature_codec(self, cut: Cut, name: str) -> FeatureCodec:
        key = (cut.key, name)
        if key not in self._features:
            setting = FeatureSetting.parse(name)
            self._features[key] = FeatureCodec(self._calibrations(cut, setting), setting)
        return self._features[key]

    def _calibrations(self, cut: Cut, setting: FeatureSetting) -> Sequence[ChannelCalibration]:
        specs = self._engine.tensors(cut)
        if any(spec.dtype.kind != "f" or spec.dtype.itemsize > 4 for spec in specs):
            kinds = ", ".join(f"{spec.name} ({spec.dtype})" for spec in specs)
            raise SplitError(f"cut {cut.name}: only float32 and float16 can be sent, here cross {kinds}")
        plan = self._engine.plan
        if plan is not None:
            for known in plan.cuts:
                if known.tensors == cut.tensors and known.name in plan.calibrations:
                    return plan.calibrations[known.name]
        if setting.bits < 16 or setting.keep < 1:
            raise SplitError(f"cut {cut.name}: {setting.name} needs a calibration, which no plan has")
        return [ChannelCalibration.uncalibrated(codec_shape(spec.shape)) for spec in specs]

    def _check_image(self, cut: Cut, image: Array) -> None:
        self._check_place(cut)
        if image.dtype != np.uint8:
            raise SplitError("image codecs take an image of bytes")

    def _check_place(self, cut: Cut) -> None:
        if cut.tensors != (self._engine.network.input,):
            raise SplitError(f"cut {cut.name}: image codecs work at the first cut only")
        if self._engine.plan is None or self._engine.plan.scaling is None:
            raise SplitError("image codecs need a plan that says how an image of bytes is scaled")


def is_image_codec(name: str) -> bool:
    """Whether a name is an image codec's, not a feature setting's."""
    return name in LOSSLESS_IMAGE_CODECS or re.fullmatch(r"(jpeg|webp)-q\d+", name) is not None
