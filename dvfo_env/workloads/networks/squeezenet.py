"""SqueezeNet 1.1, state-dict keys as in torchvision's `squeezenet1_1`.

Iandola et al. 2016, arXiv 1602.07360; version 1.1 is described in the authors' repository
(forresti/SqueezeNet).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Fire(nn.Module):
    """A narrow 1x1 convolution, then 1x1 and 3x3 side by side, joined."""

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.squeeze_activation = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Both expansions, joined along the channels."""
        x = self.squeeze_activation(self.squeeze(x))
        small = self.expand1x1_activation(self.expand1x1(x))
        large = self.expand3x3_activation(self.expand3x3(x))
        return torch.cat([small, large], 1)


class SqueezeNet(nn.Module):
    """Stem, eight fire modules, 1x1 classifier, mean over the image."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(64, 16, 64),
            Fire(128, 16, 64),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(128, 32, 128),
            Fire(256, 32, 128),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            Fire(256, 48, 192),
            Fire(384, 48, 192),
            Fire(384, 64, 256),
            Fire(512, 64, 256),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(512, 1000, 1), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 224, 224] -> [batch, 1000]."""
        return torch.flatten(self.classifier(self.features(x)), 1)


def squeezenet() -> nn.Module:
    """SqueezeNet 1.1."""
    return SqueezeNet()
