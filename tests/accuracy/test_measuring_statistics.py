"""Intervals of shares and paired drops: against scipy's, and for views of few photographs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from dvfo_env.accuracy.measuring.result import difficulty_edges
from dvfo_env.accuracy.measuring.statistics import Sample, paired_drop, wilson

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize(("hits", "trials"), [(0, 10), (3, 10), (10, 10), (9295, 10_000)])
def test_shares_of_independent_images_have_wilsons_interval(hits: int, trials: int) -> None:
    theirs = binomtest(hits, trials).proportion_ci(method="wilson")
    ours = wilson(hits, trials)
    assert ours.value == hits / trials
    assert ours.low == pytest.approx(theirs.low, abs=1e-12)
    assert ours.high == pytest.approx(theirs.high, abs=1e-12)


def test_the_interval_of_a_paired_drop_covers_the_truth_in_95_of_100_cases() -> None:
    lost, won, images, cases = 0.03, 0.01, 500, 4000
    counts = GENERATOR.multinomial(images, [lost, won, 1 - lost - won], size=cases)
    covered = 0
    for down, up, _ in counts:
        drop = paired_drop(int(down), int(up), images)
        covered += drop.low <= lost - won <= drop.high
    assert covered / cases == pytest.approx(0.95, abs=0.015)


def test_a_drop_is_paired() -> None:
    before = np.array([True] * 90 + [False] * 10)
    sample = Sample(np.arange(100))
    nothing = sample.drop(before, before)
    assert nothing is not None
    assert nothing.value == 0.0
    other = before[::-1].copy()
    swapped = sample.drop(before, other)
    assert swapped is not None
    assert swapped.value == 0.0
    assert swapped.high > nothing.high  # ten images lost and ten won say less than none


def test_views_of_one_photograph_are_not_independent_images() -> None:
    clusters = np.tile(np.arange(20), 10)
    alike = np.arange(20) < 14
    views = alike[clusters]
    of_views, of_images = Sample(clusters).share(views), Sample(np.arange(200)).share(views)
    assert of_views is not None
    assert of_images is not None
    assert of_views.value == of_images.value == pytest.approx(0.7)
    assert of_views.high - of_views.low > 2.5 * (of_images.high - of_images.low)


def test_photographs_that_all_came_out_alike_leave_some_doubt() -> None:
    sample = Sample(np.tile(np.arange(20), 10))
    every = np.ones(200, dtype=bool)
    share, drop = sample.share(every), sample.drop(every, every)
    assert share is not None
    assert drop is not None
    assert share.high == 1.0
    assert share.low == pytest.approx(wilson(20, 20).low)
    assert drop.value == 0.0
    assert drop.low == -drop.high
    assert drop.high > 0.1


def test_a_class_without_images_has_no_share() -> None:
    bits = np.ones(4, dtype=bool)
    assert Sample(np.arange(4)).share(bits, ~bits) is None
    assert Sample(np.array([0, 0, 1, 1])).drop(bits, bits, ~bits) is None


def test_classes_of_difficulty_are_quarters_unless_one_would_be_nearly_empty() -> None:
    even = np.linspace(0.2, 1.0, 1001)
    assert difficulty_edges(even, even) == pytest.approx([0.4, 0.6, 0.8])
    assert difficulty_edges(even, np.linspace(0.55, 1.0, 100)) == pytest.approx([0.6, 0.8])
    assert difficulty_edges(even, np.full(100, 0.9)) == []
