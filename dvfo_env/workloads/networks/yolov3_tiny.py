"""YOLOv3-tiny for COCO: cfg/yolov3-tiny.cfg of pjreddie/darknet (Redmon and Farhadi 2018, arXiv 1804.02767).

A layer is called by its kind and darknet's layer number. The two `yolo` layers (16, 23) decode boxes
elementwise and are left to the caller; `route` 17 is a second name for layer 13.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_OUTPUTS = 3 * (80 + 5)  # anchors x (classes + corners and objectness)


class Convolution(nn.Module):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, channels, height, width]."""
        return F.leaky_relu(self.bn(self.conv(x)), 0.1)


class YOLOv3Tiny(nn.Module):
    """A chain of convolutions and pooling, with boxes at two scales."""

    def __init__(self) -> None:
        super().__init__()
        before = 3
        for layer, channels in ((0, 16), (2, 32), (4, 64), (6, 128), (8, 256), (10, 512)):
            setattr(self, f"conv_{layer}", Convolution(before, channels, 3))
            setattr(self, f"pool_{layer + 1}", nn.MaxPool2d(2, 2 if layer < 10 else 1))
            before = channels
        self.conv_12 = Convolution(512, 1024, 3)
        self.conv_13 = Convolution(1024, 256, 1)
        self.conv_14 = Convolution(256, 512, 3)
        self.conv_15 = nn.Conv2d(512, _OUTPUTS, 1)
        self.conv_18 = Convolution(256, 128, 1)
        self.upsample_19 = nn.Upsample(scale_factor=2.0)
        self.conv_21 = Convolution(384, 256, 3)
        self.conv_22 = nn.Conv2d(256, _OUTPUTS, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[batch, 3, 416, 416] -> [batch, 255, 13, 13] and [batch, 255, 26, 26]."""
        for layer in ("conv_0", "pool_1", "conv_2", "pool_3", "conv_4", "pool_5", "conv_6", "pool_7"):
            x = self.get_submodule(layer)(x)
        fine = self.get_submodule("conv_8")(x)
        x = self.get_submodule("conv_10")(self.get_submodule("pool_9")(fine))
        x = self.get_submodule("pool_11")(F.pad(x, (0, 1, 0, 1), value=float("-inf")))
        coarse = self.conv_13(self.conv_12(x))
        boxes_coarse = self.conv_15(self.conv_14(coarse))
        x = torch.cat([self.upsample_19(self.conv_18(coarse)), fine], 1)
        return boxes_coarse, self.conv_22(self.conv_21(x))


def yolov3_tiny() -> nn.Module:
    """YOLOv3-tiny for 416 x 416 images."""
    return YOLOv3Tiny()
