"""Labelled images, by name or in a folder of one's own: `open_images(spec)` gives a split to calibrate on and
one to test on.

Needs numpy; Pillow where images are files.
"""

from __future__ import annotations

from dvfo_env.accuracy.datasets.images import UNLABELLED, DataSplits, LabelledImages
from dvfo_env.accuracy.datasets.opening import NAMED_IMAGES, open_images

__all__ = ["NAMED_IMAGES", "UNLABELLED", "DataSplits", "LabelledImages", "open_images"]
