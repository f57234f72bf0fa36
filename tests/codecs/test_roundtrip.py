"""What goes into a frame comes out of it, and the batch path says exactly what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dvfo_env.codecs import (
    QUANTISED_BITS,
    BottleneckCodec,
    ChannelCalibration,
    FeatureCodec,
    FeatureSetting,
    decode,
    indices,
    kept_channels,
)
from dvfo_env.codecs.frame import BOTTLENECK, TensorPart, write_features
from dvfo_env.errors import CodecError
from tests.codecs.calibrations import CALIBRATIONS, SHAPES, calibrated, features, settings_of_codecs

KNOWN = {calibration.digest(): calibration for calibration in CALIBRATIONS}
ANY_FLOAT = st.floats(width=32, allow_nan=True, allow_infinity=True)


@given(
    setting=settings_of_codecs(),
    some=st.lists(st.sampled_from(CALIBRATIONS), min_size=1, max_size=3),
    seed=st.integers(0, 2**32 - 1),
    odd=ANY_FLOAT,
    per_input=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_a_batch_is_restored_as_encoding_and_decoding_each_input_would(setting, some, seed, odd, per_input):
    random = np.random.default_rng(seed)
    codec = FeatureCodec(some, setting)
    batches = [features(calibration.shape, seed, 2) * 3 for calibration in some]
    for batch in batches:
        batch.reshape(-1)[random.integers(batch.size)] = odd
    importance = [random.random((2, c.channels)) for c in some] if per_input else None
    restored = codec.roundtrip(batches, importance)
    for n in range(2):
        chosen = None if importance is None else [row[n] for row in importance]
        frame = codec.encode([batch[n] for batch in batches], chosen)
        for got, by_digest, batch in zip(codec.decode(frame), decode(frame, KNOWN), restored, strict=True):
            assert got.dtype == np.float32
            assert got.tobytes() == by_digest.tobytes() == batch[n].tobytes()


@given(values=arrays(np.uint32, (3, 4, 5)), coder=st.sampled_from(["none", "zlib", "zstd"]))
@settings(deadline=None)
def test_32_bits_give_back_every_bit_also_of_nan_infinities_and_negative_zero(values, coder):
    tensor = values.view(np.float32)
    codec = FeatureCodec([ChannelCalibration.uncalibrated((3, 4, 5))], FeatureSetting(1, 32, coder))
    frame = codec.encode([tensor])
    assert codec.decode(frame)[0].tobytes() == decode(frame, {})[0].tobytes() == tensor.tobytes()


@pytest.mark.parametrize("coder", ["none", "zlib", "zstd"])
def test_named_odd_floats_survive_at_32_bits(coder):
    odd = np.array([np.nan, -np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, 3.4028235e38], np.float32)
    codec = FeatureCodec([ChannelCalibration.uncalibrated((8,))], FeatureSetting(1, 32, coder))
    assert codec.decode(codec.encode([odd]))[0].tobytes() == odd.tobytes()


def test_16_bits_are_the_nearest_half_and_saturate():
    values = np.array([1.0, 1e-3, 70000, -np.inf, np.nan], np.float32)
    codec = FeatureCodec([ChannelCalibration.uncalibrated((5,))], FeatureSetting(1, 16, "none"))
    got = codec.decode(codec.encode([values]))[0]
    np.testing.assert_array_equal(got, np.float32([1.0, np.float16(1e-3), 65504, -65504, np.nan]))


@pytest.mark.parametrize("bits", QUANTISED_BITS)
@pytest.mark.parametrize(("shape", "axis"), SHAPES)
def test_a_value_within_its_range_is_off_by_half_a_step_at_most(shape, axis, bits):
    calibration = calibrated(shape, axis)
    low, high = calibration.range_at(bits)
    columns = [1] * len(shape)
    columns[axis] = calibration.channels
    low, high = low.reshape(columns), high.reshape(columns)
    tensor = np.clip(features(shape, 5)[0], low, high)
    got = FeatureCodec([calibration], FeatureSetting(1, bits, "none")).roundtrip([tensor[None]])[0][0]
    step = (high - low) / (2**bits - 1)
    assert (np.abs(got - tensor) <= 0.5 * step + 1e-6).all()


def test_what_lies_outside_the_range_goes_to_its_end_and_nan_to_its_low_end():
    low, high = np.float32([-1]), np.float32([2])
    calibration = ChannelCalibration((1, 4), 0, np.array([0]), np.float32([0]), low, high)
    codec = FeatureCodec([calibration], FeatureSetting(1, 4, "none"))
    got = codec.decode(codec.encode([np.array([[-5, 5, np.inf, np.nan]], np.float32)]))[0]
    np.testing.assert_allclose(got, [[-1, 2, 2, -1]], atol=1e-6)


def test_a_channel_that_never_varies_is_restored_exactly():
    value = np.float32([0.3])
    calibration = ChannelCalibration((1, 9), 0, np.array([0]), value, value, value)
    codec = FeatureCodec([calibration], FeatureSetting(1, 2, "none"))
    assert (codec.roundtrip([np.full((1, 1, 9), 0.3, np.float32)])[0] == value).all()


def test_decoded_values_are_fixed_points():
    calibration = calibrated((12, 7, 9))
    for bits in QUANTISED_BITS:
        codec = FeatureCodec([calibration], FeatureSetting(1, bits, "none"))
        once = codec.roundtrip([features((12, 7, 9), 1)])[0]
        np.testing.assert_array_equal(codec.roundtrip([once])[0], once)


def test_dropped_channels_are_filled_and_the_calibrated_order_decides_which():
    calibration = calibrated((12, 7, 9))
    codec = FeatureCodec([calibration], FeatureSetting(1 / 4, 32, "none"))
    tensor = features((12, 7, 9), 1)[0]
    got = codec.decode(codec.encode([tensor]))[0]
    kept = calibration.order[:3]
    np.testing.assert_array_equal(got[kept], tensor[kept])
    dropped = calibration.order[3:]
    np.testing.assert_array_equal(
        got[dropped], np.broadcast_to(calibration.fill[dropped, None, None], (9, 7, 9))
    )


def test_the_channels_most_important_for_this_input_are_sent_with_a_mask():
    calibration = calibrated((12, 7, 9))
    codec = FeatureCodec([calibration], FeatureSetting(1 / 4, 32, "none"))
    tensor = features((12, 7, 9), 1)[0]
    importance = np.zeros(12)
    importance[[2, 5, 11]] = 1
    frame = codec.encode([tensor], [importance])
    np.testing.assert_array_equal(codec.decode(frame)[0][[2, 5, 11]], tensor[[2, 5, 11]])
    assert len(frame) == len(codec.encode([tensor])) + 2
    usual = np.isin(np.arange(12), calibration.order[:3]).astype(float)
    assert codec.encode([tensor], [usual]) == codec.encode([tensor]), "a mask that says the usual is left out"


def test_points_stand_for_indices():
    calibration = calibrated((4, 30), points=True)
    batch = features((4, 30), 3)
    got = FeatureCodec([calibration], FeatureSetting(1, 3, "none")).roundtrip([batch])[0]
    expected = np.take_along_axis(
        calibration.points[3][None], indices(calibration, 3, batch).astype(int), axis=2
    )
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("bits", QUANTISED_BITS)
def test_a_frame_without_a_coder_has_its_bits_and_a_short_header(bits):
    calibration = calibrated((12, 7, 9))
    frame = FeatureCodec([calibration], FeatureSetting(1, bits, "none")).encode([features((12, 7, 9), 1)[0]])
    assert len(frame) - -(-12 * 7 * 9 * bits // 8) <= 28


@pytest.mark.parametrize("coder", ["zlib", "zstd", "rans"])
def test_a_coder_that_loses_is_skipped(coder):
    noise = np.random.default_rng(0).uniform(0, 1, (3, 16, 16)).astype(np.float32)
    zero, one = np.zeros(3), np.ones(3)
    flat = {8: np.ones((3, 256), np.uint32)}
    calibration = ChannelCalibration((3, 16, 16), 0, np.arange(3), zero, zero, one, histograms=flat)
    coded, plain = (
        FeatureCodec([calibration], FeatureSetting(1, 8, name)).encode([noise]) for name in (coder, "none")
    )
    assert coded == plain


@pytest.mark.parametrize("coder", ["zlib", "zstd", "rans"])
@pytest.mark.parametrize("bits", QUANTISED_BITS)
def test_a_coder_never_makes_a_frame_longer_and_wins_on_sparse_features(coder, bits):
    calibration = calibrated((12, 14, 14))
    sparse = features((12, 14, 14), 1)[0] * (np.random.default_rng(0).random((12, 14, 14)) < 0.05)
    plain = FeatureCodec([calibration], FeatureSetting(1, bits, "none")).encode([sparse.astype(np.float32)])
    coded = FeatureCodec([calibration], FeatureSetting(1, bits, coder)).encode([sparse.astype(np.float32)])
    assert len(coded) < len(plain)


def test_rans_of_many_values_comes_within_a_percent_of_the_entropy():
    calibration = calibrated((4, 200, 200))
    frame = FeatureCodec([calibration], FeatureSetting(1, 4, "rans")).encode([features((4, 200, 200), 9)[0]])
    shares = calibration.histograms[4] / calibration.histograms[4].sum(axis=1, keepdims=True)
    entropy = -(shares * np.log2(np.maximum(shares, 1e-12))).sum(axis=1).mean()
    assert len(frame) * 8 / 160_000 == pytest.approx(entropy, rel=0.01)


def test_a_smaller_setting_never_sends_more():
    calibration = calibrated((12, 7, 9))
    tensor = features((12, 7, 9), 1)[0]
    for coder in ("none", "zstd"):
        lengths = [
            len(FeatureCodec([calibration], FeatureSetting(1, b, coder)).encode([tensor])) for b in (8, 4, 2)
        ]
        assert lengths == sorted(lengths, reverse=True)


def test_a_bottleneck_frame_that_names_no_weights_is_refused():
    weights = np.eye(4)
    calibration = calibrated((4, 5))
    codec = BottleneckCodec(
        weights, np.zeros(4), weights, np.zeros(4), calibration, FeatureSetting(1, 32, "none")
    )
    forged = write_features(BOTTLENECK, 32, [TensorPart((4, 5), "none", None, 0, None, bytes(80))])
    with pytest.raises(CodecError, match="does not name its weights"):
        codec.decode(forged)


def test_kept_channels_are_rounded_up():
    assert [kept_channels(keep, 12) for keep in (1, 1 / 2, 1 / 8, 1 / 16)] == [12, 6, 2, 1]
    assert kept_channels(1 / 3, 3) == 1


@pytest.mark.parametrize("setting", ["int8-zstd", "fp16-none", "fp32-zlib", "int4-keep1/2-rans"])
@pytest.mark.parametrize("axis", [0, -1])
def test_bottlenecks_restore_a_batch_as_decoding_would_and_refuse_other_weights(setting, axis):
    random = np.random.default_rng(0)
    calibration = calibrated((4, 5, 6) if axis == 0 else (5, 4), axis)
    down_w, up_w = random.standard_normal((4, 16)), random.standard_normal((16, 4))
    setting = FeatureSetting.parse(setting)
    codec = BottleneckCodec(down_w, np.zeros(4), up_w, np.ones(16), calibration, setting)
    batch = random.standard_normal((3, *codec.shape)).astype(np.float32)
    restored = codec.roundtrip([batch])[0]
    for tensor, expected in zip(batch, restored, strict=True):
        assert codec.decode(codec.encode([tensor]))[0].tobytes() == expected.tobytes()
    frame = codec.encode([batch[0]])
    other = BottleneckCodec(down_w, np.zeros(4), up_w, np.zeros(16), calibration, setting)
    with pytest.raises(CodecError, match="which this decoder does not have"):
        other.decode(frame)
    with pytest.raises(CodecError, match="which this decoder does not have"):
        decode(frame, {calibration.digest(): calibration})


def test_a_wide_enough_bottleneck_of_orthogonal_weights_loses_nothing_but_bits():
    weights, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((6, 6)))
    calibration = ChannelCalibration.uncalibrated((6, 4, 4))
    codec = BottleneckCodec(
        weights, np.zeros(6), weights.T, np.zeros(6), calibration, FeatureSetting(1, 32, "zlib")
    )
    tensor = features((6, 4, 4), 0)[0]
    np.testing.assert_allclose(codec.decode(codec.encode([tensor]))[0], tensor, atol=1e-5)


def test_the_documented_frame_is_what_the_encoder_writes_and_the_decoder_reads():
    calibration = ChannelCalibration(
        shape=(3, 2, 2),
        channel_axis=0,
        order=np.array([2, 0, 1]),
        fill=np.array([0.1, 0.5, 0.2]),
        low=np.zeros(3),
        high=np.full(3, 1.5),
    )
    tensor = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15], np.float32).reshape(3, 2, 2) / np.float32(10)
    frame = FeatureCodec([calibration], FeatureSetting.parse("int4-keep2/3-zstd")).encode([tensor])
    shown = "44564601 0104 d653e6f0 01 1003030202 acbb7448a5f6c78c 0204 103298fa"
    assert frame == bytes.fromhex(shown)
    [restored] = decode(frame, {calibration.digest(): calibration})
    np.testing.assert_allclose(restored[[0, 2]], tensor[[0, 2]], atol=1e-6)
    assert (restored[1] == 0.5).all()


def test_rans_frames_stay_readable_in_later_releases():
    counts = {2: np.array([[90, 6, 3, 1], [1, 1, 8, 90]], np.uint32)}
    zero, one = np.zeros(2), np.full(2, 3)
    calibration = ChannelCalibration(
        (2, 40), 0, np.arange(2), zero, zero, one.astype(float), histograms=counts
    )
    tensor = np.zeros((2, 40), np.float32)
    tensor[0, ::9], tensor[1], tensor[1, ::7] = 1, 3, 2
    frame = FeatureCodec([calibration], FeatureSetting(1, 2, "rans")).encode([tensor])
    assert frame.hex() == "445646010102d496be3c01130202284a49323fc572a300020cf7351ae93a7bedcf890a0000"
    np.testing.assert_array_equal(decode(frame, {calibration.digest(): calibration})[0], tensor)
