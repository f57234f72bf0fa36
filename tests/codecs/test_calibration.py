"""Calibrations: what they refuse, what names them, and their file."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest

from dvfo_env.codecs import ChannelCalibration, load_calibrations, save_calibrations
from dvfo_env.errors import CodecError
from tests.codecs.calibrations import CALIBRATIONS, calibrated


def fields(**changed):
    c = 3
    good = {
        "shape": (c, 4),
        "channel_axis": 0,
        "order": np.arange(c),
        "fill": np.zeros(c),
        "low": np.zeros(c),
        "high": np.ones(c),
    }
    return good | changed


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"shape": (3, 0)}, "shape: (3, 0)"),
        ({"shape": ()}, "shape: ()"),
        ({"channel_axis": 2}, "channel_axis: 2"),
        ({"order": np.array([0, 1, 1])}, "order: is no permutation"),
        ({"order": np.zeros(3)}, "order: holds float64"),
        ({"fill": np.zeros(4)}, "fill: shape (4,) instead of (3,)"),
        ({"fill": np.array([0, np.nan, 0])}, "fill: is not finite"),
        ({"low": np.full(3, 2.0)}, "low, high: low is above high in channel 0"),
        ({"low": np.full(3, -3e38), "high": np.full(3, 3e38)}, "low, high: is wider"),
        ({"high": np.full(3, 1e300)}, "low, high: is beyond single precision"),
        ({"ranges": {5: (np.zeros(3), np.ones(3))}}, "ranges: 5 bits"),
        ({"ranges": {4: np.zeros(3)}}, "ranges[4]"),
        ({"histograms": {4: np.ones((3, 8), np.uint32)}}, "histograms[4]: shape (3, 8) instead of (3, 16)"),
        ({"histograms": {2: -np.ones((3, 4), np.int64)}}, "histograms[2]: counts"),
        ({"points": {2: np.full((3, 4), np.inf)}}, "points[2]: is not finite"),
    ],
)
def test_what_does_not_fit_is_named(changed, words):
    with pytest.raises(CodecError) as caught:
        ChannelCalibration(**fields(**changed))
    assert words in str(caught.value)


def test_the_digest_names_the_content_not_the_object():
    digest = ChannelCalibration(**fields()).digest()
    assert len(digest) == 8
    assert ChannelCalibration(**fields(channel_axis=-2, fill=np.zeros(3, np.float32))).digest() == digest
    others = [
        fields(shape=(3, 5)),
        fields(shape=(3, 3), channel_axis=1),
        fields(shape=(3, 3), channel_axis=0),
        fields(order=np.array([2, 1, 0])),
        fields(fill=np.ones(3)),
        fields(high=np.full(3, 2.0)),
        fields(ranges={4: (np.zeros(3), np.ones(3))}),
        fields(ranges={2: (np.zeros(3), np.ones(3))}),
        fields(histograms={2: np.ones((3, 4), np.uint32)}),
        fields(points={2: np.ones((3, 4))}),
    ]
    digests = {ChannelCalibration(**other).digest() for other in others} | {digest}
    assert len(digests) == len(others) + 1


def test_the_digest_is_the_same_on_every_machine_and_in_every_release():
    assert ChannelCalibration(**fields()).digest().hex() == "138d29a9b01abfdb"


def test_arrays_are_copies_that_nobody_can_change():
    order = np.arange(3)
    calibration = ChannelCalibration(**fields(order=order))
    order[:] = 0
    np.testing.assert_array_equal(calibration.order, [0, 1, 2])
    with pytest.raises(ValueError, match="read-only"):
        calibration.order[0] = 1


def test_a_file_gives_back_what_was_saved_and_equal_calibrations_equal_bytes(tmp_path):
    save_calibrations(tmp_path / "a.npz", CALIBRATIONS)
    save_calibrations(tmp_path / "b.npz", CALIBRATIONS)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]
    loaded = load_calibrations(tmp_path / "a.npz")
    assert [one.digest() for one in loaded] == [one.digest() for one in CALIBRATIONS]
    assert [one.shape for one in loaded] == [one.shape for one in CALIBRATIONS]
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["0/order"], CALIBRATIONS[0].order)


def rewritten(path, change):
    """The archive with entries {name: bytes} changed by `change`."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    change(entries)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)


def huge_array() -> bytes:
    """An .npy that declares 8 TB and holds nothing."""
    written = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        written, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)}
    )
    return written.getvalue()


def pickled_array() -> bytes:
    written = io.BytesIO()
    np.lib.format.write_array(written, np.array([object()]), allow_pickle=True)
    return written.getvalue()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda entries: entries.pop("header.json"), "no file of calibrations"),
        (lambda entries: entries.pop("0/order.npy"), "order: is missing"),
        (lambda entries: entries.update({"0/extra.npy": entries["0/order.npy"]}), "extra: is no array"),
        (lambda entries: entries.update({"0/order.npy": entries["0/order.npy"][:-1]}), "bytes"),
        (lambda entries: entries.update({"0/order.npy": huge_array()}), "bytes"),
        (lambda entries: entries.update({"0/order.npy": pickled_array()}), "no file of calibrations"),
        (lambda entries: entries.update({"0/fill.npy": entries["0/low.npy"]}), "digest"),
        (lambda entries: entries.update({"header.json": b"[]"}), "no file of calibrations"),
        (lambda entries: entries.update({"header.json": b'{"format": "other"}'}), "format"),
    ],
)
def test_a_file_that_was_changed_is_refused_by_name(tmp_path, change, words):
    path = tmp_path / "cut.npz"
    save_calibrations(path, [calibrated((3, 4))])
    rewritten(path, change)
    with pytest.raises(CodecError) as caught:
        load_calibrations(path)
    assert str(path) in str(caught.value)
    assert words in str(caught.value)


def test_missing_torn_and_compressed_files_are_refused(tmp_path):
    path = tmp_path / "cut.npz"
    with pytest.raises(CodecError, match="No such file"):
        load_calibrations(path)
    save_calibrations(path, [calibrated((3, 4))])
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CodecError, match="no file of calibrations"):
        load_calibrations(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("0/order.npy", bytes(10**6))
    with pytest.raises(CodecError, match="compressed"):
        load_calibrations(path)
