"""Example images where no photographs are at hand: smooth noise, whose spectrum falls like a photograph's.

Natural images have amplitudes that fall about as 1 / frequency (Field 1987, J. Opt. Soc. Am. A 4, 2379), so
such noise compresses much as a photograph does; what a network answers to it means nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def example_images(n: int, height: int, width: int, seed: int = 0) -> list[Image]:
    """`n` images uint8 [height, width, 3], the same for the same arguments."""
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
