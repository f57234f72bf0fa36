"""Learned bottleneck of a cut: 1x1 convolution down to fewer channels, another one back, the network frozen.

It starts from the principal components of the calibration set in the metric of the tail. With F the Fisher
information of a position's channels, E[g g'] for gradients g of the log probability of drawn classes, a
reconstruction x^ costs about (x - x^)' F (x - x^) / 2; for F = L L' the best of rank B are the B leading
eigenvectors of L' cov(x) L. In this metric all channels share one step, which is best before an entropy coder
(reverse water-filling): channels below the step cost next to nothing, so that all C of them, turned, are
already smaller than the tensor. Training by distillation, through the quantiser, corrects what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from dvfo_env.accuracy.importance.calibrate import calibrate
from dvfo_env.accuracy.importance.features import CutFeatures, divergence
from dvfo_env.accuracy.importance.gates import draws
from dvfo_env.accuracy.importance.ranges import Range
from dvfo_env.codecs.bottleneck import BottleneckCodec
from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.codecs.settings import QUANTISED_BITS, FeatureSetting
from dvfo_env.errors import CodecError, ConfigError

#: Steps of Adam, images a step and rate, relative to the weights.
STEPS, STEP_IMAGES, RATE = 48, 8, 0.01
#: Steps within +-3 standard deviations of the leading channel, by bits: what `bits` means for a bottleneck.
LEVELS = {8: 48, 6: 28, 4: 19, 3: 10, 2: 6}
#: Share of the mean Fisher information added to all channels, so that none counts for nothing.
_RIDGE = 1e-2
#: Images for the Fisher information: 310 instead of 64 lower the divergence by a tenth on MobileNetV2.
_FISHER_IMAGES = 256
_WEIGHTS = ("down_w", "down_b", "up_w", "up_b")

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Bottleneck:
    """Parameters of `BottleneckCodec`: down_w [B, C], down_b [B], up_w [C, B], up_b [C], B's calibration."""

    down_w: Floats
    down_b: Floats
    up_w: Floats
    up_b: Floats
    calibration: ChannelCalibration

    def codec(self, setting: FeatureSetting) -> BottleneckCodec:
        """The encoder and decoder at a setting."""
        return BottleneckCodec(self.down_w, self.down_b, self.up_w, self.up_b, self.calibration, setting)

    def save(self, path: str | PathLike[str]) -> None:
        """Write it as one safetensors file."""
        calibration = self.calibration
        named = {name: getattr(self, name) for name in _WEIGHTS}
        named |= {f"calibration/{name}": array for name, array in calibration.arrays().items()}
        named["shape"] = np.array([*calibration.shape, calibration.channel_axis], np.int64)
        save_file({name: np.ascontiguousarray(array) for name, array in named.items()}, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Bottleneck:
        """Read what `save` wrote. Raises CodecError naming the file if it is something else."""
        try:
            named = load_file(path)
            *shape, axis = named["shape"].tolist()
            prefix = "calibration/"
            inside = {name.removeprefix(prefix): a for name, a in named.items() if name.startswith(prefix)}
            calibration = ChannelCalibration.from_arrays(tuple(shape), axis, inside)
            return cls(**{name: named[name] for name in _WEIGHTS}, calibration=calibration)
        except (OSError, SafetensorError, KeyError, ValueError, CodecError) as error:
            raise CodecError(f"{path}: is not a bottleneck saved by this project ({error})") from None


def train_bottleneck(
    features: CutFeatures,
    channels: int,
    bits: int | None = 4,
    *,
    calibrated_bits: Sequence[int] = QUANTISED_BITS,
    steps: int = STEPS,
    seed: int = 0,
) -> Bottleneck:
    """A bottleneck of `channels` channels for the only tensor that crosses the cut.

    bits: what the training rounds to (straight-through gradient, Bengio et al. 2013, arXiv 1308.3432); None:
        it does not round
    calibrated_bits: number of bits that get ranges, histograms and points
    steps: 0 for the principal components as they are

    Images held out decide whether the trained weights are returned or the principal components they started
    from. The same `seed` gives the same bottleneck.

    Raises ConfigError when several tensors cross the cut, or for a number of channels that is not between 1
    and the tensor's.
    """
    if len(features.tensors) != 1:
        raise ConfigError(
            f"bottleneck at {features.cut!r}: {len(features.tensors)} tensors cross, must be one"
        )
    if not 1 <= channels <= features.channels[0]:
        raise ConfigError(
            f"bottleneck at {features.cut!r}: channels: {channels} is not in 1 .. {features.channels[0]}"
        )
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        start = principal(features, channels)
        down_w, down_b, up_w, up_b = _better(features, start, bits, steps) if steps else start
    narrow = mixed(features.tensors[0], down_w, down_b, features.axes[0])

    def tail(tensors: Sequence[Tensor]) -> Tensor:
        return features.tail([mixed(tensors[0], up_w, up_b, features.axes[0])])

    inside = CutFeatures(features.cut, (narrow,), tail, features.reference, features.channel_axes)
    leading_first = torch.arange(channels, 0, -1.0)
    ranges = {b: common_range(channels, b) for b in calibrated_bits}
    (calibration,) = calibrate(inside, "eigenvalue", importance=[leading_first], ranges=ranges)
    return Bottleneck(down_w.numpy(), down_b.numpy(), up_w.numpy(), up_b.numpy(), calibration)


def principal(features: CutFeatures, channels: int) -> list[Tensor]:
    """Weights and biases [B, C], [B], [C, B], [C] from the components in the tail's metric, leading first.

    The B channels have mean 0 on the calibration set, a unit of each costs the same, and the leading one has
    variance 1.
    """
    rows = torch.from_numpy(features.rows(0, 4_000_000)).double()
    mean = rows.mean(1)
    centred = rows - mean[:, None]
    covariance = centred @ centred.T / rows.shape[1]
    fisher = position_fisher(features.some(_FISHER_IMAGES)).double()
    ridge = _RIDGE * fisher.diagonal().mean() + torch.finfo(torch.float64).tiny
    root = torch.linalg.cholesky(fisher + ridge * torch.eye(len(fisher), dtype=torch.float64))
    values, vectors = torch.linalg.eigh(root.T @ covariance @ root)
    leading = vectors[:, -channels:].flip(1)
    unit = values[-1].clamp_min(1e-30).sqrt()
    down = leading.T @ root.T / unit
    up = torch.linalg.solve_triangular(root.T, leading * unit, upper=True)
    return [part.float().contiguous() for part in (down, -down @ mean, up, mean)]


def common_range(channels: int, bits: int) -> Range:
    """Range [B] each of channels with one step, the mean 0 among their points."""
    step, middle = 6 / LEVELS[bits], 2 ** (bits - 1)
    ends = -step * middle, step * (2**bits - 1 - middle)
    low, high = (np.full(channels, end, np.float32) for end in ends)
    return low, high


def position_fisher(features: CutFeatures) -> Tensor:
    """Fisher information between the channels of a position, mean over positions, [C, C]; one tensor."""
    channels, axis = features.channels[0], features.axes[0]
    total, count = torch.zeros(channels, channels), 0
    for tensors, reference in features.batches():
        values = tensors[0].detach().clone().requires_grad_(True)
        drawn = torch.multinomial(reference.softmax(-1), 1)
        chosen = features.tail([values]).log_softmax(-1).gather(-1, drawn)
        rows = torch.autograd.grad(chosen.sum(), values)[0].movedim(axis, 0).flatten(1)
        total, count = total + rows @ rows.T, count + rows.shape[1]
    return total / count


def mixed(values: Tensor, weights: Tensor, bias: Tensor, axis: int) -> Tensor:
    """A 1x1 convolution along `axis` of a batch."""
    moved = values.movedim(axis, -1)
    return (moved @ weights.T + bias).movedim(-1, axis)


def _better(features: CutFeatures, start: list[Tensor], bits: int | None, steps: int) -> list[Tensor]:
    """The weights, trained or as they were: what keeps held-out images' answers closer."""
    training, held_out = features.parted()
    trained = [part.clone().requires_grad_(True) for part in start]
    _distil(training, trained, bits, steps)
    trained = [part.detach() for part in trained]
    with torch.no_grad():
        return min((start, trained), key=lambda weights: float(_loss(held_out, weights, bits)))


def _loss(features: CutFeatures, weights: Sequence[Tensor], bits: int | None) -> Tensor:
    """Mean of log(1 + divergence) behind the bottleneck."""
    down_w, down_b, up_w, up_b = weights
    narrow = mixed(features.tensors[0], down_w, down_b, features.axes[0])
    if bits is not None:
        narrow = _rounded(narrow, bits)
    logits = features.tail([mixed(narrow, up_w, up_b, features.axes[0])])
    return divergence(logits, features.reference).clamp_min(0).log1p().mean()


def _distil(features: CutFeatures, weights: list[Tensor], bits: int | None, steps: int) -> None:
    """Train the weights in place."""
    sizes = (float(weight.detach().square().mean().sqrt()) for weight in weights)
    optimiser = torch.optim.Adam(
        [{"params": [weight], "lr": RATE * size} for weight, size in zip(weights, sizes, strict=True)]
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for images in draws(len(features), steps, STEP_IMAGES):
        loss = _loss(features.at(images), weights, bits)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()


def _rounded(values: Tensor, bits: int) -> Tensor:
    """Values on the quantiser's grid; the gradient passes where nothing is clipped."""
    step = 6 / LEVELS[bits]
    low, high = (float(end[0]) for end in common_range(1, bits))
    clipped = values.clamp(low, high)
    return clipped + ((clipped / step).round() * step - clipped).detach()
