"""Whatever bytes arrive: CodecError or values, never another exception, never more memory than stated."""

from __future__ import annotations

import math
import tracemalloc
import zlib
from contextlib import suppress

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from dvfo_env.codecs import IMAGE_CODECS, ChannelCalibration, FeatureCodec, FeatureSetting, ImageCodec, decode
from dvfo_env.codecs.frame import FEATURES, MAX_BYTES, TensorPart, varint, write_features, write_image
from dvfo_env.errors import CodecError
from tests.codecs.calibrations import CALIBRATIONS, calibrated, features, settings_of_codecs

KNOWN = {calibration.digest(): calibration for calibration in CALIBRATIONS}
IMAGE = np.sort(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8), axis=0)
IMAGE_FRAMES = [
    ImageCodec(name).encode(image)
    for name in IMAGE_CODECS
    for image in (IMAGE, np.ascontiguousarray(IMAGE[..., :1]))
]
SETTINGS = dict(max_examples=150, deadline=None)


def sealed(frame: bytes) -> bytes:
    """The frame with the checksum that its bytes should have: what a malicious sender would send."""
    return frame[:6] + zlib.crc32(frame[10:], zlib.crc32(frame[:6])).to_bytes(4, "little") + frame[10:]


def feature_frame(setting: FeatureSetting) -> bytes:
    codec = FeatureCodec(CALIBRATIONS[:3], setting)
    tensors = [features(calibration.shape, 7)[0] for calibration in CALIBRATIONS[:3]]
    importance = [np.random.default_rng(1).random(calibration.channels) for calibration in CALIBRATIONS[:3]]
    return codec.encode(tensors, importance)


def survive(frame: bytes) -> None:
    """All decoders, on bytes that may be anything."""
    codec = FeatureCodec(CALIBRATIONS[:3], FeatureSetting(1, 4, "none"))
    for decoder in (codec.decode, lambda data: decode(data, KNOWN), ImageCodec("png", 1 << 16).decode):
        with suppress(CodecError):
            decoder(frame)


@given(
    data=st.binary(max_size=300),
    start=st.sampled_from([b"", b"DVF\x01", b"DVF\x01\x01\x04", b"DVF\x01\x02\x03"]),
)
@settings(**SETTINGS)
def test_random_bytes_with_and_without_a_right_start_and_checksum(data, start):
    survive(start + data)
    survive(sealed(start + data))


@given(setting=settings_of_codecs(), data=st.data())
@settings(**SETTINGS)
def test_no_flipped_bit_and_no_truncation_passes_the_checksum(setting, data):
    frame = feature_frame(setting)
    bit = data.draw(st.integers(0, 8 * len(frame) - 1))
    flipped = bytearray(frame)
    flipped[bit // 8] ^= 1 << bit % 8
    cut = frame[: data.draw(st.integers(0, len(frame) - 1))]
    for damaged in (bytes(flipped), cut, frame + b"\0"):
        with pytest.raises(CodecError):
            decode(damaged, KNOWN)


@given(setting=settings_of_codecs(), data=st.data())
@settings(**SETTINGS)
def test_frames_changed_on_purpose_with_a_right_checksum(setting, data):
    frame = bytearray(feature_frame(setting))
    for _ in range(data.draw(st.integers(1, 4))):
        frame[data.draw(st.integers(4, len(frame) - 1))] = data.draw(st.integers(0, 255))
    survive(sealed(bytes(frame)))
    survive(sealed(bytes(frame[: data.draw(st.integers(10, len(frame)))])))


@given(frame=st.sampled_from(IMAGE_FRAMES), data=st.data())
@settings(**SETTINGS)
def test_image_frames_changed_on_purpose_with_a_right_checksum(frame, data):
    changed = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(4, min(len(frame), 120) - 1))] = data.draw(st.integers(0, 255))
    survive(sealed(bytes(changed)))
    survive(sealed(frame[: data.draw(st.integers(10, len(frame) - 1))]))


def part(shape: tuple[int, ...], coder: str, payload: bytes, **fields) -> TensorPart:
    return TensorPart(shape, coder, fields.get("digest"), fields.get("kept", 0), fields.get("mask"), payload)


def peak_bytes(action) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def refused(frame: bytes, decoder=None) -> str:
    with pytest.raises(CodecError) as caught:
        (decoder or (lambda data: decode(data, KNOWN)))(frame)
    return str(caught.value)


@pytest.mark.parametrize("shape", [(2**32 - 1,) * 8, (2**31, 2**31), (1 << 15, 1 << 15)])
@pytest.mark.parametrize("coder", ["none", "zlib", "zstd"])
def test_huge_declared_sizes_are_refused_before_anything_is_allocated(shape, coder):
    frame = write_features(FEATURES, 32, [part(shape, coder, b"x")])
    assert peak_bytes(lambda: refused(frame)) < 100_000


def test_many_tensors_of_a_known_size_are_refused_above_the_cap():
    calibration = calibrated((12, 7, 9))
    tiny = FeatureCodec([calibration], FeatureSetting(1, 2, "zstd")).encode(
        [np.zeros((12, 7, 9), np.float32)]
    )
    with pytest.raises(CodecError, match="more than 1000 bytes"):
        decode(tiny, {calibration.digest(): calibration}, max_bytes=1000)


@pytest.mark.parametrize("bomb", ["zlib", "zstd", "zstd with its size", "zstd with a huge window"])
def test_bombs_are_refused_without_unpacking_them(bomb):
    zeros = bytes(50_000_000)
    shape = (1000,)
    if bomb == "zlib":
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        payload = deflate.compress(zeros) + deflate.flush()
    elif bomb == "zstd with a huge window":
        parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
        payload = zstandard.ZstdCompressor(compression_params=parameters).compress(zeros)[4:]
    else:
        payload = zstandard.ZstdCompressor(write_content_size=bomb != "zstd").compress(zeros)[4:]
    plain = 4 * math.prod(shape)
    if len(payload) >= plain:
        shape = (len(payload),)
    frame = write_features(FEATURES, 32, [part(shape, bomb.split()[0], payload)])
    assert peak_bytes(lambda: refused(frame)) < 20 * len(payload) + 20_000


@pytest.mark.parametrize("coder", ["zlib", "zstd"])
@pytest.mark.parametrize("size", [3999, 4001])
def test_a_payload_with_one_byte_too_many_or_too_few_is_refused(coder, size):
    if coder == "zlib":
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        payload = deflate.compress(bytes(size)) + deflate.flush()
    else:
        payload = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(size))[4:]
    refused(write_features(FEATURES, 32, [part((1000,), coder, payload)]))
    refused(write_features(FEATURES, 32, [part((1000,), coder, payload + b"\0")]))


def test_each_forged_field_is_named():
    calibration = CALIBRATIONS[0]
    digest = calibration.digest()
    cases = {
        "which this decoder does not have": (4, part((12, 7, 9), "none", b"", digest=bytes(8), kept=12)),
        "instead of its calibration's": (4, part((12, 9, 7), "none", b"", digest=digest, kept=12)),
        "channels kept": (4, part((12, 7, 9), "none", b"", digest=digest, kept=13)),
        "channels kept of": (4, part((12, 7, 9), "none", b"", digest=digest, kept=0)),
        "mask": (32, part((12, 7, 9), "none", b"", digest=digest, kept=3, mask=b"\xff\xff")),
        "mask: does": (32, part((12, 7, 9), "none", b"", digest=digest, kept=1, mask=b"\x00\x80")),
        "without a calibration": (4, part((12, 7, 9), "none", b"")),
        "rans payload at 32": (32, part((12,), "rans", b"1234")),
        "is empty": (32, part((12, 0), "none", b"")),
        "is not one of": (7, part((12,), "none", b"1234")),
        "instead of 378": (4, part((12, 7, 9), "none", b"1234", digest=digest, kept=12)),
        "no whole number of words": (4, part((12, 7, 9), "rans", b"12345", digest=digest, kept=12)),
    }
    for words, (bits, forged) in cases.items():
        assert words in refused(write_features(FEATURES, bits, [forged]))


def test_an_index_beyond_its_bits_is_refused():
    payload = zstandard.ZstdCompressor(write_content_size=False).compress(bytes([0xFF]) * 378)[4:]
    forged = part((12, 7, 9), "zstd", payload, digest=CALIBRATIONS[0].digest(), kept=12)
    assert "more than 3 bits" in refused(write_features(FEATURES, 3, [forged]))


def test_frames_of_another_version_kind_or_order_of_tensors_are_refused():
    codec = FeatureCodec(CALIBRATIONS[:2], FeatureSetting(1, 4, "none"))
    tensors = [features(calibration.shape, 7)[0] for calibration in CALIBRATIONS[:2]]
    frame = codec.encode(tensors)
    assert "version 2" in refused(sealed(frame[:3] + b"\x02" + frame[4:]), codec.decode)
    assert "kind 9" in refused(sealed(frame[:4] + b"\x09" + frame[5:]), codec.decode)
    assert "not features" in refused(ImageCodec("raw").encode(IMAGE), codec.decode)
    assert "not an image" in refused(frame, ImageCodec("raw").decode)
    swapped = FeatureCodec(CALIBRATIONS[1::-1], FeatureSetting(1, 4, "none"))
    assert "tensor 0" in refused(frame, swapped.decode)
    one = FeatureCodec(CALIBRATIONS[:1], codec.setting).encode(tensors[:1])
    assert "1 tensors instead of 2" in refused(one, codec.decode)
    with pytest.raises(CodecError, match="not bytes"):
        codec.decode("text")  # type: ignore[arg-type]


def test_numbers_that_are_not_in_their_shortest_form_are_refused():
    good = write_features(FEATURES, 32, [part((4,), "none", bytes(16))])
    assert decode(good, {})[0].shape == (4,)
    longer = good[:13] + b"\x84\x00" + good[14:]
    assert "shortest form" in refused(sealed(longer))
    assert "shortest form" in refused(sealed(good[:13] + b"\xff\xff\xff\xff\x7f" + good[14:]))
    assert varint(2**32 - 1) == b"\xff\xff\xff\xff\x0f"


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_images_larger_than_they_say_or_than_allowed_are_refused_before_decoding(codec):
    flat = np.zeros((3000, 3000, 3), np.uint8)
    payloads = {1: "png", 2: "webp-lossless", 3: "jpeg-q75", 4: "webp-q75"}
    honest = ImageCodec(payloads[codec]).encode(flat)
    payload = honest[10 + len(varint(3000) * 2 + varint(3)) :]
    forged = write_image(codec, (30, 30, 3), payload)
    small = ImageCodec("raw", max_pixels=1 << 20)
    assert peak_bytes(lambda: refused(forged, small.decode)) < 1_000_000
    assert "pixels are more than" in refused(honest, small.decode)


def test_the_cap_is_the_documented_one():
    assert MAX_BYTES == 256 * 2**20
    frame = write_features(FEATURES, 32, [part((MAX_BYTES // 4 + 1,), "none", b"")])
    assert "declares tensors of more than" in refused(frame)


def test_uncalibrated_settings_with_statistics_are_refused_when_made():
    with pytest.raises(CodecError, match="histograms: none at 4 bits"):
        FeatureCodec([ChannelCalibration.uncalibrated((3, 4))], FeatureSetting(1, 4, "rans"))
