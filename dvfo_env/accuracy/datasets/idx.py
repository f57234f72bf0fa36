"""Images in the IDX format of MNIST, Fashion-MNIST and their kin: four files, plain or gzipped.

A file is four bytes 0, 0, type, number of dimensions; the dimensions, 4 bytes each, big-endian; the values.
Only type 8, unsigned bytes, occurs here. Format: the page of MNIST, LeCun et al., "THE IDX FILE FORMAT".
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dvfo_env.accuracy.datasets.files import FETCH, data_folder, read_bytes
from dvfo_env.accuracy.datasets.images import DataSplits, LabelledImages, read_only
from dvfo_env.errors import DataError

IDX_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
"""Images and labels of each split; `.gz` may follow."""

FASHION_MNIST_MD5 = {
    "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
    "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
    "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
    "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
}
"""Of the decompressed files: gzip headers differ between sources, the contents do not."""

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package `dataset-fashion-mnist` puts them."""

_UNSIGNED_BYTES = 8


def open_fashion_mnist() -> DataSplits:
    """Fashion-MNIST (Xiao et al. 2017, arXiv 1708.07747): 60,000 and 10,000 images, 28 x 28 grey, 10 classes.

    Raises:
        DataError: the files are not there, or their contents are others.
    """
    places = (data_folder() / "fashion-mnist", DEBIAN_FOLDER)
    folder = next((place for place in places if holds_idx(place)), None)
    if folder is None:
        raise DataError(
            f"fashion-mnist: not in {places[0]} or {places[1]}; `{FETCH}` or `apt-get install "
            "dataset-fashion-mnist` gets it, or name the folder of the four IDX files"
        )
    return open_idx(folder, "fashion-mnist", FASHION_MNIST_MD5)


def holds_idx(folder: Path) -> bool:
    """Whether all four files are in a folder, plain or gzipped."""
    return all(_path(folder, name) is not None for names in IDX_FILES.values() for name in names)


def open_idx(folder: Path, name: str, md5: dict[str, str] | None = None) -> DataSplits:
    """Four IDX files.

    Args:
        folder: that holds them.
        name: of the set.
        md5: of the decompressed files, by name; not checked where None.

    Raises:
        DataError: a file is missing, damaged or another than `md5` says, or images and labels do not match.
    """
    arrays = {
        file: _array(folder, file, md5[file] if md5 else None)
        for names in IDX_FILES.values()
        for file in names
    }
    classes = 1 + max(int(arrays[labels].max(initial=0)) for _, labels in IDX_FILES.values())
    splits = {
        split: _split(f"{name} {split}", folder, arrays[images], arrays[labels], classes)
        for split, (images, labels) in IDX_FILES.items()
    }
    return DataSplits(name, splits["train"], splits["test"])


def parse_idx(data: bytes, where: str) -> NDArray[np.uint8]:
    """The array in the bytes of a decompressed IDX file; sizes are checked before anything is allocated.

    Raises:
        DataError: not IDX, not of unsigned bytes, or of another length than the header says.
    """
    if len(data) < 4 or data[:3] != bytes((0, 0, _UNSIGNED_BYTES)) or not 1 <= data[3] <= 4:
        raise DataError(f"{where}: is no IDX file of unsigned bytes")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{where}: ends within its header")
    shape = struct.unpack(f">{data[3]}I", data[4:start])
    if prod(shape) != len(data) - start:
        size = "x".join(map(str, shape))
        raise DataError(f"{where}: {len(data) - start} values, its header says {size} = {prod(shape)}")
    return np.frombuffer(data, dtype=np.uint8, offset=start).reshape(shape)


def _path(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)


def _array(folder: Path, name: str, md5: str | None) -> NDArray[np.uint8]:
    path = _path(folder, name)
    if path is None:
        raise DataError(f"{folder}: {name} or {name}.gz is missing")
    data = read_bytes(path)
    if path.suffix == ".gz":
        data = _gunzip(path, data)
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if md5 is not None and found != md5:
        raise DataError(f"{path}: is another file than expected: MD5 of its contents {found}, not {md5}")
    return parse_idx(data, str(path))


def _gunzip(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be decompressed: {error}") from error


def _split(
    name: str, folder: Path, images: NDArray[np.uint8], labels: NDArray[np.uint8], classes: int
) -> LabelledImages:
    if images.ndim not in (3, 4) or labels.ndim != 1 or len(images) != len(labels):
        raise DataError(
            f"{folder}: {name}: images {images.shape} and labels {labels.shape} do not belong together"
        )
    pictures = images.reshape(*images.shape[:3], -1)

    def digest() -> str:
        return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()

    return LabelledImages(
        name=name,
        classes=classes,
        labels=read_only(labels),
        clusters=read_only(np.arange(len(labels))),
        reader=lambda index: pictures[index],
        digest=digest,
    )
