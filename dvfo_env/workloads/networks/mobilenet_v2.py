"""MobileNetV2 (width 1.0), state-dict keys as in torchvision.

Sandler et al. 2018, arXiv 1801.04381, table 2.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: expansion, output channels, blocks, stride of the first block.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise and linear 1x1 projection; a shortcut where the shape stays."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels == out_channels
        hidden = channels * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv(channels, hidden, 1)]
        layers += [
            _conv(hidden, hidden, 3, stride, groups=hidden),
            nn.Conv2d(hidden, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The branch, plus the input where the shape stays."""
        branch: Tensor = self.conv(x)
        return x + branch if self.shortcut else branch


class MobileNetV2(nn.Module):
    """Stem, 17 inverted residuals, 1x1 head, mean over the image, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 32, 3, 2)]
        channels = 32
        for expansion, out_channels, blocks, stride in _STAGES:
            for number in range(blocks):
                layers.append(
                    InvertedResidual(channels, out_channels, stride if not number else 1, expansion)
                )
                channels = out_channels
        layers.append(_conv(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 224, 224] -> [batch, 1000]."""
        scores: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return scores


def mobilenet_v2() -> nn.Module:
    """MobileNetV2."""
    return MobileNetV2()


def _conv(channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )
