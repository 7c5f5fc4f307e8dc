"""The bump hunt: fits and significances in closed form, uniform toys, bumps found and not made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, kstest, norm, poisson

from jepalib.errors import JepalibError
from jepalib.evaluation.bump_hunt import (
    by_mass,
    check_plan,
    dijet_features,
    draw_signals,
    fit_discriminant,
    fold_scores,
    hunt,
    sculpting,
    select,
)
from jepalib.evaluation.search import fit_linear, fit_trees
from jepalib.evaluation.spectrum import (
    DIJET,
    Shape,
    Window,
    excess,
    expected_range,
    fit_sidebands,
    goodness,
    significance,
    toys,
)

WINDOW = Window(np.linspace(2000.0, 5000.0, 31), 3300.0, 3700.0)


def falling(total: float, window: Window = WINDOW) -> np.ndarray:
    """Expected events by bin of a dijet function."""
    x = window.centres / 13000
    shape = (1 - x) ** 8 / x**5 * np.diff(window.edges)
    return total * shape / shape.sum()


# --- fit ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [DIJET, Shape("dijet", 4), Shape("polynomial", 5)])
def test_the_fit_finds_the_function_it_is_made_of(shape):
    expected = falling(1e9)
    found = fit_sidebands(np.rint(expected).astype(int), WINDOW, shape)
    close = 1e-2 if shape.function == "polynomial" else 1e-5  # ln(1 - x) is no polynomial in ln x
    np.testing.assert_allclose(found.expected, expected, rtol=5 * close)
    assert found.total == pytest.approx(expected[WINDOW.inside].sum(), rel=close)
    assert found.parameters == shape.parameters


def test_errors_of_the_fit_are_the_spread_of_toys():
    rng, expected = np.random.default_rng(0), falling(20_000)
    fits = [fit_sidebands(counts, WINDOW) for counts in rng.poisson(expected, (200, 30))]
    totals = np.array([one.total for one in fits])
    truth = expected[WINDOW.inside].sum()
    assert totals.std() == pytest.approx(fits[0].error, rel=0.15)
    assert abs(totals.mean() - truth) < 4 * totals.std() / 200**0.5
    pulls = (np.stack([f.expected for f in fits]) - expected) / np.stack([f.errors for f in fits])
    assert pulls.std() == pytest.approx(1, abs=0.1)


def test_the_signal_region_is_not_looked_at():
    counts = np.random.default_rng(1).poisson(falling(5000))
    other = counts.copy()
    other[WINDOW.inside] += 500
    assert fit_sidebands(counts, WINDOW).total == fit_sidebands(other, WINDOW).total


def test_goodness_is_uniform_for_the_right_function_and_small_for_a_wrong_one():
    rng = np.random.default_rng(2)
    fits = [(n, fit_sidebands(n, WINDOW)) for n in rng.poisson(falling(20_000), (150, 30))]
    assert kstest([goodness(n, f, WINDOW) for n, f in fits], "uniform").pvalue > 0.01
    wavy = np.rint(falling(20_000) * (1 + 0.3 * np.sin(np.arange(30)))).astype(int)
    assert goodness(wavy, fit_sidebands(wavy, WINDOW), WINDOW) < 1e-6


def test_sparse_and_empty_sidebands():
    counts = np.zeros(30, int)
    with pytest.raises(JepalibError, match="0 events in 26 sideband bins for 3 parameters"):
        fit_sidebands(counts, WINDOW)
    counts[[0, 1, 3, 25]] = 1
    found = fit_sidebands(counts, WINDOW)
    assert np.isfinite(found.expected).all()
    assert 0 < found.total < 4
    few = Window(np.array([1.0, 2.0, 3.0, 4.0]), 2.0, 3.0)
    with pytest.raises(JepalibError, match="2 sideband bins for 3 parameters"):
        fit_sidebands(np.array([4, 4, 4]), few)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Window(np.array([1.0, 2.0, 2.0, 3.0]), 2.0, 3.0), "must rise"),
        (lambda: Window(np.array([1.0, 2.0, 3.0, 4.0]), 2.0, 3.5), "two of the bin edges"),
        (lambda: Window(np.array([1.0, 2.0, 3.0, 4.0]), 1.0, 3.0), "sidebands on either side"),
        (lambda: Shape("spline", 3), "there are 'dijet'"),
        (lambda: Shape("dijet", 5), "with 5 parameters"),
        (lambda: Shape(energy=4000.0).terms(WINDOW), "masses up to 4950 GeV at √s = 4000 GeV"),
        (lambda: WINDOW.regions(np.array([2500.0, 1999.0])), "1 of 2 masses are not in 2000 to 5000 GeV"),
        (lambda: excess(3, 0.0, 1.0), "must be above 0"),
    ],
)
def test_what_is_refused(make, message):
    with pytest.raises(JepalibError, match=message):
        make()


# --- significance -------------------------------------------------------------------------


def test_significance_against_closed_forms():
    # Without uncertainty: sqrt(2 (n ln n/b - (n - b))); with it, for many events, s / sqrt(b + sigma^2).
    assert significance(30, 20, 1e-3) == pytest.approx((2 * (30 * np.log(1.5) - 10)) ** 0.5, rel=1e-5)
    assert significance(1_030_000, 1e6, 2e4) == pytest.approx(3e4 / (1e6 + 4e8) ** 0.5, rel=0.03)
    assert significance(20, 20, 3.0) == pytest.approx(0, abs=1e-6)
    assert significance(10, 20, 3.0) < 0
    assert significance(0, 5, 2.0) < 0


@given(b=st.floats(20, 3000), share=st.floats(0.02, 0.2), shift=st.floats(-2, 4))
@settings(deadline=None, max_examples=80)
def test_the_exact_test_and_the_asymptotic_one_agree(b, share, shift):
    observed = round(b + shift * (b + (share * b) ** 2) ** 0.5)
    found = excess(observed, b, share * b)
    assert norm.isf(found.p) == pytest.approx(found.z, abs=0.12)


def test_the_exact_test_is_binomial():
    """n of n + m events with probability 1/(1 + tau), where m events know b = m/tau."""
    n, m, tau = 14, 30, 4.0
    found = excess(n, m / tau, m**0.5 / tau)
    share = 1 / (1 + tau)
    expected = [binom.sf(k - 1, n + m, share) for k in (n, n + 1)]
    assert found.p == pytest.approx(np.mean(expected), rel=1e-9)
    sharp = excess(14, 7.5, 1e-4)
    assert sharp.p == pytest.approx(poisson.sf(13, 7.5) - poisson.pmf(14, 7.5) / 2, rel=1e-3)


def test_background_only_gives_uniform_p_values():
    found = toys(falling(5000), WINDOW, 300, seed=3)
    p = np.array([one.p for one in found])
    assert kstest(p, "uniform").pvalue > 0.01
    assert kstest([one.z for one in found], "norm").pvalue > 0.01
    assert 0.02 < (p < 0.05).mean() < 0.09


def test_at_low_counts_the_mid_p_value_is_right_on_average():
    p = np.array([one.p for one in toys(falling(200), WINDOW, 400, seed=4)])  # 17 in the signal region
    assert p.mean() == pytest.approx(0.5, abs=0.05)
    assert (p < 0.05).mean() < 0.09
    assert (p < 0.32).mean() == pytest.approx(0.32, abs=0.08)


def test_an_injected_signal_has_the_expected_significance():
    background, signal = falling(10_000), np.where(WINDOW.inside, 30.0, 0.0)
    found = toys(background + signal, WINDOW, 200, seed=5)
    median, low, high = expected_range(found)
    fit = fit_sidebands(np.rint(background).astype(int), WINDOW)
    b = background[WINDOW.inside].sum()
    asimov = significance(b + 120, b, fit.error)
    assert asimov > 3
    assert median == pytest.approx(asimov, abs=0.25)
    assert high - low == pytest.approx(2, abs=0.4)


# --- selection ----------------------------------------------------------------------------


@given(seed=st.integers(0, 999), efficiency=st.floats(0.05, 0.9), levels=st.integers(1, 9))
@settings(deadline=None, max_examples=40)
def test_the_cut_keeps_the_share_of_sideband_events_that_is_asked(seed, efficiency, levels):
    rng = np.random.default_rng(seed)
    scores, fold = rng.integers(0, levels, 900).astype(float), rng.integers(0, 3, 900)
    sideband = rng.random(900) < 0.8
    passed = select(scores, fold, sideband, efficiency)
    for number in range(3):
        own = fold == number
        assert passed[own & sideband].sum() == round(efficiency * (own & sideband).sum())
        if passed[own].any() and not passed[own].all():
            assert scores[own & passed].min() >= scores[own & ~passed].max()
    assert select(scores, fold, sideband, 1.0).all()


def test_a_hard_cut_on_background_keeps_the_same_share_of_both_regions():
    rng, shares = np.random.default_rng(0), []
    for _ in range(400):  # 5 folds, of which 4 sideband events each pass
        scores, fold, sideband = rng.random(2500), rng.integers(0, 5, 2500), rng.random(2500) < 0.8
        passed = select(scores, fold, sideband, 0.01)
        shares.append((passed[~sideband].mean(), passed[sideband].mean()))
    shares = np.array(shares)
    error = shares[:, 0].std() / len(shares) ** 0.5
    assert error < 0.05 * shares[:, 1].mean(), "a cut at the first event that fails keeps a quarter more"
    assert abs(shares[:, 0].mean() - shares[:, 1].mean()) < 4 * error


def test_cuts_that_leave_nothing_are_refused():
    scores, fold, sideband = np.arange(20.0), np.zeros(20, int), np.ones(20, bool)
    with pytest.raises(JepalibError, match="leaves none of 20 sideband events"):
        select(scores, fold, sideband, 0.01)
    with pytest.raises(JepalibError, match="no share above 0"):
        select(scores, fold, sideband, 1.5)
    mass = np.linspace(2000, 4999, 200)
    with pytest.raises(JepalibError, match="leaves 17 sideband events, 30 needed"):
        hunt(mass, np.arange(200.0), np.zeros(200, int), WINDOW, [0.1])


def test_no_event_is_scored_by_a_model_that_saw_it():
    x = np.arange(100.0)[:, None]
    inside = x[:, 0] % 4 == 0

    def memory(seen, y, seed):
        assert len(seen) == 80
        assert y.sum() == 20
        return lambda events: np.isin(events[:, 0], seen[:, 0]).astype(float)

    scores, fold = fold_scores(x, inside, memory, folds=5)
    assert (scores == 0).all()
    assert np.bincount(fold).tolist() == [20] * 5
    with pytest.raises(JepalibError, match="3 events in the signal region, 97 in the sidebands, 5 folds"):
        fold_scores(x, x[:, 0] < 3, memory, folds=5)


# --- end to end -----------------------------------------------------------------------------


def events(background: int, signal: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masses, features that know nothing of the mass of the background, and the truth."""
    rng = np.random.default_rng(seed)
    bins = rng.choice(30, rng.poisson(background), p=falling(1.0))
    mass = WINDOW.edges[bins] + 100 * rng.random(len(bins))
    n = rng.poisson(signal) if signal else 0
    mass = np.concatenate([mass, rng.uniform(3300, 3700, n)])
    truth = np.arange(len(mass)) >= len(bins)
    return mass, rng.normal(2.5 * truth[:, None] * [1, 0, 0], 1.0, (len(mass), 3)), truth


def quick(x, y, seed):
    """One linear discriminant without a choice of C: hundreds of trainings in seconds."""
    centre = x.mean(0)
    direction = np.linalg.solve(np.cov(x.T), x[y == 1].mean(0) - x[y == 0].mean(0))
    return lambda other: (other - centre) @ direction


def test_an_injected_signal_is_found_end_to_end():
    """Invisible in the plain spectrum, plain after the cut; the pipeline finds what toys expect."""
    plain, cut, expected = [], [], []
    for seed in range(12):
        mass, x, truth = events(6000, 35, seed)
        inside = WINDOW.regions(mass)
        first, second = hunt(mass, *fold_scores(x, inside, quick, 3, seed), WINDOW, [1.0, 0.02])
        assert first.passed.all()
        assert np.isnan(sculpting(mass, first.passed))
        plain.append(first.excess.z)
        cut.append(second.excess.z)
        signal = np.histogram(mass[second.passed & truth], WINDOW.edges)[0]
        known = falling(6000 * 0.02) + signal
        expected.append(expected_range(toys(known, WINDOW, 40, seed))[0])
    assert np.median(plain) < 3
    assert np.median(cut) > np.median(plain) + 2
    assert np.median(cut) == pytest.approx(np.median(expected), abs=1.0)


@pytest.mark.parametrize("fit", [fit_linear, lambda x, y, seed: fit_trees(x, y, seed, members=1, rounds=20)])
def test_the_classifiers_of_the_search_hunt(fit):
    mass, x, truth = events(4000, 150, 1)
    scores, fold = fold_scores(x, WINDOW.regions(mass), fit, 2)
    (found,) = hunt(mass, scores, fold, WINDOW, [0.05], Shape("polynomial", 3))
    assert found.passed[truth].mean() > 0.35
    assert found.excess.z > 4
    assert found.goodness > 1e-4
    assert sculpting(mass[~truth], found.passed[~truth]) > 1e-4
    assert found.counts.sum() == found.passed.sum()


def uniform_p_values(experiments: int, events_each: int, fit, folds: int) -> np.ndarray:
    values = []
    for seed in range(experiments):
        mass, x, _ = events(events_each, 0, seed)
        (found,) = hunt(mass, *fold_scores(x, WINDOW.regions(mass), fit, folds, seed), WINDOW, [0.1])
        values.append(found.excess.p)
    return np.array(values)


def test_no_bump_comes_from_background_and_a_classifier():
    p = uniform_p_values(80, 3000, quick, 3)
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_no_bump_comes_from_background_and_trees():
    p = uniform_p_values(200, 2000, lambda x, y, seed: fit_trees(x, y, seed, members=1, rounds=30), 3)
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.slow
def test_no_bump_comes_from_background_and_many_toys():
    for total in (1000, 5000, 100_000):
        p = [one.p for one in toys(falling(total), WINDOW, 1500, seed=total)]
        assert kstest(p, "uniform").pvalue > 0.01


def test_features_that_know_the_mass_carve_a_bump_and_are_caught():
    """The trap: pure background, a large excess; the check tells it from an honest hunt."""
    mass, x, _ = events(6000, 0, 0)
    inside = WINDOW.regions(mass)
    knowing = np.column_stack([x, mass + np.random.default_rng(1).normal(0, 150, len(mass))])
    trees = lambda a, b, seed: fit_trees(a, b, seed, members=1, rounds=40)  # noqa: E731
    (carved,) = hunt(mass, *fold_scores(knowing, inside, trees, 3), WINDOW, [0.1])
    (honest,) = hunt(mass, *fold_scores(x, inside, quick, 3), WINDOW, [0.1])
    assert carved.excess.z > 4
    assert sculpting(mass[~inside], carved.passed[~inside]) < 1e-6  # all that a search may look at
    assert sculpting(mass, carved.passed) < 1e-10
    assert abs(honest.excess.z) < 3.5
    assert sculpting(mass, honest.passed) > 1e-3


# --- dijets ---------------------------------------------------------------------------------


def test_the_lighter_jet_comes_first():
    masses = np.array([[500.0, 100.0], [90.0, 510.0]])
    first, second = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0], [7.0, 8.0]])
    assert by_mass(masses, first, second).tolist() == [[5, 6, 1, 2], [3, 4, 7, 8]]
    tau21 = np.array([[0.4, 0.2], [0.3, 0.5]])
    assert dijet_features(masses, tau21).tolist() == [[100, 400, 0.2, 0.4], [90, 420, 0.3, 0.5]]


def test_the_discriminant_finds_a_direction_among_many_features():
    rng = np.random.default_rng(0)
    y = np.arange(1000) % 2
    x = rng.normal(size=(1000, 100))
    x[:, 3] += 1.5 * y
    score = fit_discriminant(x, y, 0)
    other = rng.normal(size=(2000, 100))
    assert np.corrcoef(score(other), other[:, 3])[0, 1] > 0.8
    assert (score(other) == fit_discriminant(x, y, 1)(other)).all()


# --- plan -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"injections": []}, r"injections=\[\]: give numbers"),
        ({"injections": [0]}, r"injections=\[0\]: give numbers of signal events, one above 0"),
        ({"injections": [-1, 5]}, "give numbers of signal events"),
        ({"draws": 0}, "hunt_seeds=0"),
        ({"efficiencies": []}, "efficiencies="),
        ({"efficiencies": [1.0, 0.1]}, "give shares between 0 and 1"),
        ({"announced": 0.05}, r"announced_cut=0.05: must be one of efficiencies=\[0.1, 0.02\]"),
    ],
)
def test_plans_that_cannot_be_made_are_refused(changed, message):
    plan = {"injections": [0, 50], "draws": 3, "efficiencies": [0.1, 0.02], "announced": 0.02}
    check_plan(**plan)
    with pytest.raises(JepalibError, match=message):
        check_plan(**(plan | changed))


def test_as_many_signals_are_drawn_as_asked_or_none():
    pool = np.arange(100, 140)
    few, many = draw_signals(pool, 10, 0, 1), draw_signals(pool, 40, 0, 1)
    assert many[:10].tolist() == few.tolist()
    assert sorted(many) == pool.tolist()
    assert few.tolist() != draw_signals(pool, 10, 0, 2).tolist()
    with pytest.raises(JepalibError, match="41 signal events are asked for, 40 are in the mass window"):
        draw_signals(pool, 41, 0, 1)
