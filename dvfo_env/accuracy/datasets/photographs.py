"""Natural photographs at the size of ImageNet's, and views of them.

Twenty carry an ImageNet class (`LABELLED`), thirty-one others serve calibration alone (`CALIBRATION`).
Views of one photograph are not independent: they share a cluster, and intervals go over clusters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path

from dvfo_env.accuracy.datasets.files import FETCH, checked, data_folder, package_file
from dvfo_env.accuracy.datasets.images import DataSplits, Image, LabelledImages, read_only
from dvfo_env.accuracy.datasets.photograph_files import CALIBRATION, LABELLED, PhotographFile
from dvfo_env.accuracy.datasets.views import read_picture, view_of
from dvfo_env.errors import DataError

VIEWS = 10
"""Views of a photograph, the photograph itself included."""

FOLDS = 2
"""Parts of the labelled photographs, ten photographs each."""

CLASSES = 1000

_SHORTER_SIDE = 512
"""Calibration photographs are scaled down to about the size of the labelled ones."""


def open_photographs(views: int = VIEWS, seed: int = 0) -> DataSplits:
    """Views of photographs, calibration apart from test.

    The splits themselves test on all labelled photographs and calibrate on the unlabelled alone. Each of the
    `FOLDS` folds tests on a part of the labelled photographs and calibrates on the other labelled ones, too.

    Args:
        views: of each photograph; the first is the photograph itself.
        seed: of the views.

    Raises:
        DataError: a photograph is missing or is another file than expected, or `views` is below 1.
    """
    if views < 1:
        raise DataError(f"photographs: {views} views; at least 1")

    def splits(name: str, tested: Sequence[PhotographFile], others: Sequence[PhotographFile]) -> DataSplits:
        train = _views(f"{name} train", [*others, *CALIBRATION], views, seed)
        return DataSplits(name, train, _views(f"{name} test", tested, views, seed))

    folds = tuple(
        splits(
            f"photographs fold {fold} of {FOLDS}",
            tested=[file for i, file in enumerate(LABELLED) if i % FOLDS == fold],
            others=[file for i, file in enumerate(LABELLED) if i % FOLDS != fold],
        )
        for fold in range(FOLDS)
    )
    return replace(splits("photographs", LABELLED, ()), folds=folds)


def photograph_path(file: PhotographFile) -> Path:
    """Where a photograph lies on this machine.

    Raises:
        DataError: it is not there, or is another file than expected.
    """
    if file.debian:
        path = data_folder() / "photographs" / file.path
        found = path if path.is_file() else None
    else:
        found = package_file(file.package, *file.path.split("/"))
    if found is None:
        raise DataError(
            f"photographs: {file.path} of the package {file.package} is missing; `{FETCH}` gets it"
        )
    return checked(found, file.sha256)


def _views(name: str, files: Sequence[PhotographFile], views: int, seed: int) -> LabelledImages:
    """The photographs themselves, then the second view of each, and so on."""
    paths = [_path(file) for file in files]
    keys = [int(file.sha256[:8], 16) for file in files]
    count = len(files)

    def read(index: int) -> Image:
        photograph, view = index % count, index // count
        path = paths[photograph]
        picture = _picture(path, None if files[photograph] in LABELLED else _SHORTER_SIDE)
        return view_of(picture, keys[photograph], view, seed)

    def digest() -> str:
        digests = "\n".join(file.sha256 for file in files)
        return hashlib.sha256(f"{views} views, seed {seed}\n{digests}".encode()).hexdigest()

    return LabelledImages(
        name=f"{name}: {count} photographs x {views} views",
        classes=CLASSES,
        labels=read_only([file.label for file in files] * views),
        clusters=read_only([_NUMBER[file.sha256] for file in files] * views),
        reader=read,
        digest=digest,
    )


_NUMBER = {file.sha256: number for number, file in enumerate((*LABELLED, *CALIBRATION))}
"""Of each photograph: the same in every fold."""

_path = cache(photograph_path)
_picture = lru_cache(maxsize=len(LABELLED) + len(CALIBRATION))(read_picture)
