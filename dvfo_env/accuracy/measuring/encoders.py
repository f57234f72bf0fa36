"""The encoders of one cut: made from the calibration images, kept in a folder, read back on their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvfo_env.accuracy.importance import CutFeatures, better_fill, calibrate, order_of, static_importance
from dvfo_env.accuracy.importance.attention import load_attention, save_attention
from dvfo_env.accuracy.importance.bottleneck import Bottleneck, train_bottleneck
from dvfo_env.accuracy.importance.train_attention import train_attention
from dvfo_env.accuracy.measuring.settings import BOTTLENECK, IMAGE, PER_INPUT, VariantKey
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

PLAIN = "plain"
"""Ranges alone, for settings that keep every channel."""

_FRAMES, _ATTENTION, _CALIBRATION = "frames.npz", "attention.safetensors", ".calibration"
#: Calibration images that the attention's fixed order is the mean of.
_ORDER_IMAGES = 64

Floats = NDArray[np.float32]


class Encoders:
    """Encoders of one cut, kept in a folder; what has been made is taken from there.

    What a setting `needs` has to be made before its `variant`: ranges, a ranking or a bottleneck, by name.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._calibrations = {
            file.stem: load_calibrations(file) for file in sorted(folder.glob(f"*{_CALIBRATION}"))
        }
        self._attentions = load_attention(folder / _ATTENTION) if ATTENTION in self._calibrations else []
        self._scored: tuple[Payload, list[Floats]] = [], []
        self._bottlenecks = {
            name: Bottleneck.load(self._file(name))
            for name in self._calibrations
            if name.startswith(BOTTLENECK)
        }

    def needs(self, key: VariantKey) -> str | None:
        """Name of what is yet to be made for a setting, or None."""
        name = _name(key)
        return None if key.kind == IMAGE or name in self._calibrations else name

    def make(self, name: str, features: CutFeatures) -> None:
        """Make it from the calibration images, and keep it."""
        if name.startswith(BOTTLENECK):
            bottleneck = train_bottleneck(features, int(name.removeprefix(BOTTLENECK)))
            bottleneck.save(self._file(name))
            self._bottlenecks[name] = bottleneck
            self._keep(name, [bottleneck.calibration])
            return
        if PLAIN not in self._calibrations:
            self._keep(PLAIN, calibrate(features, "magnitude", QUANTISED_BITS))
        if name == ATTENTION:
            self._attentions = train_attention(features)
            save_attention(self._folder / _ATTENTION, self._attentions)
            self._keep(name, self._ordered(features, self._mean_importance(features)))
        elif name != PLAIN:
            self._keep(name, self._ordered(features, static_importance(features, name)))

    def variant(self, key: VariantKey) -> Variant:
        """The encoder of a setting that needs nothing more."""
        if key.kind == IMAGE:
            return ImageVariant(key)
        if key.kind == BOTTLENECK:
            return BottleneckVariant(key, self._bottlenecks[_name(key)].codec)
        scorer = self._importance if key.ranking.endswith(PER_INPUT) else None
        return FeatureVariant(key, self._calibrations[_name(key)], scorer)

    def keep_frames(self, frames: Payload) -> None:
        """Keep payloads of the frames that are to be timed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        np.savez(self._folder / _FRAMES, *frames)

    def frames(self) -> Payload:
        """What `keep_frames` kept."""
        with np.load(self._folder / _FRAMES) as kept:
            return [kept[name] for name in kept.files]

    def _keep(self, name: str, calibrations: list[ChannelCalibration]) -> None:
        """Last of what is kept under a name: where it is, everything is."""
        self._calibrations[name] = calibrations
        save_calibrations(self._folder / f"{name}{_CALIBRATION}", calibrations)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.safetensors"

    def _importance(self, payload: Payload) -> list[Floats]:
        """Of the channels of every input, [N, C] for every tensor; the last batch's is remembered."""
        batch, scores = self._scored
        if batch is not payload:
            scores = [
                np.stack([attention.importance(tensor) for tensor in tensors])
                for attention, tensors in zip(self._attentions, payload, strict=True)
            ]
            self._scored = payload, scores
        return scores

    def _mean_importance(self, features: CutFeatures) -> list[Tensor]:
        """Over some calibration images: the attention as a fixed order."""
        some = [tensor.numpy() for tensor in features.some(_ORDER_IMAGES).tensors]
        return [torch.from_numpy(scores.mean(axis=0)) for scores in self._importance(some)]

    def _ordered(self, features: CutFeatures, scores: Sequence[Tensor]) -> list[ChannelCalibration]:
        """The same ranges in another order, with the fill that suits it."""
        fills = better_fill(features, scores)
        return [
            replace(calibration, order=order_of(score).numpy(), fill=fill.numpy().astype(np.float32))
            for calibration, score, fill in zip(self._calibrations[PLAIN], scores, fills, strict=True)
        ]


def _name(key: VariantKey) -> str:
    """Name of what a setting's encoder is made of."""
    if key.kind == BOTTLENECK:
        return f"{BOTTLENECK}{key.channels}"
    return key.ranking.removesuffix(PER_INPUT) or PLAIN
