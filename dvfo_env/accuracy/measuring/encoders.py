"""The encoders of one cut: made from the calibration images, kept in a folder, read back on their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvfo_env.accuracy.importance import CutFeatures, better_fill, calibrate, order_of, static_importance
from dvfo_env.accuracy.importance.attention import ChannelAttention, load_attention, save_attention
from dvfo_env.accuracy.importance.bottleneck import Bottleneck, train_bottleneck
from dvfo_env.accuracy.importance.train_attention import train_attention
from dvfo_env.accuracy.measuring.settings import BOTTLENECK, IMAGE, PER_INPUT, Settings, VariantKey
from dvfo_env.accuracy.measuring.variants import (
    BottleneckVariant,
    FeatureVariant,
    ImageVariant,
    Payload,
    Variant,
)
from dvfo_env.codecs import QUANTISED_BITS, ChannelCalibration, load_calibrations, save_calibrations

ATTENTION = "attention"
"""The ranking that is trained."""

_PAYLOAD, _ATTENTION = "frames.npz", "attention.safetensors"
_PLAIN, _CALIBRATION = "plain", ".calibration"
#: Calibration images that the attention's fixed order is the mean of.
_ORDER_IMAGES = 64

Floats = NDArray[np.float32]


class Encoders:
    """Encoders of one cut for all settings; `load` and `prepare` before `variants`."""

    def __init__(self, keys: Sequence[VariantKey], settings: Settings) -> None:
        self._keys = list(keys)
        self._settings = settings
        self._calibrations: dict[str, list[ChannelCalibration]] = {}
        self._attentions: list[ChannelAttention] = []
        self._bottlenecks: dict[int, Bottleneck] = {}
        self.frames: Payload = []

    def variants(self) -> list[Variant]:
        """One for every setting, mildest first."""
        return [self._variant(key) for key in self._keys]

    def missing(self) -> list[str]:
        """Names of what is yet to be made: `plain` ranges, rankings, bottlenecks."""
        if all(key.kind == IMAGE for key in self._keys):
            return []
        widths = {key.channels for key in self._keys if key.kind == BOTTLENECK}
        names = [_PLAIN, *self._settings.modules, *(f"{BOTTLENECK}{width}" for width in sorted(widths))]
        return [name for name in names if name not in self._calibrations]

    def prepare(
        self,
        cut: str,
        payload: Payload,
        reference: Floats,
        tail: Callable[[Sequence[Tensor]], Tensor],
    ) -> None:
        """Make what is missing from the calibration images' `payload` and the network's own answers."""
        missing = self.missing()
        if not missing:
            return
        features = CutFeatures(
            cut, tuple(torch.from_numpy(tensor) for tensor in payload), tail, torch.from_numpy(reference)
        )
        if _PLAIN in missing:
            self._calibrations[_PLAIN] = calibrate(features, "magnitude", QUANTISED_BITS)
        for name in missing:
            if name.startswith(BOTTLENECK):
                width = int(name.removeprefix(BOTTLENECK))
                self._bottlenecks[width] = train_bottleneck(features, width)
                self._calibrations[name] = [self._bottlenecks[width].calibration]
            elif name == ATTENTION:
                self._attentions = train_attention(features)
                self._calibrations[name] = self._ordered(features, self._mean_importance(features))
            elif name != _PLAIN:
                self._calibrations[name] = self._ordered(features, static_importance(features, name))

    def save(self, folder: Path, frames: Payload) -> None:
        """Keep the parameters, and payloads of the frames that are to be timed."""
        self.frames = frames
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / _PAYLOAD, *frames)
        if self._attentions:
            save_attention(folder / _ATTENTION, self._attentions)
        for width, bottleneck in self._bottlenecks.items():
            bottleneck.save(folder / f"{BOTTLENECK}{width}.safetensors")
        for name, calibrations in self._calibrations.items():  # last: one that is there is complete
            save_calibrations(folder / f"{name}{_CALIBRATION}", calibrations)

    def load(self, folder: Path) -> None:
        """Take what `save` kept, if anything."""
        for file in folder.glob(f"*{_CALIBRATION}"):
            self._calibrations[file.stem] = load_calibrations(file)
        if ATTENTION in self._calibrations:
            self._attentions = load_attention(folder / _ATTENTION)
        for name in [name for name in self._calibrations if name.startswith(BOTTLENECK)]:
            width = int(name.removeprefix(BOTTLENECK))
            self._bottlenecks[width] = Bottleneck.load(folder / f"{name}.safetensors")
        if (folder / _PAYLOAD).exists():
            with np.load(folder / _PAYLOAD) as kept:
                self.frames = [kept[name] for name in kept.files]

    def _variant(self, key: VariantKey) -> Variant:
        if key.kind == IMAGE:
            return ImageVariant(key)
        if key.kind == BOTTLENECK:
            return BottleneckVariant(key, self._bottlenecks[key.channels].codec)
        name = key.ranking.removesuffix(PER_INPUT) or _PLAIN
        scorer = self._importance if key.ranking.endswith(PER_INPUT) else None
        return FeatureVariant(key, self._calibrations[name], scorer)

    def _importance(self, payload: Payload) -> list[Floats]:
        """Of the channels of every input, [N, C] for every tensor."""
        return [
            np.stack([attention.importance(tensor) for tensor in tensors])
            for attention, tensors in zip(self._attentions, payload, strict=True)
        ]

    def _mean_importance(self, features: CutFeatures) -> list[Tensor]:
        """Over some calibration images: the attention as a fixed order."""
        some = [tensor.numpy() for tensor in features.some(_ORDER_IMAGES).tensors]
        return [torch.from_numpy(scores.mean(axis=0)) for scores in self._importance(some)]

    def _ordered(self, features: CutFeatures, scores: Sequence[Tensor]) -> list[ChannelCalibration]:
        """The same ranges in another order, with the fill that suits it."""
        fills = better_fill(features, scores)
        return [
            replace(calibration, order=order_of(score).numpy(), fill=fill.numpy().astype(np.float32))
            for calibration, score, fill in zip(self._calibrations[_PLAIN], scores, fills, strict=True)
        ]
