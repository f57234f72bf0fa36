"""Pictures in folders that are classes: `train/CLASS/*.jpg` and `val/CLASS/*.jpg`, or `CLASS/*.jpg` alone.

Classes are numbered in the sorted order of the folders' names, as torchvision's ImageFolder does; for
ImageNet in folders named by WordNet number that is the order of published weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from dvfo_env.accuracy.datasets.files import sha256_of_files
from dvfo_env.accuracy.datasets.images import DataSplits, LabelledImages, read_only
from dvfo_env.accuracy.datasets.views import read_picture
from dvfo_env.errors import DataError

SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".tif", ".tiff"))
"""Of the files that count as pictures; all others are passed over."""

TEST_FOLDERS = ("test", "val", "validation")
"""Names of the folder that is tested on, first match first."""

_CALIBRATION_SHARE = 5


def open_image_folder(folder: Path) -> DataSplits:
    """Class folders.

    Without `train/` and one of `TEST_FOLDERS`, one picture in five, told by the hash of its path, is for
    calibration and the others are for the test.

    Raises:
        DataError: there are no pictures, or the two splits have other classes.
    """
    name = folder.resolve().name
    test = next((folder / part for part in TEST_FOLDERS if (folder / part).is_dir()), None)
    if test is not None and (folder / "train").is_dir():
        classes = _classes(test)
        if classes != _classes(folder / "train"):
            raise DataError(f"{folder}: train and {test.name} have other class folders")
        return DataSplits(
            name,
            train=_images(f"{name} train", folder / "train", classes, None),
            test=_images(f"{name} {test.name}", test, classes, None),
        )
    root = test or folder
    classes = _classes(root)
    return DataSplits(
        name,
        train=_images(f"{name} calibration, 1 in {_CALIBRATION_SHARE}", root, classes, True),
        test=_images(f"{name} without calibration", root, classes, False),
    )


def _classes(root: Path) -> list[str]:
    return sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _images(name: str, root: Path, classes: list[str], calibration: bool | None) -> LabelledImages:
    """All pictures below `root`, or those for calibration, or those that are not."""
    found: list[tuple[str, int]] = []
    for label, folder in enumerate(classes):
        for path in sorted((root / folder).rglob("*")):
            inner = path.relative_to(root).as_posix()
            if path.suffix.lower() in SUFFIXES and calibration in (None, _calibrates(inner)):
                found.append((inner, label))
    if not found:
        raise DataError(
            f"{root}: no pictures in class folders (CLASS/*.jpg, or train/CLASS/*.jpg and val/CLASS/*.jpg)"
        )
    # an even mixture of classes, so that the first n are a fair sample
    found.sort(key=lambda entry: _hash(entry[0]))
    paths = [root / inner for inner, _ in found]

    def digest() -> str:
        names = "\n".join(f"{inner} {label}" for inner, label in found)
        return hashlib.sha256((names + sha256_of_files(paths)).encode()).hexdigest()

    return LabelledImages(
        name=name,
        classes=len(classes),
        labels=read_only([label for _, label in found]),
        clusters=read_only(range(len(found))),
        reader=lambda index: np.asarray(read_picture(paths[index])),
        digest=digest,
    )


def _calibrates(inner: str) -> bool:
    return int(_hash(f"calibration {inner}")[:8], 16) % _CALIBRATION_SHARE == 0


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
