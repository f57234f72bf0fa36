"""Where requests take their images from: a folder, or noise that compresses as photographs do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import SplitError

Image = NDArray[np.uint8]

#: Endings of files that Pillow, where it is installed, opens as images.
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def folder_images(folder: Path, height: int, width: int) -> list[Image]:
    """Every picture of a folder in the order of names, uint8 [height, width, 3], scaled to size.

    `.npy` files hold such an array already; other files need Pillow.

    Raises:
        SplitError: there is none, one cannot be read or has another shape, or Pillow is missing.
    """
    files = sorted(path for path in folder.glob("*") if path.suffix.lower() in (*PICTURES, ".npy"))
    if not files:
        raise SplitError(f"{folder}: holds no image ({', '.join((*PICTURES, '.npy'))})")
    return [
        _array(path, height, width) if path.suffix == ".npy" else _picture(path, height, width)
        for path in files
    ]


def _array(path: Path, height: int, width: int) -> Image:
    try:
        image = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise SplitError(f"{path}: cannot be read: {error}") from None
    if image.dtype != np.uint8 or image.shape != (height, width, 3):
        raise SplitError(f"{path}: {image.dtype} {image.shape} instead of uint8 {(height, width, 3)}")
    return np.asarray(image)


def _picture(path: Path, height: int, width: int) -> Image:
    try:
        from PIL import Image as pillow
    except ImportError:
        raise SplitError(f"{path}: needs the package Pillow; .npy files do not") from None
    try:
        with pillow.open(path) as picture:
            return np.asarray(picture.convert("RGB").resize((width, height)), dtype=np.uint8)
    except OSError as error:
        raise SplitError(f"{path}: cannot be read: {error}") from None


def example_images(n: int, height: int, width: int, seed: int = 0) -> list[Image]:
    """`n` images uint8 [height, width, 3] of smooth noise, the same for the same arguments.

    Natural images have amplitudes that fall about as 1 / frequency (Field 1987, J. Opt. Soc. Am. A 4, 2379),
    so such noise compresses much as a photograph does; what a network answers to it means nothing.
    """
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    images = []
    for _ in range(n):
        grey, tint = (_noise(rng, frequency, (height, width)) for _ in range(2))
        channels = [grey + share * tint for share in rng.uniform(-0.4, 0.4, 3)]
        images.append(np.clip(128.0 + 48.0 * np.stack(channels, axis=-1), 0.0, 255.0).astype(np.uint8))
    return images


def _noise(
    rng: np.random.Generator, frequency: NDArray[np.float64], shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Noise [height, width] with amplitudes 1 / frequency, mean 0 and variance 1."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape)) / frequency
    noise: NDArray[np.float64] = np.fft.irfft2(spectrum, shape)
    noise /= noise.std()
    return noise
