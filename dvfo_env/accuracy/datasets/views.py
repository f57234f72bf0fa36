"""Reading picture files, and views of a picture: a crop, perhaps mirrored, in slightly other light.

View 0 is the picture itself. A view depends on the picture's bytes, the view's number and the seed, on
nothing else.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dvfo_env.accuracy.datasets.images import Image
from dvfo_env.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

CROP_AREA = (0.5, 1.0)
"""Share of the picture's area that a view keeps, drawn evenly."""

CROP_ASPECT = (3 / 4, 4 / 3)
"""Width to height of a view, drawn evenly on a logarithmic scale."""

LIGHT = (0.8, 1.2)
"""Factors on brightness, contrast and saturation, drawn evenly."""

_TRIES = 10


def read_picture(path: Path, shorter_side: int | None = None) -> Picture:
    """A picture in RGB; where its shorter side is longer than asked for, it is scaled down.

    Raises:
        DataError: the file cannot be read as a picture.
    """
    from PIL import Image as pillow
    from PIL import UnidentifiedImageError

    try:
        with pillow.open(path) as file:
            if shorter_side is not None:  # JPEG decoders can do most of the scaling at no cost
                file.draft("RGB", (2 * shorter_side, 2 * shorter_side))
            picture = file.convert("RGB")
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError, pillow.DecompressionBombError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: cannot be read as a picture: {reason}") from error
    scale = (shorter_side or min(picture.size)) / min(picture.size)
    if scale >= 1:
        return picture
    size = (round(picture.width * scale), round(picture.height * scale))
    return picture.resize(size, pillow.Resampling.LANCZOS)


def view_of(picture: Picture, key: int, view: int, seed: int = 0) -> Image:
    """View `view` of a picture, uint8 [height, width, 3].

    Args:
        picture: in RGB.
        key: a number of the picture's own, from its hash.
        view: 0 is the picture itself.
        seed: another one gives other views.
    """
    from PIL import Image as pillow
    from PIL import ImageEnhance

    if view == 0:
        return np.asarray(picture)
    rng = np.random.default_rng((seed, key, view))
    left, top, width, height = _crop(rng, *picture.size)
    picture = picture.crop((left, top, left + width, top + height))
    if rng.random() < 0.5:
        picture = picture.transpose(pillow.Transpose.FLIP_LEFT_RIGHT)
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        picture = enhancer(picture).enhance(float(rng.uniform(*LIGHT)))
    return np.asarray(picture)


def _crop(rng: np.random.Generator, width: int, height: int) -> tuple[int, int, int, int]:
    """Left, top, width and height of a crop; the whole picture if none of ten draws fits into it."""
    for _ in range(_TRIES):
        area = width * height * rng.uniform(*CROP_AREA)
        aspect = math.exp(rng.uniform(*np.log(CROP_ASPECT)))
        crop_width, crop_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if crop_width <= width and crop_height <= height:
            left = int(rng.integers(width - crop_width + 1))
            top = int(rng.integers(height - crop_height + 1))
            return left, top, crop_width, crop_height
    return 0, 0, width, height
