"""Inception-v4: Szegedy et al. 2016, "Inception-v4, Inception-ResNet ..." (arXiv 1602.07261), figures 3 to 9.

Modules are called after the scopes of TF-slim's `inception_v4` (tensorflow/models), which exported models
keep, so that per-layer timings of such models find their layer by name; 1001 classes as there (class 0 is
background). The auxiliary head is for training only and left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_CLASSES = 1001


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU; padded so that the shape stays, or not at all."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        valid: bool = False,
    ) -> None:
        super().__init__()
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (0, 0) if valid else (rows // 2, columns // 2)
        self.conv = nn.Conv2d(channels, out_channels, (rows, columns), stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width]."""
        return F.relu(self.bn(self.conv(x)))


class Branches(nn.Module):
    """Branches that read the same input, each a chain, joined along the channels."""

    def __init__(self, *branches: dict[str, nn.Module]) -> None:
        super().__init__()
        self.names = [f"Branch_{number}" for number in range(len(branches))]
        for name, layers in zip(self.names, branches, strict=True):
            chain = nn.Sequential()
            for layer, module in layers.items():
                chain.add_module(layer, module)
            self.add_module(name, chain)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width]."""
        return torch.cat([self.get_submodule(name)(x) for name in self.names], 1)


class Forked(nn.Module):
    """Two convolutions side by side on what a chain made, as in the branches of figure 6."""

    def __init__(self, chain: dict[str, nn.Module], fork: dict[str, nn.Module]) -> None:
        super().__init__()
        for layer, module in {**chain, **fork}.items():
            self.add_module(layer, module)
        self.chain, self.fork = tuple(chain), tuple(fork)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width]."""
        for layer in self.chain:
            x = self.get_submodule(layer)(x)
        return torch.cat([self.get_submodule(layer)(x) for layer in self.fork], 1)


class InceptionC(nn.Module):
    """Figure 6: 8 x 8 x 1536 -> the same."""

    def __init__(self) -> None:
        super().__init__()
        c = Convolution
        self.Branch_0 = nn.Sequential()
        self.Branch_0.add_module("Conv2d_0a_1x1", c(1536, 256, 1))
        self.Branch_1 = Forked(
            {"Conv2d_0a_1x1": c(1536, 384, 1)},
            {"Conv2d_0b_1x3": c(384, 256, (1, 3)), "Conv2d_0c_3x1": c(384, 256, (3, 1))},
        )
        self.Branch_2 = Forked(
            {
                "Conv2d_0a_1x1": c(1536, 384, 1),
                "Conv2d_0b_3x1": c(384, 448, (3, 1)),
                "Conv2d_0c_1x3": c(448, 512, (1, 3)),
            },
            {"Conv2d_0d_1x3": c(512, 256, (1, 3)), "Conv2d_0e_3x1": c(512, 256, (3, 1))},
        )
        self.Branch_3 = nn.Sequential()
        self.Branch_3.add_module("AvgPool_0a_3x3", _average())
        self.Branch_3.add_module("Conv2d_0b_1x1", c(1536, 256, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 1536, 8, 8] -> the same shape."""
        return torch.cat([self.Branch_0(x), self.Branch_1(x), self.Branch_2(x), self.Branch_3(x)], 1)


class InceptionV4(nn.Module):
    """Stem, four modules A, reduction A, seven modules B, reduction B, three modules C, mean, linear."""

    def __init__(self) -> None:
        super().__init__()
        c = Convolution
        self.Conv2d_1a_3x3 = c(3, 32, 3, stride=2, valid=True)
        self.Conv2d_2a_3x3 = c(32, 32, 3, valid=True)
        self.Conv2d_2b_3x3 = c(32, 64, 3)
        self.Mixed_3a = Branches(
            {"MaxPool_0a_3x3": nn.MaxPool2d(3, 2)},
            {"Conv2d_0a_3x3": c(64, 96, 3, stride=2, valid=True)},
        )
        self.Mixed_4a = Branches(
            {"Conv2d_0a_1x1": c(160, 64, 1), "Conv2d_1a_3x3": c(64, 96, 3, valid=True)},
            {
                "Conv2d_0a_1x1": c(160, 64, 1),
                "Conv2d_0b_1x7": c(64, 64, (1, 7)),
                "Conv2d_0c_7x1": c(64, 64, (7, 1)),
                "Conv2d_1a_3x3": c(64, 96, 3, valid=True),
            },
        )
        self.Mixed_5a = Branches(
            {"Conv2d_1a_3x3": c(192, 192, 3, stride=2, valid=True)},
            {"MaxPool_1a_3x3": nn.MaxPool2d(3, 2)},
        )
        for letter in "bcde":
            setattr(self, f"Mixed_5{letter}", _inception_a())
        self.Mixed_6a = _reduction_a()
        for letter in "bcdefgh":
            setattr(self, f"Mixed_6{letter}", _inception_b())
        self.Mixed_7a = _reduction_b()
        for letter in "bcd":
            setattr(self, f"Mixed_7{letter}", InceptionC())
        self.Logits = nn.Module()
        self.Logits.AvgPool_1a = nn.AdaptiveAvgPool2d(1)
        self.Logits.Logits = nn.Linear(1536, _CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, 3, 299, 299] -> [batch, 1001]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Mixed_5a(self.Mixed_4a(self.Mixed_3a(x)))
        for scope in (
            "5b",
            "5c",
            "5d",
            "5e",
            "6a",
            "6b",
            "6c",
            "6d",
            "6e",
            "6f",
            "6g",
            "6h",
            "7a",
            "7b",
            "7c",
            "7d",
        ):
            x = self.get_submodule(f"Mixed_{scope}")(x)
        x = self.get_submodule("Logits.AvgPool_1a")(x)
        scores: Tensor = self.get_submodule("Logits.Logits")(torch.flatten(x, 1))
        return scores


def inception_v4() -> nn.Module:
    """Inception-v4 for 299 x 299 images and 1001 classes."""
    return InceptionV4()


def _average() -> nn.Module:
    return nn.AvgPool2d(3, 1, 1, count_include_pad=False)


def _inception_a() -> nn.Module:
    """Figure 4: 35 x 35 x 384 -> the same."""
    c = Convolution
    return Branches(
        {"Conv2d_0a_1x1": c(384, 96, 1)},
        {"Conv2d_0a_1x1": c(384, 64, 1), "Conv2d_0b_3x3": c(64, 96, 3)},
        {"Conv2d_0a_1x1": c(384, 64, 1), "Conv2d_0b_3x3": c(64, 96, 3), "Conv2d_0c_3x3": c(96, 96, 3)},
        {"AvgPool_0a_3x3": _average(), "Conv2d_0b_1x1": c(384, 96, 1)},
    )


def _reduction_a() -> nn.Module:
    """Figure 7 with k, l, m, n of table 1: 35 x 35 x 384 -> 17 x 17 x 1024."""
    c = Convolution
    return Branches(
        {"Conv2d_1a_3x3": c(384, 384, 3, stride=2, valid=True)},
        {
            "Conv2d_0a_1x1": c(384, 192, 1),
            "Conv2d_0b_3x3": c(192, 224, 3),
            "Conv2d_1a_3x3": c(224, 256, 3, stride=2, valid=True),
        },
        {"MaxPool_1a_3x3": nn.MaxPool2d(3, 2)},
    )


def _inception_b() -> nn.Module:
    """Figure 5: 17 x 17 x 1024 -> the same."""
    c = Convolution
    return Branches(
        {"Conv2d_0a_1x1": c(1024, 384, 1)},
        {
            "Conv2d_0a_1x1": c(1024, 192, 1),
            "Conv2d_0b_1x7": c(192, 224, (1, 7)),
            "Conv2d_0c_7x1": c(224, 256, (7, 1)),
        },
        {
            "Conv2d_0a_1x1": c(1024, 192, 1),
            "Conv2d_0b_7x1": c(192, 192, (7, 1)),
            "Conv2d_0c_1x7": c(192, 224, (1, 7)),
            "Conv2d_0d_7x1": c(224, 224, (7, 1)),
            "Conv2d_0e_1x7": c(224, 256, (1, 7)),
        },
        {"AvgPool_0a_3x3": _average(), "Conv2d_0b_1x1": c(1024, 128, 1)},
    )


def _reduction_b() -> nn.Module:
    """Figure 8: 17 x 17 x 1024 -> 8 x 8 x 1536."""
    c = Convolution
    return Branches(
        {"Conv2d_0a_1x1": c(1024, 192, 1), "Conv2d_1a_3x3": c(192, 192, 3, stride=2, valid=True)},
        {
            "Conv2d_0a_1x1": c(1024, 256, 1),
            "Conv2d_0b_1x7": c(256, 256, (1, 7)),
            "Conv2d_0c_7x1": c(256, 320, (7, 1)),
            "Conv2d_1a_3x3": c(320, 320, 3, stride=2, valid=True),
        },
        {"MaxPool_1a_3x3": nn.MaxPool2d(3, 2)},
    )
