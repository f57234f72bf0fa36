"""Images and bandwidth traces from files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dvfo_controller.images import example_images, folder_images
from dvfo_controller.split.shaping import Trace
from dvfo_controller.split.trace_file import read_trace, write_trace
from dvfo_env.errors import SplitError, TraceError


def test_example_images_come_again_and_fill_the_range() -> None:
    first, second = example_images(2, 32, 48), example_images(2, 32, 48)
    np.testing.assert_array_equal(first[0], second[0])
    assert not np.array_equal(first[0], first[1])
    assert first[0].shape == (32, 48, 3)
    assert first[0].dtype == np.uint8
    assert 30.0 < first[0].std() < 70.0


def test_a_folder_of_pictures_and_arrays_is_read_in_order(tmp_path: Path) -> None:
    Image.fromarray(example_images(1, 40, 40)[0]).save(tmp_path / "b.png")
    np.save(tmp_path / "a.npy", np.zeros((16, 16, 3), np.uint8))
    (tmp_path / "notes.txt").write_text("no image")
    found = folder_images(tmp_path, 16, 16)
    assert [image.shape for image in found] == [(16, 16, 3)] * 2
    assert not found[0].any()


def test_what_is_no_image_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(SplitError, match="holds no image"):
        folder_images(tmp_path, 16, 16)
    np.save(tmp_path / "a.npy", np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(SplitError, match=r"a\.npy: uint8 \(8, 8, 3\) instead of"):
        folder_images(tmp_path, 16, 16)
    (tmp_path / "a.npy").write_bytes(b"\x80\x04pickle")
    with pytest.raises(SplitError, match=r"a\.npy: cannot be read"):
        folder_images(tmp_path, 16, 16)
    (tmp_path / "a.npy").unlink()
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(SplitError, match=r"a\.png: cannot be read"):
        folder_images(tmp_path, 16, 16)


def test_a_trace_is_written_and_read(tmp_path: Path) -> None:
    trace = Trace([0.0, 0.1, 0.2], [5.0, 0.0, 7.5], [10.0, 11.0, 12.0], 0.3)
    write_trace(tmp_path / "t.csv", trace)
    again = read_trace(tmp_path / "t.csv")
    np.testing.assert_allclose(again.mbps, trace.mbps)
    np.testing.assert_allclose(again.rtt_ms, trace.rtt_ms)
    assert again.duration_s == pytest.approx(0.3)


def test_a_trace_without_round_trips_or_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("# a comment\n3.0 8\n4.0 16\n\n")
    trace = read_trace(tmp_path / "t.csv")
    assert trace.times_s.tolist() == [0.0, 1.0]
    assert trace.rtt_ms.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "holds no row"),
        ("time_s,mbps\n", "holds no row"),
        ("0,1\n1\n", "line 2"),
        ("0,1\n1,x\n", "line 2"),
        ("0,1\n1,-2\n", "rates"),
        ("0,1\n0,2\n", "rise"),
        ("0,1,2,3\n", "line 1"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(TraceError, match=words) as caught:
        read_trace(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)
    assert "t.csv" in str(caught.value)
