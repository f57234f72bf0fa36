"""A calibration set's tensors at one cut, and the tail after it: what everything here is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from dvfo_env.errors import ConfigError

#: From the tensors that cross a cut, in the order of the card, to logits [N, classes].
Tail = Callable[[Sequence[Tensor]], Tensor]

#: Images that go through a tail at a time: enough for speed, little memory for the gradients.
BATCH = 16

_MOST_HELD_OUT = 32


@dataclass(frozen=True, eq=False)
class CutFeatures:
    """One cut of a network, seen on a calibration set (never on the set that accuracy is tested on).

    cut: its name on the card
    tensors: those that cross it, float32 [N, ...] each
    tail: the rest of the network, frozen; differentiable in the tensors it is given
    reference: logits [N, classes] of the whole, uncompressed network: the only teacher, no labels are used
    channel_axes: axis that holds the channels, per tensor and without the batch axis; empty: the first of
        [C, H, W], the last of [T, D]

    Raises ConfigError when the numbers of images or of axes differ.
    """

    cut: str
    tensors: tuple[Tensor, ...]
    tail: Tail
    reference: Tensor
    channel_axes: tuple[int, ...] = field(default=())

    def __post_init__(self) -> None:
        counts = {len(tensor) for tensor in (*self.tensors, self.reference)}
        if not self.tensors or len(counts) != 1 or counts == {0}:
            raise ConfigError(
                f"features of cut {self.cut!r}: tensors and reference need one image each, all as many"
            )
        axes = self.channel_axes or tuple(channel_axis(tensor.shape[1:]) for tensor in self.tensors)
        if len(axes) != len(self.tensors):
            raise ConfigError(
                f"features of cut {self.cut!r}: channel_axes: {len(axes)} for {len(self.tensors)} tensors"
            )
        object.__setattr__(self, "channel_axes", axes)

    @classmethod
    def collect(
        cls,
        cut: str,
        head: Callable[[Tensor], Sequence[Tensor]],
        tail: Tail,
        images: Tensor,
        channel_axes: tuple[int, ...] = (),
    ) -> CutFeatures:
        """Run images [N, C, H, W] through head and tail once and keep what crosses the cut."""
        with torch.no_grad():
            batches = [tuple(head(images[begin : begin + BATCH])) for begin in range(0, len(images), BATCH)]
            reference = torch.cat([tail(batch) for batch in batches])
            tensors = tuple(torch.cat(parts) for parts in zip(*batches, strict=True))
        return cls(cut, tensors, tail, reference, channel_axes)

    def __len__(self) -> int:
        return len(self.reference)

    @property
    def channels(self) -> tuple[int, ...]:
        """C of each tensor."""
        axes = zip(self.tensors, self.axes, strict=True)
        return tuple(tensor.shape[axis] for tensor, axis in axes)

    @property
    def axes(self) -> tuple[int, ...]:
        """Channel axis of each tensor with its batch axis in front, counted from the front."""
        pairs = zip(self.tensors, self.channel_axes, strict=True)
        return tuple(axis % (tensor.dim() - 1) + 1 for tensor, axis in pairs)

    def along(self, values: Tensor, tensor: int) -> Tensor:
        """Values [C] or [N, C] shaped so that they broadcast over tensor number `tensor`."""
        shape = [1] * self.tensors[tensor].dim()
        shape[self.axes[tensor]] = values.shape[-1]
        if values.dim() == 2:
            shape[0] = len(values)
        return values.reshape(shape)

    def some(self, images: int) -> CutFeatures:
        """At most that many images, evenly spaced, so that all photographs of an ordered set stay."""
        if len(self) <= images:
            return self
        return self.at(torch.linspace(0, len(self) - 1, images).round().long())

    def at(self, images: Tensor) -> CutFeatures:
        """The images with these numbers."""
        return replace(
            self, tensors=tuple(tensor[images] for tensor in self.tensors), reference=self.reference[images]
        )

    def parted(self) -> tuple[CutFeatures, CutFeatures]:
        """Images to train on and a quarter, 32 at most, to judge by, drawn from torch's generator."""
        shuffled = torch.randperm(len(self))
        count = max(1, min(_MOST_HELD_OUT, len(self) // 4))
        return self.at(shuffled[count:] if len(self) > 1 else shuffled), self.at(shuffled[:count])

    def batches(self) -> Iterator[tuple[tuple[Tensor, ...], Tensor]]:
        """Tensors and reference, `BATCH` images at a time."""
        for begin in range(0, len(self), BATCH):
            chosen = slice(begin, begin + BATCH)
            yield tuple(tensor[chosen] for tensor in self.tensors), self.reference[chosen]

    def rows(self, tensor: int, most: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        """Tensor number `tensor` as float32 [C, values]: evenly spaced images, about `most` values."""
        values = self.tensors[tensor]
        images = max(1, min(len(self), most // max(1, values[0].numel())))
        chosen = self.some(images).tensors[tensor]
        rows: np.ndarray[tuple[int, int], np.dtype[np.float32]] = (
            chosen.movedim(self.axes[tensor], 0).reshape(self.channels[tensor], -1).numpy()
        )
        return rows


def channel_axis(shape: Sequence[int]) -> int:
    """Where channels are by convention: first in [C, H, W] and [C], last in tokens [T, D]."""
    return -1 if len(shape) == 2 else 0


def divergence(logits: Tensor, reference: Tensor) -> Tensor:
    """Kullback-Leibler divergence of an answer from the full network's, nats, [N]: the distillation loss."""
    return torch.nn.functional.kl_div(
        logits.log_softmax(-1), reference.log_softmax(-1), reduction="none", log_target=True
    ).sum(-1)
