"""What a network with weights is, wherever they come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dvfo_env.accuracy.models.preprocessing import Preprocessing


@dataclass(frozen=True)
class TrainedModel:
    """A network in evaluation mode on the CPU.

    Attributes:
        name: what was asked for.
        workload: name of its card, which says where it can be cut.
        module: takes [n, channels, height, width], gives [n, classes].
        preprocessing: how images become inputs.
        sha256: of the weights file; of the weights themselves where there is no file.
        classes: number of scores it gives.
        provenance: where the weights come from, and for those trained here, how they were.
    """

    name: str
    workload: str
    module: torch.nn.Module
    preprocessing: Preprocessing
    sha256: str
    classes: int
    provenance: dict[str, Any] = field(default_factory=dict)

    def fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image at the network's input size; see `Preprocessing.fit`."""
        return self.preprocessing.fit(image)

    def preprocess(self, images: NDArray[np.uint8]) -> torch.Tensor:
        """Fitted images, uint8 [n, height, width, channels], as the network's input, float32.

        Raises:
            DataError: they have another size than the network takes.
        """
        return self.preprocessing.scale(images)

    @property
    def example_input(self) -> torch.Tensor:
        """Zeros of the shape that the network takes, batch 1."""
        return torch.zeros(1, len(self.preprocessing.mean), *self.preprocessing.size)

    def logits(self, images: NDArray[np.uint8], batch: int = 64) -> torch.Tensor:
        """Scores of fitted images, float32 [n, classes]."""
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                parts.append(self.module(self.preprocess(images[start : start + batch])))
        return torch.cat(parts) if parts else torch.empty(0, self.classes)
