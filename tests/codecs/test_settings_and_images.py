"""Names of settings, image codecs, optional packages and the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dvfo_benchmarks.codec import bench_codec
from dvfo_env.codecs import IMAGE_CODECS, LOSSLESS_IMAGE_CODECS, FeatureSetting, ImageCodec
from dvfo_env.codecs.packing import GROUPS, pack, packed_bytes, unpack
from dvfo_env.errors import CodecError
from tests.codecs.calibrations import settings_of_codecs

SMOOTH = np.sort(np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8), axis=0)


@given(setting=settings_of_codecs())
def test_a_name_is_read_back_as_the_setting_it_names(setting):
    assert FeatureSetting.parse(setting.name) == setting


def test_names_are_as_documented():
    assert FeatureSetting(1 / 4, 4, "zstd").name == "int4-keep1/4-zstd"
    assert FeatureSetting(1, 32, "none").name == "fp32-keep1-none"
    assert FeatureSetting.parse("fp16-zlib") == FeatureSetting(1, 16, "zlib")


NOT_NAMES = [
    *("", "int4", "a-b-c-d", "int4-keep2/8-zstd", "int4-keep0-zstd", "int4-keep3/2-zstd", "int5-keep1-zstd"),
    *("fp4-keep1-zstd", "int4-keep1-lzma", "fp32-keep1-rans", "int4-keep1/0-zstd", "int4-1/4-zstd"),
    "int4-keep1/100-zstd",
]


@pytest.mark.parametrize("name", NOT_NAMES)
def test_other_names_are_refused_in_one_line(name):
    with pytest.raises(CodecError, match=r"codec setting: [^\n]+$"):
        FeatureSetting.parse(name)


@given(data=st.data(), bits=st.sampled_from(sorted(GROUPS)))
@settings(deadline=None)
def test_packing_has_no_gaps_and_loses_nothing(data, bits):
    symbols = data.draw(arrays(np.uint8, st.integers(1, 70), elements=st.integers(0, 2**bits - 1)))
    packed = pack(symbols, bits)
    assert packed.size == packed_bytes(symbols.size, bits)
    whole = sum(int(symbol) << bits * i for i, symbol in enumerate(symbols))
    assert int.from_bytes(packed.tobytes(), "little") == whole
    np.testing.assert_array_equal(unpack(packed, bits, symbols.size), symbols)


@pytest.mark.parametrize("name", LOSSLESS_IMAGE_CODECS)
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_image_codecs_give_back_every_pixel(name, channels):
    codec = ImageCodec(name)
    for image in (
        SMOOTH[..., :channels],
        np.random.default_rng(0).integers(0, 256, (9, 5, channels), np.uint8),
    ):
        np.testing.assert_array_equal(codec.decode(codec.encode(image)), image)


@pytest.mark.parametrize("family", ["jpeg", "webp"])
def test_lower_quality_sends_fewer_bytes_and_errs_more(family):
    codecs = [ImageCodec(name) for name in IMAGE_CODECS if name.startswith(f"{family}-q")]
    frames = [codec.encode(SMOOTH) for codec in codecs]
    errors = [np.abs(ImageCodec("raw").decode(frame).astype(float) - SMOOTH).mean() for frame in frames]
    assert [len(frame) for frame in frames] == sorted((len(frame) for frame in frames), reverse=True)
    assert errors == sorted(errors)
    assert errors[0] < 16


def test_an_image_never_grows_by_more_than_the_header():
    noise = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    for name in IMAGE_CODECS:
        assert len(ImageCodec(name).encode(noise)) <= noise.size + 14


@pytest.mark.parametrize("name", ["jpeg", "jpeg-q0", "jpeg-q101", "jpeg-q075", "gif", "webp-q"])
def test_other_image_codecs_are_refused(name):
    with pytest.raises(CodecError, match="is not one of raw, png"):
        ImageCodec(name)


@pytest.mark.parametrize(
    "image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((4, 0, 3), np.uint8)]
)
def test_what_is_no_image_is_refused(image):
    with pytest.raises(CodecError, match="instead of uint8"):
        ImageCodec("png").encode(image)


def test_without_the_optional_packages_numpy_alone_decodes_and_the_others_are_named():
    script = """
import json, sys
for name in ("zstandard", "constriction", "PIL"):
    sys.modules[name] = None
import numpy as np
from dvfo_env.codecs import ChannelCalibration, FeatureCodec, FeatureSetting, ImageCodec
from dvfo_env.errors import CodecError
calibration = ChannelCalibration((2, 8), 0, np.arange(2), np.zeros(2), np.zeros(2), np.ones(2))
codec = FeatureCodec([calibration], FeatureSetting(1, 4, "zlib"))
said = [codec.decode(codec.encode([np.zeros((2, 8), np.float32)]))[0].shape == (2, 8)]
for make in (
    lambda: FeatureCodec([calibration], FeatureSetting(1, 4, "zstd")),
    lambda: FeatureCodec([calibration], FeatureSetting(1, 4, "rans")),
    lambda: ImageCodec("png"),
):
    try:
        make()
    except CodecError as error:
        said.append(str(error))
print(json.dumps(said))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    decoded, *errors = json.loads(done.stdout)
    assert decoded
    assert [error.rsplit(" ", 1)[1] for error in errors] == ["zstandard", "constriction", "pillow"]


def test_the_benchmark_has_positive_speeds_and_says_how_often_it_ran():
    result = bench_codec(runs=1, seconds=1e-6)
    assert result["runs"] == 1
    speeds = result["speeds"]
    assert len(speeds) == 18
    assert min(min(row["bytes"], row["encode_mb_per_s"], row["decode_mb_per_s"]) for row in speeds) > 0
