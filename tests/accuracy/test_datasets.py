"""Images in folders of one's own, and what is said where they are not there or damaged."""

from __future__ import annotations

import gzip
import struct
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dvfo_env.accuracy.datasets import UNLABELLED, DataSplits, open_images
from dvfo_env.accuracy.datasets.idx import IDX_FILES, parse_idx
from dvfo_env.accuracy.datasets.views import CROP_AREA, view_of
from dvfo_env.errors import DataError

PICTURE_SIZE = (40, 30)


def idx(array: np.ndarray) -> bytes:
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, compress: bool = False, train: int = 6, test: int = 4) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("test", test)):
        images, labels = rng.integers(0, 256, (count, 5, 7)), np.arange(count) % 3
        for name, array in zip(IDX_FILES[split], (images, labels), strict=True):
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))


def write_picture(path: Path, grey: bool = False, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (*PICTURE_SIZE[::-1], 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    (picture.convert("L") if grey else picture).save(path)


def check_whole(splits: DataSplits) -> None:
    for half in (splits.train, splits.test):
        assert len(half) == len(half.labels) == len(half.clusters)
        image = half.read(0)
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert image.shape[2] in (1, 3)
        assert all(label == UNLABELLED or 0 <= label < half.classes for label in half.labels)
        assert len(half.sha256) == 64
        with pytest.raises(ValueError, match="read-only"):
            half.labels[0] = 1


@pytest.mark.parametrize("compress", [False, True])
def test_four_idx_files_are_a_data_set_plain_or_gzipped(tmp_path: Path, compress: bool) -> None:
    write_idx(tmp_path, compress)
    splits = open_images(str(tmp_path))
    check_whole(splits)
    assert (len(splits.train), len(splits.test), splits.test.classes) == (6, 4, 3)
    assert splits.test.images(1, 9).shape == (3, 5, 7, 1)
    assert splits.test.labels.tolist() == [0, 1, 2, 0]
    assert splits.test.cluster(3) == 3


def test_gzipped_and_plain_files_have_the_same_hash(tmp_path: Path) -> None:
    for name, compress in (("a", False), ("b", True)):
        (tmp_path / name).mkdir()
        write_idx(tmp_path / name, compress)
    a, b = (open_images(tmp_path / name).test.sha256 for name in "ab")
    assert a == b


def test_another_file_under_the_name_of_fashion_mnist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVFO_DATA", str(tmp_path))
    (tmp_path / "fashion-mnist").mkdir()
    write_idx(tmp_path / "fashion-mnist")
    with pytest.raises(DataError, match="is another file than expected: MD5"):
        open_images("fashion-mnist")


def test_missing_images_are_named_with_the_command_that_gets_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVFO_DATA", str(tmp_path))
    monkeypatch.setattr("dvfo_env.accuracy.datasets.idx.DEBIAN_FOLDER", tmp_path / "no")
    with pytest.raises(DataError, match=r"`make weights` or `apt-get install dataset-fashion-mnist`"):
        open_images("fashion-mnist")
    with pytest.raises(DataError, match="neither fashion-mnist nor photographs nor a folder"):
        open_images("imagenet")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is no IDX file"),
        (b"\x00\x00\x0d\x01\x00\x00\x00\x01\x00", "is no IDX file of unsigned bytes"),
        (b"\x00\x00\x08\x03\x00\x00", "ends within its header"),
        (b"\x00\x00\x08\x01\x00\x00\x00\x05ab", "2 values, its header says 5 = 5"),
        (b"\x00\x00\x08\x02\xff\xff\xff\xff\xff\xff\xff\xff", "0 values"),
    ],
)
def test_bytes_that_are_no_idx_file_are_refused_before_anything_is_allocated(
    data: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        parse_idx(data, "x")


@given(st.binary(max_size=60))
def test_any_bytes_are_an_array_or_one_error(data: bytes) -> None:
    with suppress(DataError):
        assert parse_idx(data, "x").dtype == np.uint8


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    write_idx(tmp_path, compress=True)
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"t10k-images-idx3-ubyte\.gz: cannot be decompressed"):
        open_images(tmp_path)


def write_cifar(folder: Path, label_bytes: int, train: tuple[str, ...], test: str) -> None:
    rng = np.random.default_rng(1)
    for name in (*train, test):
        records = rng.integers(0, 256, (4, label_bytes + 3072), dtype=np.uint8)
        records[:, :label_bytes] = np.arange(4)[:, None]
        (folder / name).write_bytes(records.tobytes())


@pytest.mark.parametrize("hundred", [False, True])
def test_cifars_binary_layout_is_read_channels_last(tmp_path: Path, hundred: bool) -> None:
    train = ("train.bin",) if hundred else tuple(f"data_batch_{i}.bin" for i in range(1, 6))
    write_cifar(tmp_path, 1 + hundred, train, "test.bin" if hundred else "test_batch.bin")
    splits = open_images(tmp_path)
    check_whole(splits)
    assert splits.name == ("cifar-100" if hundred else "cifar-10")
    assert (len(splits.train), len(splits.test)) == (4 * len(train), 4)
    assert splits.test.images(0, 4).shape == (4, 32, 32, 3)
    raw = (tmp_path / ("test.bin" if hundred else "test_batch.bin")).read_bytes()
    assert splits.test.read(0)[0, 1].tolist() == [raw[1 + hundred + 1 + 1024 * plane] for plane in range(3)]


def test_a_cut_off_cifar_file_is_named(tmp_path: Path) -> None:
    write_cifar(tmp_path, 2, ("train.bin",), "test.bin")
    (tmp_path / "train.bin").write_bytes(b"12345")
    with pytest.raises(DataError, match=r"train\.bin: 5 bytes are not whole cifar-100 records of 3074"):
        open_images(tmp_path)


def test_class_folders_are_numbered_as_they_sort(tmp_path: Path) -> None:
    for split, count in (("train", 2), ("val", 3)):
        for name in ("n02", "n01"):
            for i in range(count):
                write_picture(tmp_path / split / name / f"{i}.png", grey=i == 0, seed=i)
    (tmp_path / "val" / "n01" / "notes.txt").write_text("no picture")
    splits = open_images(tmp_path)
    check_whole(splits)
    assert (len(splits.train), len(splits.test)) == (4, 6)
    assert sorted(splits.test.labels) == [0, 0, 0, 1, 1, 1]
    assert splits.test.read(0).shape == (30, 40, 3)
    assert splits.test.name.endswith("val")


def test_without_two_splits_calibration_and_test_share_no_picture(tmp_path: Path) -> None:
    for i in range(30):
        write_picture(tmp_path / f"class{i % 2}" / f"{i}.png", seed=i)
    splits = open_images(tmp_path)
    assert len(splits.train) + len(splits.test) == 30
    assert 0 < len(splits.train) < len(splits.test)
    seen = [half.read(i).tobytes() for half in (splits.train, splits.test) for i in range(len(half))]
    assert len(set(seen)) == 30


def test_a_folder_without_pictures_says_what_it_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pictures in class folders \(CLASS/\*\.jpg"):
        open_images(tmp_path)


def test_a_broken_picture_is_named_when_it_is_read(tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / "a").mkdir(exist_ok=True)
        (tmp_path / "a" / f"{i}.jpg").write_bytes(b"not a picture")
    test = open_images(tmp_path).test
    with pytest.raises(DataError, match=r"\.jpg: cannot be read as a picture"):
        test.read(0)


def test_images_of_different_sizes_need_a_fit(tmp_path: Path) -> None:
    for i in range(12):
        write_picture(tmp_path / "a" / f"{i}.png", seed=i)
    (tmp_path / "a" / "wide.png").parent.mkdir(exist_ok=True)
    Image.new("RGB", (90, 20)).save(tmp_path / "a" / "wide.png")
    Image.new("RGB", (91, 20)).save(tmp_path / "a" / "wider.png")
    Image.new("RGB", (92, 20)).save(tmp_path / "a" / "widest.png")
    test = open_images(tmp_path).test
    with pytest.raises(DataError, match="images differ in size"):
        test.images(0, len(test))
    assert test.images(0, len(test), lambda image: image[:20, :20]).shape == (len(test), 20, 20, 3)
    with pytest.raises(DataError, match="there is no image"):
        test.read(len(test))


def test_a_view_is_told_by_picture_number_and_seed_alone() -> None:
    values = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    picture = Image.fromarray(values)
    assert np.array_equal(view_of(picture, key=1, view=0), values)
    first = view_of(picture, key=1, view=3)
    assert np.array_equal(first, view_of(picture, key=1, view=3))
    others = [view_of(picture, 1, 4), view_of(picture, 2, 3), view_of(picture, 1, 3, seed=1)]
    assert all(other.shape != first.shape or not np.array_equal(other, first) for other in others)


def test_views_keep_at_least_half_of_the_picture() -> None:
    picture = Image.new("RGB", (160, 120))
    for view in range(1, 50):
        height, width, _ = view_of(picture, 7, view).shape
        assert CROP_AREA[0] * 0.98 <= height * width / (160 * 120) <= 1
        assert 0.72 <= width / height <= 1.4
