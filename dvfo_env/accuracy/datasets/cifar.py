"""CIFAR-10 and CIFAR-100 in their own binary layout (Krizhevsky 2009, "Learning Multiple Layers of
Features from Tiny Images").

A record is the label (CIFAR-100: coarse, then fine label; the fine one is used), then 3 x 32 x 32 bytes, red,
green and blue planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dvfo_env.accuracy.datasets.files import read_bytes, sha256_of_files
from dvfo_env.accuracy.datasets.images import DataSplits, LabelledImages, read_only
from dvfo_env.errors import DataError

_PLANES = (3, 32, 32)
_PIXELS = 3 * 32 * 32


@dataclass(frozen=True)
class _Layout:
    name: str
    classes: int
    label_bytes: int
    train: tuple[str, ...]
    test: tuple[str, ...]


_LAYOUTS = (
    _Layout("cifar-10", 10, 1, tuple(f"data_batch_{i}.bin" for i in range(1, 6)), ("test_batch.bin",)),
    _Layout("cifar-100", 100, 2, ("train.bin",), ("test.bin",)),
)


def holds_cifar(folder: Path) -> bool:
    """Whether a folder holds a test file of CIFAR's binary layout."""
    return any((folder / name).is_file() for layout in _LAYOUTS for name in layout.test)


def open_cifar(folder: Path) -> DataSplits:
    """CIFAR-10 or CIFAR-100, whichever a folder holds.

    Raises:
        DataError: a file is missing or has another length than whole records, or a label is out of range.
    """
    layout = next(layout for layout in _LAYOUTS if (folder / layout.test[0]).is_file())
    return DataSplits(
        layout.name,
        train=_read(folder, layout, "train", layout.train),
        test=_read(folder, layout, "test", layout.test),
    )


def _read(folder: Path, layout: _Layout, split: str, names: tuple[str, ...]) -> LabelledImages:
    record = layout.label_bytes + _PIXELS
    paths = [folder / name for name in names]
    blocks = []
    for path in paths:
        data = np.frombuffer(read_bytes(path), dtype=np.uint8)
        if not len(data) or len(data) % record:
            raise DataError(f"{path}: {len(data)} bytes are not whole {layout.name} records of {record}")
        blocks.append(data.reshape(-1, record))
    records = np.concatenate(blocks)
    labels = records[:, layout.label_bytes - 1]
    if int(labels.max()) >= layout.classes:
        raise DataError(
            f"{folder}: {split}: label {labels.max()} in {layout.name} of {layout.classes} classes"
        )
    pixels = records[:, layout.label_bytes :].reshape(-1, *_PLANES)
    return LabelledImages(
        name=f"{layout.name} {split}",
        classes=layout.classes,
        labels=read_only(labels),
        clusters=read_only(np.arange(len(labels))),
        reader=lambda index: np.ascontiguousarray(pixels[index].transpose(1, 2, 0)),
        digest=lambda: sha256_of_files(paths),
    )
