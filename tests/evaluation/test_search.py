"""SIC against closed forms; A, B and test samples that share nothing; classifiers that learn from B alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from jepalib.errors import JepalibError
from jepalib.evaluation.search import (
    HIGH_LEVEL,
    OnFeatures,
    Sizes,
    Supervised,
    draw,
    fit_linear,
    fit_trees,
    high_level,
)
from jepalib.evaluation.sic import RATES, sic_band, sic_curve
from jepalib.schema import JET_COLUMN


def few_trees(x, y, seed):
    return fit_trees(x, y, seed, members=2, rounds=40)


# --- SIC ---------------------------------------------------------------------------------


def test_two_gaussians_have_the_curve_in_closed_form():
    rng, distance = np.random.default_rng(0), 2.0
    curve = sic_curve(rng.normal(size=200_000), rng.normal(distance, size=200_000))
    expected = norm.sf(norm.isf(curve.fpr) - distance) / np.sqrt(curve.fpr)
    pull = (curve.sic - expected) / np.maximum(curve.error, 1e-12)
    assert np.abs(pull).max() < 4
    assert curve.fpr[0] == pytest.approx(10 / 200_000)
    assert curve.sic[-1] == 1
    assert curve.maximum.value == pytest.approx(expected.max(), rel=0.05)
    assert curve.maximum.value == curve.sic.max()


def test_the_error_is_that_of_repeated_test_samples():
    rng = np.random.default_rng(1)
    curves = [sic_curve(rng.normal(size=4000), rng.normal(1.5, size=500)) for _ in range(300)]
    spread = np.stack([c.sic for c in curves]).std(0)
    mean = np.stack([c.error for c in curves]).mean(0)
    np.testing.assert_allclose(
        mean[:-1][curves[0].fpr[:-1] < 0.9], spread[:-1][curves[0].fpr[:-1] < 0.9], rtol=0.2
    )


@given(seed=st.integers(0, 2**32 - 1), levels=st.integers(1, 50))
@settings(deadline=None, max_examples=40)
def test_a_random_score_never_improves_the_significance(seed, levels):
    """Also one with few levels: equal scores are taken in no order."""
    rng = np.random.default_rng(seed)
    curve = sic_curve(*(rng.integers(0, levels, n).astype(float) for n in (3000, 3000)))
    assert (curve.sic <= 1 + 4 * curve.error).all()
    assert (np.abs(curve.tpr - curve.fpr) < 5 * np.sqrt(2 * curve.fpr / 3000)).all()


def test_a_constant_score_is_exactly_random():
    curve = sic_curve(np.zeros(500), np.zeros(300))
    np.testing.assert_allclose(curve.sic, np.sqrt(curve.fpr))
    assert curve.maximum.value == 1


def test_no_sic_is_quoted_where_too_little_background_passes():
    rng = np.random.default_rng(0)
    background, signal = rng.normal(size=5000), rng.normal(3, size=800)
    curve = sic_curve(background, signal)
    assert curve.fpr.min() == pytest.approx(10 / 5000)
    assert math.isnan(curve.at(1e-3).value)  # 5 background events
    assert curve.at(1e-2).value > 1
    row = curve.figures()
    assert math.isnan(row["sic_1e-4"])
    assert row["sic_1e-2"] == curve.at(1e-2).value
    threshold = np.sort(background)[-50]
    assert curve.at(1e-2).tpr == pytest.approx((signal >= threshold).mean(), abs=0.01)
    loose = sic_curve(background, signal, min_passing=5)
    assert loose.at(1e-3).value > 1
    assert {f"sic_1e{math.log10(r):.0f}" for r in RATES} <= set(row)


def test_bands_hold_seeds_and_test_events():
    rng = np.random.default_rng(0)
    curves = [sic_curve(rng.normal(size=1000), rng.normal(d, size=400)) for d in (1.0, 2.0, 3.0)]
    band = sic_band(curves)
    assert band.seeds == 3
    values = np.stack([c.sic for c in curves])
    np.testing.assert_allclose(band.mean, values.mean(0))
    assert (band.error >= values.std(0, ddof=1)).all()
    assert (band.error**2).sum() > (values.std(0, ddof=1) ** 2).sum()
    np.testing.assert_allclose(sic_band(curves[:1]).error, curves[0].error)
    other = sic_curve(rng.normal(size=999), rng.normal(size=10))
    for bad in ([], [curves[0], other]):
        with pytest.raises(JepalibError, match="all with as many background test events"):
            sic_band(bad)


@pytest.mark.parametrize(
    ("background", "signal", "message"),
    [
        (np.array([0.0, np.nan] * 20), np.zeros(3), "NaN or infinity"),
        (np.zeros(10), np.zeros(3), "10 background and 3 signal test events, with at least 10"),
        (np.zeros(20), np.zeros(0), "0 signal test events"),
    ],
)
def test_what_gives_no_curve(background, signal, message):
    with pytest.raises(JepalibError, match=message):
        sic_curve(background, signal)


# --- samples -----------------------------------------------------------------------------


@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 4),
    signals=st.integers(0, 30),
    told=st.integers(0, 9),
    spare=st.integers(0, 10),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=60)
def test_no_event_is_in_two_samples_and_all_have_their_sizes(sizes, signals, told, spare, seed):
    sizes = Sizes(*sizes, told)
    pools = (sizes.a + sizes.b + sizes.test_background + spare, signals + sizes.test_signal + told + spare)
    drawn = draw(pools, sizes, signals, seed)
    background = np.concatenate([drawn.a, drawn.b, drawn.test_background])
    signal = np.concatenate([drawn.signal, drawn.test_signal, drawn.told_signal])
    assert [len(drawn.a), len(drawn.b), len(drawn.test_background)] == [
        sizes.a,
        sizes.b,
        sizes.test_background,
    ]
    assert [len(drawn.signal), len(drawn.test_signal), len(drawn.told_signal)] == [
        signals,
        sizes.test_signal,
        told,
    ]
    assert len(set(background.tolist())) == len(background)
    assert set(background.tolist()) <= set(range(pools[0]))
    assert len(set(signal.tolist())) == len(signal) == pools[1] - spare
    assert set(signal.tolist()) <= set(range(pools[1]))
    assert drawn.significance == pytest.approx(signals / sizes.b**0.5)


def test_seeds_change_a_and_b_but_not_the_test_events():
    sizes = Sizes(100, 150, 60, 40)
    one, again, other, more = (draw((400, 90), sizes, n, s) for n, s in ((20, 1), (20, 1), (20, 2), (35, 1)))
    assert (one.a == again.a).all()
    assert set(one.a.tolist()) != set(other.a.tolist())
    for drawn in (other, more):
        assert (drawn.test_background == one.test_background).all()
        assert (drawn.test_signal == one.test_signal).all()
    assert (more.signal[:20] == one.signal).all()
    assert (more.b == one.b).all()


def test_too_small_pools_are_refused():
    with pytest.raises(JepalibError, match="250 background events are needed, there are 249"):
        draw((249, 100), Sizes(100, 100, 50, 10), 5, 0)
    with pytest.raises(JepalibError, match="15 signal events are needed, there are 14"):
        draw((250, 14), Sizes(100, 100, 50, 10), 5, 0)
    with pytest.raises(JepalibError, match="18 signal events are needed, there are 17"):
        draw((250, 17), Sizes(100, 100, 50, 10, told=3), 5, 0)
    for bad in (Sizes(100, 0, 50, 10), Sizes(100, 100, 50, 10, told=-1)):
        with pytest.raises(JepalibError, match="give positive numbers"):
            draw((250, 14), bad, 5, 0)


def test_with_pools_twice_as_large_two_seeds_share_half():
    sizes = Sizes(500, 500, 100, 100, told=200)
    one, other = (draw((2100, 900), sizes, 200, seed) for seed in (0, 1))
    for share, first, second in (
        (0.5, np.r_[one.a, one.b], np.r_[other.a, other.b]),
        (0.5, np.r_[one.signal, one.told_signal], np.r_[other.signal, other.told_signal]),
        (0.25, one.told_signal, other.told_signal),
    ):
        assert len(np.intersect1d(first, second)) / len(first) == pytest.approx(share, abs=0.1)


# --- classifiers -------------------------------------------------------------------------


def gaussians(n: int, mean: float, seed: int, noise: int = 2) -> np.ndarray:
    """One telling feature and some that tell nothing."""
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.normal(mean, size=n), rng.normal(size=(n, noise))])


POOLS = (10_000, 3000)
BACKGROUND, SIGNAL = gaussians(POOLS[0], 0.0, 0), gaussians(POOLS[1], 3.0, 1)
SIZES = Sizes(1500, 1500, 7000, 2000, told=480)


def searched(arm, signals: int, seeds, sizes: Sizes = SIZES) -> list:
    return [sic_curve(*arm(draw(arm.pools, sizes, signals, seed), seed)) for seed in seeds]


@pytest.mark.parametrize("fit", [few_trees, fit_linear])
def test_a_signal_in_b_is_found_without_labels(fit):
    curves = searched(OnFeatures(BACKGROUND, SIGNAL, fit), 300, [0, 1])
    best = max(norm.sf(norm.isf(f) - 3.0) / f**0.5 for f in curves[0].fpr)
    assert all(0.6 * best < curve.maximum.value < 1.15 * best for curve in curves)


@pytest.mark.parametrize("fit", [few_trees, fit_linear])
def test_b_without_signal_teaches_nothing(fit):
    """The signal, like background here, passes as often as it does."""
    useless = gaussians(POOLS[0], 0.0, 2), gaussians(POOLS[1], 0.0, 3)
    sizes = Sizes(800, 800, 7000, 2000)
    for curve in searched(OnFeatures(*useless, fit), 0, range(4), sizes):
        assert (np.abs(curve.tpr - curve.fpr) < 5 * np.sqrt(curve.fpr * (1 / 7000 + 1 / 2000))).all()
        assert curve.maximum.value < 1.1
    # A signal that differs: the score looks in a random direction, no better on average.
    band = sic_band(searched(OnFeatures(BACKGROUND, SIGNAL, fit), 0, range(6), sizes))
    assert (band.mean < 1 + 3 * band.error / 6**0.5).all()


def test_the_truth_does_better_and_more_signal_helps():
    trees, told = (kind(BACKGROUND, SIGNAL, few_trees) for kind in (OnFeatures, Supervised))
    runs = {20: searched(trees, 20, range(3)), 500: searched(trees, 500, range(3))}
    means = {count: np.mean([c.at(1e-2).value for c in curves]) for count, curves in runs.items()}
    bound = np.mean([curve.at(1e-2).value for curve in searched(told, 20, range(3))])
    assert bound == pytest.approx(norm.sf(norm.isf(0.01) - 3.0) / 0.1, rel=0.1)  # the best there is
    assert means[20] < means[500] - 1
    assert means[500] < bound + 0.5


def test_the_supervised_bound_never_sees_a_test_event():
    seen = []

    def spy(x, y, seed):
        seen.append((x, y))
        return lambda events: events[:, 0].astype(float)

    rows = np.arange(100.0)[:, None]
    sizes = Sizes(20, 30, 40, 25, told=30)
    drawn = draw((100, 60), sizes, 5, 0)
    background, signal = Supervised(rows, 1000 + rows[:60], spy)(drawn, 0)
    ((x, y),) = seen
    assert not set(x[:, 0]) & (set(background) | set(signal))
    assert [(y == 0).sum(), (y == 1).sum()] == [50, 35]
    assert (x[y == 1] >= 1000).all()
    OnFeatures(rows, 1000 + rows[:60], spy)(drawn, 0)
    x, y = seen[1]
    assert [(y == 0).sum(), (y == 1).sum(), (x[y == 1] >= 1000).sum()] == [20, 35, 5]
    assert not set(x[:, 0]) & (set(background) | set(signal))


def test_samples_of_different_size_weigh_the_same():
    """Nine times as much of A: the score of what tells nothing stays near one half."""
    x, y = gaussians(5000, 0.0, 4), np.repeat([0, 1], [4500, 500])
    for fit in (few_trees, fit_linear):
        assert abs(fit(x, y, 0)(x).mean() - 0.5) < 0.1


@pytest.mark.parametrize("fit", [few_trees, fit_linear])
def test_seeds_repeat_and_one_sample_is_refused(fit):
    x, y = gaussians(600, 0.0, 5), np.arange(600) % 2
    x[y == 1, 0] += 0.5
    np.testing.assert_array_equal(fit(x, y, 3)(x), fit(x, y, 3)(x))
    with pytest.raises(JepalibError, match="0 of 600 events in sample B"):
        fit(x, np.zeros(600, int), 0)


def test_trees_take_nan_and_the_linear_head_refuses_it():
    x, y = gaussians(600, 0.0, 5), np.arange(600) % 2
    x[::7, 1] = np.nan
    assert np.isfinite(few_trees(x, y, 0)(x)).all()
    with pytest.raises(JepalibError, match="hold NaN"):
        fit_linear(x, y, 0)


def test_high_level_observables():
    observables = np.zeros((2, 10), np.float32)
    observables[0, JET_COLUMN["sdmass"]], observables[0, JET_COLUMN["nparticles"]] = 80, 33
    observables[0, JET_COLUMN["tau1"] :] = (0.4, 0.2, 0.05, 0.04)
    observables[1, JET_COLUMN["tau1"]] = 0.1  # two particles: tau2 = tau3 = tau4 = 0
    table = high_level(observables)
    assert len(HIGH_LEVEL) == table.shape[1]
    np.testing.assert_allclose(table, [[80, 0.5, 0.25, 0.8, 33], [0, 0, 0, 0, 0]], rtol=1e-6)
