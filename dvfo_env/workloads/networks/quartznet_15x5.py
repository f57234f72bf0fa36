"""QuartzNet-15x5: speech to characters, from mel features (Kriman et al. 2019, arXiv 1910.10261, table 1).

Separable one-dimensional convolutions over time; five kinds of blocks, each three times, each of five
layers. Input is 128 frames (1.28 s) of 64 mel features, as in the Open Model Zoo's `quartznet-15x5-en`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_FEATURES, _SYMBOLS = 64, 29  # 26 letters, space, apostrophe and blank
#: kernel and channels of the five kinds of blocks.
_BLOCKS = ((33, 256), (39, 256), (51, 512), (63, 512), (75, 512))


class Separable(nn.Module):
    """Depthwise over time, pointwise over channels, batch norm."""

    def __init__(
        self, channels: int, out_channels: int, kernel: int, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        padding = dilation * (kernel - 1) // 2
        self.depthwise = nn.Conv1d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        )
        self.pointwise = nn.Conv1d(channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, frames]."""
        normed: Tensor = self.bn(self.pointwise(self.depthwise(x)))
        return normed


class Pointwise(nn.Module):
    """1x1 convolution, batch norm."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, out_channels, 1, bias=False)
        self.bn = nn.BatchNorm1d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, frames]."""
        normed: Tensor = self.bn(self.conv(x))
        return normed


class Block(nn.Module):
    """Five separable convolutions and a 1x1 shortcut, added before the last ReLU."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Separable(channels if not number else out_channels, out_channels, kernel) for number in range(5)
        )
        self.shortcut = Pointwise(channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, frames]."""
        branch = x
        for layer in self.layers[:-1]:
            branch = torch.relu(layer(branch))
        return torch.relu(self.layers[-1](branch) + self.shortcut(x))


class QuartzNet(nn.Module):
    """First layer (stride 2), fifteen blocks, two more layers, symbols."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = Separable(_FEATURES, 256, 33, stride=2)
        self.blocks = nn.ModuleList()
        channels = 256
        for kernel, width in _BLOCKS:
            for _ in range(3):
                self.blocks.append(Block(channels, width, kernel))
                channels = width
        self.c2 = Separable(channels, 512, 87, dilation=2)
        self.c3 = Pointwise(512, 1024)
        self.c4 = nn.Conv1d(1024, _SYMBOLS, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 64, frames] -> [batch, 29, frames / 2], log-probabilities."""
        x = torch.relu(self.c1(x))
        for block in self.blocks:
            x = block(x)
        x = torch.relu(self.c3(torch.relu(self.c2(x))))
        return torch.log_softmax(self.c4(x), 1)


def quartznet_15x5() -> nn.Module:
    """QuartzNet-15x5."""
    return QuartzNet()
