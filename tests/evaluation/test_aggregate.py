from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from dvfo_evaluation.aggregate import (
    interquartile_mean,
    mean_score,
    mean_share_saved,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    profile_band,
    stratified_interval,
)
from dvfo_evaluation.suite_scores import over_seeds


def test_the_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    scores = np.array([[0.0, 4.0], [1.0, 5.0], [2.0, 6.0], [3.0, 700.0]])
    assert interquartile_mean(scores) == pytest.approx((2.0 + 3.0 + 4.0 + 5.0) / 4.0)
    one_run = np.array([[0.2, 0.9, 0.4]])  # fewer than four values: nothing is cut
    assert interquartile_mean(one_run) == pytest.approx(0.5)


@pytest.mark.parametrize("shape", [(5, 3), (3, 7), (10, 10)])
def test_the_interquartile_mean_is_the_trimmed_mean_of_scipy(shape: tuple[int, int]) -> None:
    scores = np.random.default_rng(1).normal(size=shape)
    assert interquartile_mean(scores) == pytest.approx(stats.trim_mean(scores, 0.25, axis=None))


def test_statistics_of_many_resamples_are_those_of_each() -> None:
    scores = np.random.default_rng(2).normal(size=(6, 4, 3))
    for statistic in (interquartile_mean, mean_score, optimality_gap):
        assert statistic(scores) == pytest.approx([float(statistic(one)) for one in scores])


def test_scores_above_the_target_do_not_make_up_for_others() -> None:
    assert optimality_gap(np.array([[0.5, 3.0]])) == pytest.approx(0.25)
    assert optimality_gap(np.array([[2.0, 3.0]])) == 0.0
    assert optimality_gap(np.array([[0.0], [1.0]]), target=0.5) == pytest.approx(0.25)


def test_what_is_saved_on_average_does_not_depend_on_who_is_below_the_line() -> None:
    assert mean_share_saved([0.5, 2.0]) == pytest.approx(0.0)
    assert mean_share_saved([0.25, 1.0]) == pytest.approx(0.5)
    ratios = np.array([0.3, 0.9, 1.4])
    assert 1.0 - mean_share_saved(1.0 / ratios) == pytest.approx(1.0 / (1.0 - mean_share_saved(ratios)))


def test_a_profile_is_the_share_of_scores_above_each_threshold() -> None:
    scores = np.array([[0.1, 0.5], [0.3, 0.9]])
    profile = performance_profile(scores, np.array([-1.0, 0.1, 0.3, 0.6, 0.9]))
    assert profile == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.0])


def test_the_probability_of_improvement_is_the_mean_mann_whitney_statistic() -> None:
    generator = np.random.default_rng(3)
    ours, theirs = generator.normal(0.3, 1.0, (5, 4)), generator.normal(0.0, 1.0, (6, 4))
    expected = [
        stats.mannwhitneyu(ours[:, s], theirs[:, s]).statistic / 30.0  # of 5 x 6 pairs
        for s in range(4)
    ]
    assert probability_of_improvement(ours, theirs) == pytest.approx(np.mean(expected))


def test_ties_count_half() -> None:
    assert probability_of_improvement(np.array([[1.0], [2.0]]), np.array([[1.0]])) == pytest.approx(0.75)
    same = np.random.default_rng(4).normal(size=(5, 3))
    assert probability_of_improvement(same, same) == pytest.approx(0.5)


def test_the_interval_of_the_mean_is_the_textbook_one_for_stratified_runs() -> None:
    scores = np.random.default_rng(5).normal(np.array([0.0, 5.0, 20.0]), 1.0, (40, 3))
    interval = stratified_interval(mean_score, [scores], resamples=4000)
    half = (
        1.96 * float(np.sqrt((scores.var(axis=0) / 40).sum())) / 3.0
    )  # differences of scenarios do not count
    assert interval.mean == pytest.approx(scores.mean())
    assert interval.high - interval.mean == pytest.approx(half, rel=0.1)
    assert interval.mean - interval.low == pytest.approx(half, rel=0.1)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(6)
    inside = 0
    for trial in range(200):
        scores = generator.normal(np.linspace(0.2, 0.8, 8), 0.1, (10, 8))
        interval = stratified_interval(mean_score, [scores], resamples=300, seed=trial)
        inside += interval.low <= 0.5 <= interval.high
    assert 0.88 <= inside / 200 <= 0.98


def test_one_run_has_an_interval_only_where_its_episodes_were_resampled() -> None:
    scores = np.array([[0.4, 0.6]])
    assert stratified_interval(mean_score, [scores]) == pytest.approx((0.5, 0.5, 0.5))
    draws = scores + np.random.default_rng(7).normal(0.0, 0.1, (2000, 1, 1))
    interval = stratified_interval(mean_score, [scores], [draws])
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * 0.1, rel=0.1)


def test_what_all_share_does_not_blur_who_is_better() -> None:
    theirs = np.array([[0.4, 0.6]])
    common = np.random.default_rng(8).normal(0.0, 1.0, (2000, 1, 1))
    draws = [theirs + 0.01 + common, theirs + common]
    interval = stratified_interval(probability_of_improvement, [theirs + 0.01, theirs], draws)
    assert interval == pytest.approx((1.0, 1.0, 1.0))


def test_a_band_lies_around_its_profile() -> None:
    scores = np.random.default_rng(9).random((10, 6))
    share, low, high = profile_band(scores, None, np.linspace(0.0, 1.0, 11), resamples=500)
    assert (low <= share + 1e-12).all()
    assert (share <= high + 1e-12).all()
    assert share[0] == 1.0
    assert share[-1] == 0.0


def test_the_interval_over_seeds_is_students() -> None:
    values = np.array([0.50, 0.52, 0.49, 0.53, 0.51])
    expected = stats.t.interval(0.95, 4, loc=values.mean(), scale=stats.sem(values))
    found = over_seeds(values)
    assert (found.low, found.high) == pytest.approx(expected)
    assert over_seeds(np.array([0.7])) == (0.7, 0.7, 0.7)
