"""EfficientNet-B0, state-dict keys as in torchvision.

Tan and Le 2019, arXiv 1905.11946, table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

#: expansion, kernel, stride of the first block, output channels, blocks.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class SqueezeExcitation(nn.Module):
    """Scales channels by what their means say."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = nn.SiLU(inplace=True)
        self.scale_activation = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """The input, each channel scaled."""
        scale: Tensor = self.scale_activation(self.fc2(self.activation(self.fc1(self.avgpool(x)))))
        return scale * x


class MBConv(nn.Module):
    """Inverted residual with squeeze and excitation."""

    def __init__(self, expansion: int, kernel: int, stride: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels == out_channels
        hidden = channels * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_conv(channels, hidden, 1)]
        layers += [
            _conv(hidden, hidden, kernel, stride, groups=hidden),
            SqueezeExcitation(hidden, max(1, channels // 4)),
            _conv(hidden, out_channels, 1, activation=False),
        ]
        self.block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """The branch, plus the input where the shape stays."""
        branch: Tensor = self.block(x)
        return branch + x if self.shortcut else branch


class EfficientNetB0(nn.Module):
    """Stem, seven stages, 1x1 head, mean over the image, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv(3, 32, 3, 2)]
        channels = 32
        for expansion, kernel, stride, out_channels, blocks in STAGES:
            stage: list[nn.Module] = []
            for number in range(blocks):
                stage.append(MBConv(expansion, kernel, stride if not number else 1, channels, out_channels))
                channels = out_channels
            layers.append(nn.Sequential(*stage))
        layers.append(_conv(channels, 1280, 1))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2, inplace=True), nn.Linear(1280, 1000))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 224, 224] -> [batch, 1000]."""
        scores: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return scores


def efficientnet_b0() -> nn.Module:
    """EfficientNet-B0."""
    return EfficientNetB0()


def _conv(
    channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, nn.SiLU(inplace=True)) if activation else nn.Sequential(*layers)
