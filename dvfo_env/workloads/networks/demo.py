"""Three small networks for 28 x 28 grey images in ten classes, each in the manner of a well-known family.

They train in about two minutes on two cores, so that accuracy can be measured anywhere on a full test set.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_CLASSES = 10


class DemoVGG(nn.Module):
    """Three stages of two 3x3 convolutions, pooled between, as in VGG."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for number, width in enumerate((32, 48, 80)):
            if number:
                layers.append(nn.MaxPool2d(2))
            for _ in range(2):
                layers.append(_conv(channels, width, 3))
                channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 1, 28, 28] -> [batch, 10]."""
        scores: Tensor = self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))
        return scores


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, a 1x1 convolution where the shape changes."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv(channels, out_channels, 3, stride)
        self.conv2 = _conv(out_channels, out_channels, 3, activation=False)
        self.downsample = (
            _conv(channels, out_channels, 1, stride, activation=False)
            if stride != 1 or channels != out_channels
            else None
        )
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """The branch plus the shortcut."""
        shortcut = x if self.downsample is None else self.downsample(x)
        result: Tensor = self.relu(self.conv2(self.conv1(x)) + shortcut)
        return result


class DemoResNet(nn.Module):
    """ResNet-8: a stem and three residual blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv(1, 16, 3)
        self.layer1 = BasicBlock(16, 16, 1)
        self.layer2 = BasicBlock(16, 32, 2)
        self.layer3 = BasicBlock(32, 64, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 1, 28, 28] -> [batch, 10]."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        scores: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return scores


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise and linear 1x1 projection; a shortcut where the shape stays."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels == out_channels
        hidden = channels * expansion
        self.expand = _conv(channels, hidden, 1)
        self.depthwise = _conv(hidden, hidden, 3, stride, groups=hidden)
        self.project = _conv(hidden, out_channels, 1, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        """The branch, plus the input where the shape stays."""
        branch: Tensor = self.project(self.depthwise(self.expand(x)))
        return x + branch if self.shortcut else branch


class DemoMobileNet(nn.Module):
    """A stem at half the size, five inverted residuals and a 1x1 head, as in MobileNetV2."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = _conv(1, 16, 3, 2)
        self.blocks = nn.Sequential(
            InvertedResidual(16, 16, 1, 4),
            InvertedResidual(16, 24, 2, 4),
            InvertedResidual(24, 24, 1, 4),
            InvertedResidual(24, 40, 2, 4),
            InvertedResidual(40, 40, 1, 4),
        )
        self.head = _conv(40, 128, 1)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(128, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 1, 28, 28] -> [batch, 10]."""
        x = self.head(self.blocks(self.stem(x)))
        scores: Tensor = self.classifier(torch.flatten(self.avgpool(x), 1))
        return scores


def demo_vgg() -> nn.Module:
    """The VGG-like network."""
    return DemoVGG()


def demo_resnet() -> nn.Module:
    """The ResNet-like network."""
    return DemoResNet()


def demo_mobilenet() -> nn.Module:
    """The MobileNet-like network."""
    return DemoMobileNet()


def _conv(
    channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    layers: list[nn.Module] = [
        nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
    ]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if activation else nn.Sequential(*layers)
