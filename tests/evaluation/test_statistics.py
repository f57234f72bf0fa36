from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dvfo_evaluation.statistics import Bootstrap


def test_the_interval_of_a_normal_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(1).normal(10.0, 2.0, 400)
    interval = Bootstrap(400).mean(values)
    half = 1.96 * values.std(ddof=1) / 20.0
    assert interval.mean == pytest.approx(values.mean())
    assert interval.low == pytest.approx(values.mean() - half, abs=0.05 * half + 0.01)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.05 * half + 0.01)


def test_the_interval_of_a_skewed_mean_agrees_with_scipy() -> None:
    values = np.random.default_rng(2).exponential(1.0, 60)
    ours = Bootstrap(60, resamples=8000).mean(values)
    theirs = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=8000, rng=3).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.03)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(4)
    bootstrap = Bootstrap(50, resamples=400)
    inside = 0
    for _ in range(300):
        interval = bootstrap.mean(generator.gamma(2.0, 1.0, 50))
        inside += interval.low <= 2.0 <= interval.high
    assert 0.90 <= inside / 300 <= 0.98


def test_values_that_do_not_vary_have_an_interval_of_no_width() -> None:
    interval = Bootstrap(20).mean(np.full(20, 3.25))
    np.testing.assert_allclose(interval, 3.25)


def test_a_paired_ratio_of_proportional_values_is_exact() -> None:
    values = np.random.default_rng(5).random(30) + 0.5
    np.testing.assert_allclose(Bootstrap(30).ratio(0.25 * values, values), 0.25)


def test_a_quantile_is_that_of_all_values_together() -> None:
    values = np.random.default_rng(6).random(5000)
    interval = Bootstrap(50).quantile(values, np.arange(5000) % 50, 0.95)
    assert interval.mean == pytest.approx(np.quantile(values, 0.95), abs=1e-3)
    assert interval.low < interval.mean < interval.high


def test_training_seeds_that_differ_widen_the_interval() -> None:
    episodes = np.random.default_rng(7).normal(0.0, 0.1, 40)
    alike = np.stack([episodes] * 5)
    apart = alike + np.linspace(-1.0, 1.0, 5)[:, None]
    bootstrap = Bootstrap(40, seeds=5)
    narrow, wide = bootstrap.mean(alike), bootstrap.mean(apart)
    assert wide.mean == pytest.approx(narrow.mean)
    assert wide.high - wide.low > 5.0 * (narrow.high - narrow.low)


def test_the_same_resamples_are_drawn_every_time() -> None:
    values = np.random.default_rng(8).random(25)
    assert Bootstrap(25).mean(values) == Bootstrap(25).mean(values)
