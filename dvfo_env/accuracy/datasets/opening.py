"""From what a user writes to images: a known name, or a folder in one of the layouts that are read."""

from __future__ import annotations

from pathlib import Path

from dvfo_env.accuracy.datasets.cifar import holds_cifar, open_cifar
from dvfo_env.accuracy.datasets.idx import holds_idx, open_fashion_mnist, open_idx
from dvfo_env.accuracy.datasets.image_folder import open_image_folder
from dvfo_env.accuracy.datasets.images import DataSplits
from dvfo_env.accuracy.datasets.photographs import open_photographs
from dvfo_env.errors import DataError

NAMED_IMAGES = ("fashion-mnist", "photographs")
"""Sets of images known by name."""


def open_images(spec: str | Path) -> DataSplits:
    """Images by name, or in a folder: four IDX files, CIFAR's binary files, or folders that are classes.

    Args:
        spec: one of `NAMED_IMAGES`, or a path.

    Raises:
        DataError: nothing of this name, or the files are missing, damaged or others than expected.
    """
    if spec == "fashion-mnist":
        return open_fashion_mnist()
    if spec == "photographs":
        return open_photographs()
    folder = Path(spec)
    if not folder.is_dir():
        raise DataError(f"images {str(spec)!r}: neither {' nor '.join(NAMED_IMAGES)} nor a folder")
    if holds_idx(folder):
        return open_idx(folder, folder.resolve().name)
    if holds_cifar(folder):
        return open_cifar(folder)
    return open_image_folder(folder)
