"""VGG-16 and VGG-19 without batch norm, state-dict keys as in torchvision.

Simonyan and Zisserman 2014, arXiv 1409.1556, table 1, configurations D and E.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CHANNELS = (64, 128, 256, 512, 512)


class VGG(nn.Module):
    """Five stages of 3x3 convolutions, each closed by pooling, and three linear layers."""

    def __init__(self, convolutions: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for channels, count in zip(_CHANNELS, convolutions, strict=True):
            for _ in range(count):
                layers += [nn.Conv2d(before, channels, 3, padding=1), nn.ReLU(inplace=True)]
                before = channels
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(),
            nn.Linear(4096, 1000),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 224, 224] -> [batch, 1000]."""
        scores: Tensor = self.classifier(torch.flatten(self.features(x), 1))
        return scores


def vgg16() -> nn.Module:
    """VGG-16."""
    return VGG((2, 2, 3, 3, 3))


def vgg19() -> nn.Module:
    """VGG-19."""
    return VGG((2, 2, 4, 4, 4))
