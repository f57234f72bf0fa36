"""Rankings, ranges, calibrations and the attention, on networks small enough to know the answer."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from dvfo_env.accuracy.importance import (
    RANKINGS,
    CutFeatures,
    better_fill,
    calibrate,
    channel_axis,
    load_attention,
    order_of,
    reorder,
    save_attention,
    static_importance,
)
from dvfo_env.accuracy.importance.gates import gate_gradients, gated, keep_gates, means
from dvfo_env.accuracy.importance.ranges import METHODS, clipping_range
from dvfo_env.accuracy.importance.train_attention import (
    chosen_divergence,
    initial_networks,
    sensitivity,
    soft_gates,
    train_attention,
)
from dvfo_env.codecs.quantiser import indices
from dvfo_env.errors import CodecError, ConfigError


def linear_tail(weights):
    """Logits are a linear map of each channel's mean: how much a channel matters is known."""
    matrix = torch.as_tensor(weights, dtype=torch.float32)
    return lambda tensors: tensors[0].flatten(2).mean(2) @ matrix.T


def features(count=48, channels=8, size=6, seed=0, weights=None):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(count, channels, size, size, generator=generator) + 0.5
    values = values + torch.randn(count, channels, 1, 1, generator=generator)
    if weights is None:
        weights = torch.randn(5, channels, generator=generator)
    tail = linear_tail(weights)
    return CutFeatures("cut", (values,), tail, tail((values,)))


def two_tensors():
    """A convolutional tensor and tokens that cross together."""
    torch.manual_seed(1)
    tail = nn.Linear(6 + 4, 3)
    maps, tokens = torch.randn(24, 6, 5, 5), torch.randn(24, 7, 4)

    def run(tensors):
        return tail(torch.cat([tensors[0].mean((2, 3)), tensors[1].mean(1)], 1))

    with torch.no_grad():
        return CutFeatures("two", (maps, tokens), run, run((maps, tokens)))


class TestFeatures:
    def test_channels_are_first_in_maps_and_last_in_tokens(self):
        assert [channel_axis(shape) for shape in ((3, 8, 8), (7, 4), (10,))] == [0, -1, 0]
        assert two_tensors().channels == (6, 4)

    def test_collect_keeps_what_crosses_and_what_the_whole_network_answers(self):
        head, tail = nn.Conv2d(3, 4, 1), nn.Sequential(nn.Flatten(), nn.Linear(4 * 9, 2))
        images = torch.randn(20, 3, 3, 3)
        collected = CutFeatures.collect("x", lambda x: (head(x),), lambda t: tail(t[0]), images)
        with torch.no_grad():
            torch.testing.assert_close(collected.reference, tail(head(images)))
        assert collected.tensors[0].shape == (20, 4, 3, 3)

    def test_unequal_counts_are_refused(self):
        with pytest.raises(ConfigError, match="as many"):
            CutFeatures("x", (torch.zeros(3, 2, 2, 2),), lambda t: t[0], torch.zeros(4, 2))

    def test_some_spreads_over_the_whole_set(self):
        some = features(48).some(5)
        assert len(some) == 5
        torch.testing.assert_close(some.tensors[0][-1], features(48).tensors[0][-1])


class TestRankings:
    def test_magnitude_and_variance_are_those_of_numpy(self):
        f = features()
        values = f.tensors[0].numpy()
        np.testing.assert_allclose(
            static_importance(f, "magnitude")[0], np.abs(values).mean((0, 2, 3)), rtol=1e-5
        )
        np.testing.assert_allclose(static_importance(f, "variance")[0], values.var((0, 2, 3)), rtol=1e-4)

    def test_taylor_finds_the_only_channel_that_the_tail_reads(self):
        weights = torch.zeros(5, 8)
        weights[:, 3] = torch.arange(5.0)
        f = features(weights=weights)
        importance = static_importance(f, "taylor")[0]
        assert order_of(importance)[0] == 3
        assert importance[[0, 1, 2, 4, 5, 6, 7]].abs().max() < 1e-6

    def test_gate_gradients_are_the_slopes_of_fading_a_channel(self):
        f = features(count=3)
        fills = means(f)
        gradient = gate_gradients(f, fills)[0]

        def log_probability(gates):
            logits = f.tail(gated(f, f.tensors, fills, [gates]))
            return logits.double().log_softmax(-1).gather(-1, f.reference.argmax(-1, keepdim=True)).sum(1)

        step, open_gates = 1e-2, torch.ones(8)
        for channel in (0, 5):
            less = open_gates.clone()
            less[channel] -= step
            more = open_gates.clone()
            more[channel] += step
            slope = (log_probability(more) - log_probability(less)) / (2 * step)
            torch.testing.assert_close(gradient[:, channel].double(), slope, rtol=1e-2, atol=1e-4)

    def test_every_ranking_orders_every_crossing_tensor(self):
        f = two_tensors()
        for ranking in set(RANKINGS) - {"attention"}:
            shapes = [tuple(importance.shape) for importance in static_importance(f, ranking)]
            assert shapes == [(6,), (4,)]

    def test_an_unknown_ranking_is_named(self):
        with pytest.raises(ConfigError, match="'size'"):
            static_importance(features(), "size")

    def test_equal_importance_keeps_the_lower_channel(self):
        assert keep_gates(torch.ones(6), 2).tolist() == [1, 1, 0, 0, 0, 0]


class TestRanges:
    @pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
    def test_least_squares_reconstructs_no_worse_than_the_full_range(self, bits):
        rng = np.random.default_rng(0)
        rows = np.stack(
            [rng.standard_t(3, 20_000), rng.uniform(-1, 3, 20_000), np.maximum(rng.normal(size=20_000), 0)]
        ).astype(np.float32)

        def error(method):
            low, high = clipping_range(rows, bits, method)
            step = (high - low)[:, None] / (2**bits - 1)
            index = np.clip(np.rint((rows - low[:, None]) / step), 0, 2**bits - 1)
            return ((rows - low[:, None] - step * index) ** 2).mean(1)

        assert (error("least-squares") <= error("min-max") * 1.001).all()
        if bits <= 4:
            assert error("least-squares")[0] < error("min-max")[0] / 2  # heavy tails: clipping pays most

    @pytest.mark.parametrize("method", METHODS)
    def test_a_constant_channel_has_an_empty_range(self, method):
        low, high = clipping_range(np.full((1, 100), 2.5, np.float32), 4, method)
        np.testing.assert_allclose([low[0], high[0]], 2.5, rtol=1e-6)

    def test_two_values_at_one_bit_more_than_needed_are_met_exactly(self):
        rows = np.tile(np.array([[0.0, 3.0]], np.float32), 500)
        low, high = clipping_range(rows, 2)
        points = np.linspace(low[0], high[0], 4)
        assert np.abs(points[:, None] - [0, 3]).min(0).max() < 1e-5


class TestCalibrate:
    def test_histograms_count_every_value_with_the_codecs_own_indices(self):
        f = features()
        calibration = calibrate(f, "magnitude", bits=(4, 2))[0]
        batch = f.tensors[0].numpy()
        for bits in (4, 2):
            index = indices(calibration, bits, batch)
            for channel in (0, 7):
                counts = np.bincount(index[:, channel].reshape(-1), minlength=2**bits)
                np.testing.assert_array_equal(calibration.histograms[bits][channel], counts)

    def test_points_reconstruct_better_than_the_grid(self):
        f = features()
        with_points = calibrate(f, "magnitude", bits=(2,))[0]
        without = calibrate(f, "magnitude", bits=(2,), points=False)[0]
        batch = f.tensors[0].numpy()
        index = indices(with_points, 2, batch).reshape(*batch.shape).astype(int)
        low, high = without.range_at(2)
        grid = np.linspace(low, high, 4, axis=1)

        def error(points):
            return ((points[np.arange(8)[None, :, None, None], index] - batch) ** 2).mean()

        assert error(with_points.points[2]) <= error(grid)

    def test_tokens_are_calibrated_along_their_last_axis(self):
        maps, tokens = calibrate(two_tensors(), "variance", bits=(4,))
        assert (maps.channel_axis, maps.channels) == (0, 6)
        assert (tokens.channel_axis, tokens.channels) == (-1, 4)

    def test_the_fill_is_the_mean_where_zero_is_worse(self):
        f = features()
        shifted = CutFeatures("x", (f.tensors[0] + 10,), f.tail, f.tail((f.tensors[0] + 10,)))
        fills = better_fill(shifted, static_importance(shifted, "variance"))
        torch.testing.assert_close(fills[0], means(shifted)[0])

    def test_reordering_changes_the_order_alone(self):
        calibration = calibrate(features(), "magnitude", bits=(4,))[0]
        other = reorder(calibration, torch.arange(8.0))
        assert other.order.tolist() == [7, 6, 5, 4, 3, 2, 1, 0]
        np.testing.assert_array_equal(other.histograms[4], calibration.histograms[4])


class TestAttention:
    @pytest.mark.parametrize("make", [features, two_tensors])
    def test_the_device_computes_what_is_trained(self, make):
        f = make()
        torch.manual_seed(0)
        for number, network in enumerate(initial_networks(f, means(f))):
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter += 0.3 * torch.randn_like(parameter)
                values = f.tensors[number][:4]
                there = network(values)
            attention = network.export(f.channel_axes[number])
            here = np.stack([attention.importance(value) for value in values.numpy()])
            np.testing.assert_allclose(here, there.numpy(), rtol=1e-3, atol=1e-3)

    def test_training_that_does_not_help_is_thrown_away(self, monkeypatch):
        module = sys.modules["dvfo_env.accuracy.importance.train_attention"]
        monkeypatch.setattr(module, "RATE", 1e3)
        spoilt, start = (train_attention(features(), steps=steps)[0] for steps in (4, 0))
        np.testing.assert_array_equal(spoilt.bias, start.bias)

    def test_what_training_helps_is_kept(self):
        torch.manual_seed(3)
        noise, level = 1.2 * torch.randn(64, 4, 6, 6), torch.randn(64, 4, 1, 1).expand(64, 4, 6, 6)
        values = torch.cat([noise, level], 1)  # louder, but the tail reads means
        tail = linear_tail(torch.randn(5, 8))
        f = CutFeatures("cut", (values,), tail, tail((values,)))
        trained, start = (train_attention(f, steps=steps) for steps in (48, 0))
        assert not np.array_equal(trained[0].bias, start[0].bias)
        assert chosen_divergence(f, trained) < chosen_divergence(f, start)

    def test_the_same_seed_gives_the_same_attention(self):
        first, second = (train_attention(features(), steps=3, seed=5)[0] for _ in range(2))
        for name, array in first.arrays().items():
            np.testing.assert_array_equal(array, second.arrays()[name])

    def test_an_input_chooses_the_channels_in_which_it_stands_out(self):
        f = features()
        attention = train_attention(f, steps=0)[0]
        image = means(f)[0][:, None, None].expand(8, 6, 6).clone()
        image[6] += 5
        assert attention.importance(image.numpy()).argmax() == 6

    def test_maps_say_how_much_every_position_matters(self):
        f = two_tensors()
        for attention, tensor in zip(train_attention(f, steps=2), f.tensors, strict=True):
            maps = attention.maps(tensor[0].numpy())
            assert maps.shape == tuple(tensor.shape[1:])
            assert maps.min() >= 0
            assert maps.max() <= 1

    def test_saved_attentions_load_as_they_were(self, tmp_path):
        f = two_tensors()
        saved = train_attention(f, steps=1)
        save_attention(tmp_path / "a.safetensors", saved)
        for attention, before, tensor in zip(
            load_attention(tmp_path / "a.safetensors"), saved, f.tensors, strict=True
        ):
            value = tensor[0].numpy()
            np.testing.assert_array_equal(attention.importance(value), before.importance(value))

    def test_a_file_that_is_no_attention_is_named(self, tmp_path):
        (tmp_path / "b.safetensors").write_bytes(b"not this")
        with pytest.raises(CodecError, match=r"b\.safetensors"):
            load_attention(tmp_path / "b.safetensors")

    def test_soft_gates_trade_channels_instead_of_opening_all(self):
        scores = torch.randn(3, 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
        soft_gates(scores, 1 / 4, 0.5).sum().backward()
        assert scores.grad.abs().max() < 1e-5
        hard = soft_gates(scores.detach(), 1 / 4, 1e-4)
        torch.testing.assert_close(hard, keep_gates(scores.detach(), 4))

    def test_sensitivity_is_the_mean_squared_slope_of_drawn_classes(self):
        weights = torch.zeros(5, 8)
        weights[:, 2] = torch.tensor([0.0, 1, 2, 3, 4])
        torch.manual_seed(0)
        values = sensitivity(features(weights=weights))[0]
        assert values[2] > 0
        assert values.sum() == values[2]
