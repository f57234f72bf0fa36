"""What a set of labelled images is, whatever it was read from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import DataError

Image = NDArray[np.uint8]
"""[height, width, channels], 1 or 3 channels."""

UNLABELLED = -1
"""Label of an image whose class is not known: good for calibrating, not for counting what is right."""


@dataclass(frozen=True)
class LabelledImages:
    """Images in a fixed order.

    Attributes:
        name: what a reader calls the set and the split.
        classes: number of classes.
        labels: [n] class of each image, `UNLABELLED` where it is not known.
        clusters: [n] the picture an image was made from; images of one cluster are not independent. The
            image's own index where each stands for itself.
        reader: gives image i.
        digest: computes `sha256`.
    """

    name: str
    classes: int
    labels: NDArray[np.int64]
    clusters: NDArray[np.int64]
    reader: Callable[[int], Image]
    digest: Callable[[], str]

    @cached_property
    def sha256(self) -> str:
        """Of all images and labels, so that a table can say what it was measured on."""
        return self.digest()

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, index: int) -> Image:
        """One image, uint8 [height, width, channels].

        Raises:
            DataError: there is no such image, or its file cannot be read.
        """
        if not 0 <= index < len(self):
            raise DataError(f"{self.name}: there is no image {index}, only 0 to {len(self) - 1}")
        return self.reader(index)

    def label(self, index: int) -> int:
        """Class of one image, `UNLABELLED` where it is not known."""
        return int(self.labels[index])

    def cluster(self, index: int) -> int:
        """Number of the picture that one image was made from."""
        return int(self.clusters[index])

    def images(self, start: int, stop: int, fit: Callable[[Image], Image] | None = None) -> Image:
        """Images `start` to `stop`, without `stop`, uint8 [n, height, width, channels].

        Args:
            start: of the first image.
            stop: after the last one; may lie beyond the end.
            fit: brings an image to a network's input size, `TrainedModel.fit`.

        Raises:
            DataError: an image cannot be read, or the images differ in size and there is no `fit`.
        """
        read = [self.read(index) for index in range(start, min(stop, len(self)))]
        fitted = read if fit is None else [fit(image) for image in read]
        shapes = {image.shape for image in fitted}
        if len(shapes) != 1:
            what = "there are no images" if not shapes else f"images differ in size: {sorted(shapes)[:3]}"
            raise DataError(f"{self.name}, images {start} to {stop}: {what}")
        return np.stack(fitted)

    def first(self, count: int) -> LabelledImages:
        """The first `count` images as a set of their own; for a quick look, its name says so."""
        if count >= len(self):
            return self
        return LabelledImages(
            name=f"{self.name}, first {count}",
            classes=self.classes,
            labels=self.labels[:count],
            clusters=self.clusters[:count],
            reader=self.reader,
            digest=self.digest,
        )


@dataclass(frozen=True)
class DataSplits:
    """The two halves of a set of images.

    Attributes:
        name: of the set.
        train: to calibrate and train on.
        test: to measure on; no picture of it is in `train`.
    """

    name: str
    train: LabelledImages
    test: LabelledImages


def read_only(values: object) -> NDArray[np.int64]:
    """Labels or clusters as an array that nobody can write to."""
    array = np.array(values, dtype=np.int64)
    array.setflags(write=False)
    return array
