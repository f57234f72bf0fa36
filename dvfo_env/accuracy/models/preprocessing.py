"""How an image becomes a network's input: first its size, as bytes that a codec can send, then scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dvfo_env.errors import DataError

Image = NDArray[np.uint8]

IMAGENET_MEAN = (0.485 * 255, 0.456 * 255, 0.406 * 255)
IMAGENET_STD = (0.229 * 255, 0.224 * 255, 0.225 * 255)
"""Of values from 0 to 255, as the weights of torchvision and its kin expect (pytorch/vision, presets)."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize the shorter side, cut out the centre, then (value - mean) / std for each channel.

    Attributes:
        size: height and width that the network takes.
        resize: length of the shorter side before the centre is cut out; None scales to `size` as it is.
        mean, std: of each channel, for values from 0 to 255.
        resampling: "bilinear" or "bicubic".
    """

    size: tuple[int, int]
    resize: int | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resampling: str = "bilinear"

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise DataError(
                f"preprocessing: {len(self.mean)} means and {len(self.std)} stds, not 1 or 3 of each"
            )
        if self.resize is not None and self.resize < max(self.size):
            raise DataError(f"preprocessing: resize {self.resize} is smaller than the input {self.size}")
        if self.resampling not in ("bilinear", "bicubic") or not all(std > 0 for std in self.std):
            raise DataError("preprocessing: resampling is 'bilinear' or 'bicubic' and each std is above 0")

    def fit(self, image: Image) -> Image:
        """An image at the network's input size, uint8 [height, width, channels]: what a device would send.

        Grey images become three equal channels where the network takes three, and colour becomes grey (ITU-R
        601) where it takes one.
        """
        from PIL import Image as pillow

        channels = len(self.mean)
        if image.shape == (*self.size, channels):
            return image
        picture = pillow.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        picture = picture.convert("L" if channels == 1 else "RGB")
        height, width = self.size
        method = pillow.Resampling[self.resampling.upper()]
        if self.resize is None:
            picture = picture.resize((width, height), method)
        else:  # the longer side is cut short, not rounded: as torchvision's Resize
            short = min(picture.size)
            scaled = tuple(
                self.resize if side == short else int(self.resize * side / short) for side in picture.size
            )
            picture = picture.resize((scaled[0], scaled[1]), method)
            left, top = round((scaled[0] - width) / 2), round((scaled[1] - height) / 2)
            picture = picture.crop((left, top, left + width, top + height))
        return np.asarray(picture).reshape(height, width, channels)

    def scale(self, images: Image) -> torch.Tensor:
        """Images of the right size, uint8 [n, height, width, channels], as float32, channels first.

        Raises:
            DataError: they have another shape.
        """
        expected = (*self.size, len(self.mean))
        if images.dtype != np.uint8 or images.shape[1:] != expected:
            found = f"{images.dtype} {images.shape}"
            raise DataError(
                f"images are {found}, the network takes uint8 {('n', *expected)}; fit() them first"
            )
        pixels = torch.tensor(images).permute(0, 3, 1, 2).float()
        mean, std = (torch.tensor(values).reshape(1, -1, 1, 1) for values in (self.mean, self.std))
        return ((pixels - mean) / std).contiguous()
