"""The learned bottleneck, on tails whose best few channels are known."""

import numpy as np
import pytest
import torch

from dvfo_env.accuracy.importance import bottleneck
from dvfo_env.accuracy.importance.bottleneck import (
    LEVELS,
    common_range,
    mixed,
    position_fisher,
    principal,
    train_bottleneck,
)
from dvfo_env.accuracy.importance.features import CutFeatures, divergence
from dvfo_env.codecs import FeatureSetting
from dvfo_env.errors import CodecError, ConfigError

FINE = FeatureSetting(keep=1, bits=8, coder="none")


def features(count=40, channels=8, read=(1, 4), seed=0):
    """Only the channels `read` matter to the tail, and they are the quietest."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, channels, 4, 4, generator=generator) + 1
    values[:, list(read)] *= 0.2
    values = values + 0.3 * torch.randn(count, channels, 1, 1, generator=generator)
    weights = torch.zeros(3, channels)
    weights[:, list(read)] = 4 * torch.randn(3, len(read), generator=generator)

    def tail(tensors):
        return tensors[0].flatten(2).mean(2) @ weights.T

    return CutFeatures("cut", (values,), tail, tail((values,)))


def test_two_channels_are_enough_where_the_tail_reads_two():
    f = features()
    down_w, down_b, up_w, up_b = principal(f, 2)
    logits = f.tail([mixed(mixed(f.tensors[0], down_w, down_b, 1), up_w, up_b, 1)])
    assert divergence(logits, f.reference).max() < 1e-4


def test_components_of_plain_variance_would_have_missed_them():
    f = features()
    rows = f.rows(0, 10**6)
    _, vectors = np.linalg.eigh(np.cov(rows))
    loudest = vectors[:, -2:]
    assert np.abs(loudest[[1, 4]]).max() < 0.3
    down_w, *_ = principal(f, 2)
    assert down_w[:, [1, 4]].norm() > 10 * down_w[:, [0, 2, 3, 5, 6, 7]].norm()


def test_all_channels_restore_the_tensor():
    f = features(read=tuple(range(8)))
    down_w, down_b, up_w, up_b = principal(f, 8)
    narrow = mixed(f.tensors[0], down_w, down_b, 1)
    torch.testing.assert_close(mixed(narrow, up_w, up_b, 1), f.tensors[0], rtol=1e-3, atol=1e-3)
    rows = narrow.movedim(1, 0).flatten(1)
    variances = rows.var(1, correction=0)
    torch.testing.assert_close(variances[0], torch.tensor(1.0), rtol=1e-3, atol=1e-3)
    assert (variances.diff() <= 1e-4).all()  # the leading channel first


def test_the_fisher_information_knows_what_the_tail_reads():
    fisher = position_fisher(features())
    read = torch.zeros(8, dtype=torch.bool)
    read[[1, 4]] = True
    assert fisher[~read].abs().max() == 0
    assert fisher[read][:, read].diagonal().min() > 0


@pytest.mark.parametrize("bits", sorted(LEVELS))
def test_the_grid_has_one_step_and_the_mean_on_it(bits):
    low, high = common_range(3, bits)
    step = (high - low) / (2**bits - 1)
    np.testing.assert_allclose(step, 6 / LEVELS[bits], rtol=1e-5)
    np.testing.assert_allclose(-low / step, np.rint(-low / step), atol=1e-4)


def test_fewer_bits_mean_a_coarser_step_and_fewer_bytes():
    f = features(read=tuple(range(8)))
    trained = train_bottleneck(f, 8, 4, steps=0)
    codecs = [trained.codec(FeatureSetting(keep=1, bits=bits, coder="rans")) for bits in (8, 6, 4, 3, 2)]
    sizes = [np.mean([len(codec.encode([x])) for x in f.tensors[0][:8].numpy()]) for codec in codecs]
    assert sizes == sorted(sizes, reverse=True)
    assert [LEVELS[bits] for bits in (8, 6, 4, 3, 2)] == sorted(LEVELS.values(), reverse=True)


def test_frames_of_the_codec_decode_to_the_tensors_shape():
    f = features()
    codec = train_bottleneck(f, 3, 4, steps=4).codec(FeatureSetting(keep=1, bits=4, coder="rans"))
    image = f.tensors[0][0].numpy()
    frame = codec.encode([image])
    assert codec.decode(frame)[0].shape == image.shape
    assert len(frame) < image.nbytes / 8


def test_training_that_does_not_help_is_thrown_away(monkeypatch):
    monkeypatch.setattr(bottleneck, "RATE", 1e3)
    spoilt, start = (train_bottleneck(features(), 2, 4, steps=steps) for steps in (4, 0))
    np.testing.assert_array_equal(spoilt.down_w, start.down_w)


def test_the_same_seed_gives_the_same_bottleneck():
    first, second = (train_bottleneck(features(), 2, 4, steps=3, seed=3) for _ in range(2))
    np.testing.assert_array_equal(first.down_w, second.down_w)
    assert first.calibration.digest() == second.calibration.digest()


def test_a_saved_bottleneck_makes_the_same_frames(tmp_path):
    f = features()
    saved = train_bottleneck(f, 3, 4, steps=0)
    saved.save(tmp_path / "b.safetensors")
    setting, image = FeatureSetting(keep=1, bits=4, coder="rans"), f.tensors[0][0].numpy()
    loaded = bottleneck.Bottleneck.load(tmp_path / "b.safetensors")
    assert loaded.codec(setting).encode([image]) == saved.codec(setting).encode([image])


def test_a_file_that_is_no_bottleneck_is_named(tmp_path):
    (tmp_path / "c.safetensors").write_bytes(b"not this")
    with pytest.raises(CodecError, match=r"c\.safetensors"):
        bottleneck.Bottleneck.load(tmp_path / "c.safetensors")


def test_tokens_are_mixed_along_their_last_axis():
    tokens = torch.randn(20, 5, 6, generator=torch.Generator().manual_seed(0))

    def tail(tensors):
        return tensors[0].mean(1)[:, :3] * 3

    f = CutFeatures("tokens", (tokens,), tail, tail((tokens,)))
    codec = train_bottleneck(f, 3, None, steps=2).codec(FINE)
    restored = codec.roundtrip([tokens.numpy()])[0]
    assert restored.shape == tokens.shape
    assert divergence(tail([torch.from_numpy(restored)]), f.reference).max() < 0.02


@pytest.mark.parametrize("channels", [0, 9])
def test_a_width_that_is_none_is_refused(channels):
    with pytest.raises(ConfigError, match=r"1 \.\. 8"):
        train_bottleneck(features(), channels)


def test_several_crossing_tensors_are_refused():
    tensor = torch.zeros(4, 2, 3, 3)
    f = CutFeatures("two", (tensor, tensor), lambda t: t[0].flatten(1), tensor.flatten(1))
    with pytest.raises(ConfigError, match="2 tensors cross"):
        train_bottleneck(f, 1)
