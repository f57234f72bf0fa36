"""A trained network in two pieces at one cut, run on batches of images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dvfo_env.accuracy.measuring.variants import Payload
from dvfo_env.accuracy.models import TrainedModel
from dvfo_env.errors import ConfigError
from dvfo_env.workloads.card import WorkloadCard
from dvfo_env.workloads.segments import TorchSegment, split_module

Floats = NDArray[np.float32]
Images = NDArray[np.uint8]

#: Elements of the input in one batch, so that the largest tensors inside stay within some hundred megabytes.
_BATCH_ELEMENTS = 2_500_000
_MOST_IN_A_BATCH = 128


class CutNetwork:
    """Head and tail of a network; at the input there is no head, and pixels are sent.

    Args:
        model: with its weights.
        card: its workload.
        index: of the cut, not the last.

    Raises:
        ConfigError: the network cannot be split there, or does not give one answer per image.
    """

    def __init__(self, model: TrainedModel, card: WorkloadCard, index: int) -> None:
        self._model = model
        model.module.requires_grad_(False)  # rankings want gradients of what crosses, not of the weights
        self.cut = card.cuts[index]
        self._head: TorchSegment | None = None
        self._tail: TorchSegment | None = None
        if index:
            self._head, self._tail = split_module(
                model.module, model.example_input, [card.cuts[0], self.cut, card.cuts[-1]]
            )
            if self._head.answers or len(self._tail.answers) != 1:
                raise ConfigError(f"{model.name}: cut {self.cut.name}: needs a network with one output")
        elements = model.example_input[0].numel()
        self.batch = int(np.clip(_BATCH_ELEMENTS // elements, 1, _MOST_IN_A_BATCH))
        if not self._takes_batches():
            self.batch = 1

    def head(self, images: Images) -> Payload:
        """uint8 [N, H, W, C] -> what is sent: float32 [N, ...] for every crossing tensor, or the images."""
        if self._head is None:
            return [images]
        parts = []
        with torch.inference_mode():
            for start, stop in self._ranges(len(images)):
                tensors = self._head(self._model.preprocess(images[start:stop]))
                parts.append([tensor.numpy() for tensor in tensors])
        return [np.concatenate(pieces) for pieces in zip(*parts, strict=True)]

    def tail(self, payload: Payload) -> Floats:
        """What was sent -> answers, float32 [N, classes]."""
        answers = []
        with torch.inference_mode():
            for start, stop in self._ranges(len(payload[0])):
                batch = [np.ascontiguousarray(tensor[start:stop]) for tensor in payload]
                if self._tail is None:
                    tensors = [self._model.preprocess(batch[0])]
                else:
                    tensors = [torch.from_numpy(tensor) for tensor in batch]
                answers.append(self.tail_of(tensors).numpy())
        return np.concatenate(answers)

    def tail_of(self, tensors: Sequence[Tensor]) -> Tensor:
        """Torch tensors of one batch -> answers, with gradients where they are asked for."""
        if self._tail is None:
            answer: Tensor = self._model.module(*tensors)
            return answer
        return self._tail(*tensors)[0]

    def _ranges(self, count: int) -> list[tuple[int, int]]:
        return list(pairwise([*range(0, count, self.batch), count]))

    def _takes_batches(self) -> bool:
        """Whether two images at once give what each gives alone: tracing may have fixed a batch of one."""
        shape = self._model.example_input.shape
        generator = torch.Generator().manual_seed(0)
        one, other = (torch.randn(shape, generator=generator) for _ in range(2))
        pieces = [self._pieces(tensor) for tensor in (one, other)]
        try:
            both = self._pieces(torch.cat([one, other]))
        except RuntimeError:
            return False
        apart = torch.cat(pieces)
        return both.shape == apart.shape and torch.allclose(both, apart, rtol=1e-3, atol=1e-3)

    def _pieces(self, tensor: Tensor) -> Tensor:
        with torch.inference_mode():
            return self.tail_of(self._head(tensor) if self._head is not None else (tensor,))
