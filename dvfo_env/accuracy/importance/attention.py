"""Spatial-channel attention as it runs on the device: importance within one input, numpy only.

    z(c, p) = (x(c, p) - fill(c)) / scale(c)                       what is lost where channel c is dropped
    A(p) = sigmoid(conv3x3(mean over c of z^2, max over c of |z|)) spatial branch
    e(c) = log(sum_p A(p) z(c, p)^2 / sum_p A(p))                  a channel's energy where it matters
    s(c) = slope e(c) + bias(c) + MLP(e, mean over p of z)(c)      channel branch

The two branches and their pooled statistics are those of CBAM (Woo et al. 2018, arXiv 1807.06521). DVFO's
abstract (arXiv 2306.01811) names spatial-channel attention and no more, and has no public code: this is
DVFO-style, not theirs. The energy is in the sum from the start, so that training corrects a working rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from os import PathLike

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from dvfo_env.codecs.quantiser import channels_first
from dvfo_env.errors import CodecError

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class ChannelAttention:
    """The attention of one tensor; C channels, H hidden units.

    channel_axis: as in the tensor's calibration
    fill, scale: [C], what stands for a dropped channel, and the standard deviation around it
    kernel, offset: [2, 3, 3] and [1], the convolution that gives A
    slope, bias: [1] and [C]
    hidden_weight, hidden_bias, out_weight: [H, 2 C], [H] and [C, H], the MLP with a ReLU between
    """

    channel_axis: int
    fill: Floats
    scale: Floats
    kernel: Floats
    offset: Floats
    slope: Floats
    bias: Floats
    hidden_weight: Floats
    hidden_bias: Floats
    out_weight: Floats

    def importance(self, tensor: Floats) -> Floats:
        """Importance [C] of one tensor's channels, larger is more important; for `FeatureCodec.encode`."""
        channels, _ = self._scores(tensor)
        return channels

    def maps(self, tensor: Floats) -> Floats:
        """Importance of every channel and position in (0, 1), in the tensor's shape: sigmoid(s) A."""
        channels, positions = self._scores(tensor)
        values = np.outer(_sigmoid(channels - np.median(channels)), positions).astype(np.float32)
        axis = self.channel_axis % tensor.ndim
        moved = (tensor.shape[axis], *tensor.shape[:axis], *tensor.shape[axis + 1 :])
        return np.moveaxis(values.reshape(moved), 0, axis)

    def _scores(self, tensor: Floats) -> tuple[Floats, Floats]:
        """Both branches: s [C] and A [P]."""
        axis = self.channel_axis % tensor.ndim
        lost = channels_first(tensor, axis) - self.fill[:, None]
        z = lost / self.scale[:, None]
        positions = np.ones(z.shape[1], np.float32)
        if z.shape[1] > 1:
            grid = (tensor.shape[:axis] + tensor.shape[axis + 1 :]) if tensor.ndim == 3 else (z.shape[1], 1)
            pooled = np.stack([np.einsum("cp,cp->p", z, z) / len(z), np.maximum(z.max(0), -z.min(0))])
            positions = _sigmoid(_convolve(pooled.reshape(2, *grid), self.kernel) + self.offset).reshape(-1)
        np.square(lost, out=lost)
        energy = np.log(lost @ (positions / positions.sum()) / self.scale**2 + _LEAST)
        hidden = self.hidden_weight @ np.concatenate([energy, z.mean(axis=1)]) + self.hidden_bias
        learned = self.out_weight @ np.maximum(hidden, 0)
        return (self.slope * energy + self.bias + learned).astype(np.float32), positions

    def arrays(self) -> dict[str, Floats]:
        """Every array by its name."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "channel_axis"}


#: Added to a relative energy before the logarithm.
_LEAST = np.float32(1e-6)


def save_attention(path: str | PathLike[str], attentions: Sequence[ChannelAttention]) -> None:
    """Write the attentions of the tensors that cross a cut, as safetensors."""
    named = {
        f"{number}/{name}": np.ascontiguousarray(array)
        for number, attention in enumerate(attentions)
        for name, array in attention.arrays().items()
    }
    axes = {f"{number}/channel_axis": str(a.channel_axis) for number, a in enumerate(attentions)}
    named |= {key: np.array([int(axis)], np.int64) for key, axis in axes.items()}
    save_file(named, path)


def load_attention(path: str | PathLike[str]) -> list[ChannelAttention]:
    """Read what `save_attention` wrote. Raises CodecError naming the file if it is something else."""
    try:
        named = load_file(path)
        count = 1 + max(int(key.split("/")[0]) for key in named)
        names = [f.name for f in fields(ChannelAttention) if f.name != "channel_axis"]
        return [
            ChannelAttention(
                int(named[f"{number}/channel_axis"][0]), **{name: named[f"{number}/{name}"] for name in names}
            )
            for number in range(count)
        ]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise CodecError(f"{path}: is not an attention saved by this project ({error})") from None


def _convolve(maps: Floats, kernel: Floats) -> Floats:
    """Cross-correlation [2, H, W] * [2, 3, 3] -> [H, W], zeros around."""
    height, width = maps.shape[1:]
    padded = np.pad(maps, ((0, 0), (1, 1), (1, 1)))
    result = np.zeros((height, width), np.float32)
    for number, row, column in np.ndindex(*kernel.shape):
        result += kernel[number, row, column] * padded[number, row : row + height, column : column + width]
    return result


def _sigmoid(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-values))).astype(np.float32)
