"""Fashion-MNIST and the photographs, where this machine has them."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from dvfo_env.accuracy.datasets import UNLABELLED, DataSplits, open_images
from dvfo_env.accuracy.datasets.photograph_files import CALIBRATION, LABELLED
from dvfo_env.accuracy.datasets.photographs import open_photographs
from dvfo_env.errors import DataError


@pytest.fixture(scope="module")
def photographs() -> DataSplits:
    try:
        return open_images("photographs")
    except DataError as error:
        pytest.skip(str(error))


def test_fashion_mnist_has_seventy_thousand_images_in_ten_even_classes() -> None:
    try:
        splits = open_images("fashion-mnist")
    except DataError as error:
        pytest.skip(str(error))
    assert splits.train.images(0, 2).shape == (2, 28, 28, 1)
    assert (len(splits.train), len(splits.test), splits.test.classes) == (60_000, 10_000, 10)
    assert np.bincount(splits.test.labels).tolist() == [1000] * 10
    assert splits.test.sha256.startswith("9f1ec356")


def test_no_photograph_is_calibrated_on_and_tested(photographs: DataSplits) -> None:
    assert (len(photographs.train), len(photographs.test)) == (310, 200)
    assert set(photographs.train.labels) == {UNLABELLED}
    assert len({file.sha256 for file in (*LABELLED, *CALIBRATION)}) == len(LABELLED) + len(CALIBRATION) == 51


def test_views_of_one_photograph_share_its_label_and_cluster(photographs: DataSplits) -> None:
    test = photographs.test
    for photograph in range(20):
        views = [index for index in range(len(test)) if test.cluster(index) == photograph]
        assert views == list(range(photograph, 200, 20))
        assert {test.label(index) for index in views} == {LABELLED[photograph].label}


def test_the_first_views_are_the_photographs_themselves(photographs: DataSplits) -> None:
    assert photographs.test.read(0).shape == (512, 512, 3)
    assert min(photographs.train.read(7).shape[:2]) == 512
    assert photographs.test.first(20).labels.tolist() == [file.label for file in LABELLED]


def test_other_views_have_another_hash(photographs: DataSplits) -> None:
    assert open_photographs(views=4).test.sha256 != photographs.test.sha256
    assert open_photographs(seed=1).test.sha256 != photographs.test.sha256
    with pytest.raises(DataError, match="0 views; at least 1"):
        open_photographs(views=0)


def test_packages_that_bring_photographs_are_not_imported(photographs: DataSplits) -> None:
    code = (
        "import sys; from dvfo_env.accuracy.datasets import open_images;"
        "open_images('photographs').test.read(0);"
        "print([m for m in ('foolbox', 'skimage', 'torch', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
