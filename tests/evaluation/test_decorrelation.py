"""Decorrelated features: nothing of the mass is left, the signal is, and no bump comes of the regression."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from jepalib.errors import JepalibError
from jepalib.evaluation.bump_hunt import fit_discriminant, fold_scores, hunt, sculpting
from jepalib.evaluation.decorrelation import decorrelated
from jepalib.evaluation.spectrum import Window

WINDOW = Window(np.linspace(2700.0, 5100.0, 25), 3300.0, 3700.0)


def background(number: int, width: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Falling masses, and features whose mean and spread follow them."""
    rng = np.random.default_rng(seed)
    mass = np.concatenate([2700 * np.exp(rng.exponential(0.18, 3 * number))])
    mass = mass[mass < 5100][:number]
    u = np.log(mass / 3500)[:, None]
    slope, bend = rng.normal(0, 2, (2, width))
    return mass, 5 + slope * u + bend * u**2 + (1 + u) * rng.normal(size=(len(mass), width))


def test_mean_and_spread_no_longer_follow_the_mass():
    mass, x = background(20_000, 3, 0)
    assert max(abs(spearmanr(mass, column).statistic) for column in x.T) > 0.2
    clean = decorrelated(x, mass, WINDOW.regions(mass))
    for column in clean.T:
        assert abs(spearmanr(mass, column).statistic) < 0.02
        assert abs(spearmanr(mass, np.abs(column)).statistic) < 0.03


def test_the_signal_region_is_not_looked_at():
    mass, x = background(3000, 2, 1)
    inside = WINDOW.regions(mass)
    shifted = x + 3 * inside[:, None]
    sideband = ~inside
    np.testing.assert_allclose(
        decorrelated(shifted, mass, inside)[sideband], decorrelated(x, mass, inside)[sideband]
    )
    apart = decorrelated(shifted, mass, inside)[inside].mean() - decorrelated(x, mass, inside)[inside].mean()
    assert apart > 2


def test_constant_features_become_zero_and_units_do_not_matter():
    mass, x = background(500, 2, 2)
    inside = WINDOW.regions(mass)
    assert (decorrelated(np.full((500, 1), 1e6), mass, inside) == 0).all()
    np.testing.assert_allclose(
        decorrelated(x, mass, inside), decorrelated(1e-3 * x, mass / 1000, inside), atol=1e-8
    )


def test_too_few_events_and_wrong_masses_are_refused():
    with pytest.raises(JepalibError, match="4 sideband events for 4 parameters"):
        decorrelated(np.ones((5, 1)), np.linspace(1, 2, 5), np.arange(5) == 2)
    with pytest.raises(JepalibError, match="masses above 0"):
        decorrelated(np.ones((9, 1)), np.linspace(-1, 2, 9), np.zeros(9, bool))


def test_one_regression_for_all_carves_a_bump_and_one_for_each_part_does_not():
    """Pure background, a hundred features: the errors of a shared regression are learned and found again."""
    shared, own = [], []
    for seed in range(12):
        mass, x = background(4000, 100, 10 + seed)
        inside = WINDOW.regions(mass)
        for z, features, known in ((shared, decorrelated(x, mass, inside, 4), None), (own, x, mass)):
            scores, fold = fold_scores(features, inside, fit_discriminant, 5, seed, known)
            (found,) = hunt(mass, scores, fold, WINDOW, [0.2], seed=seed)
            z.append(found.excess.z)
            if known is not None:
                assert sculpting(mass, found.passed) > 1e-4
    assert abs(np.mean(own)) < 2.5 * np.std(own, ddof=1) / len(own) ** 0.5
    assert np.mean(shared) > 2.5 * np.std(shared, ddof=1) / len(shared) ** 0.5
    assert np.std(own, ddof=1) < 2
