"""Hunts without a bump: uniform after calibration and only then, and the look-elsewhere effect."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from jepalib.errors import JepalibError
from jepalib.evaluation.bump_hunt import fit_discriminant
from jepalib.evaluation.null_hunts import (
    calibrated,
    cross_calibrated,
    drawn_masses,
    global_p,
    null_z,
    uniformity,
)
from jepalib.evaluation.spectrum import Window, fit_sidebands

WINDOW = Window(np.linspace(2000.0, 5000.0, 31), 3300.0, 3700.0)


def events(background: int, signal: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masses of a dijet function, and features that know the signal and not the mass."""
    rng = np.random.default_rng(seed)
    x = WINDOW.centres / 13000
    shape = (1 - x) ** 8 / x**5
    bins = rng.choice(30, background, p=shape / shape.sum())
    mass = np.concatenate(
        [WINDOW.edges[bins] + 100 * rng.random(background), rng.uniform(3300, 3700, signal)]
    )
    truth = np.arange(len(mass)) >= background
    return mass, rng.normal(2.5 * truth[:, None] * [1, 0, 0], 1.0, (len(mass), 3))


@pytest.mark.parametrize("seed", range(5))
def test_a_wrong_centre_and_scatter_are_mended(seed):
    null = np.random.default_rng(seed).normal([0.0, -0.3, 0.0], [1.0, 1.4, 1.5], (400, 3))
    table = uniformity(null, [0.2, 0.1, 0.05])
    assert (table.calibrated > 0.01).all()
    assert (table.verdict == "uniform").all()
    assert table.raw[0] > 0.01
    assert (table.raw[1:] < 0.01).all()
    assert table.scatter.tolist() == pytest.approx([1.0, 1.4, 1.5], rel=0.12)
    assert abs(table.calibrated_below - 0.05).max() < 0.04
    assert table.below[2] > table.calibrated_below[2]


def test_what_calibration_cannot_mend_is_told():
    table = uniformity(np.random.default_rng(0).exponential(1.0, (400, 1)), [0.1])
    assert table.verdict.tolist() == ["not uniform"]


def test_no_toy_calibrates_itself():
    null = np.random.default_rng(1).normal(0, 1, (20, 2))
    changed = null.copy()
    changed[4] += 100  # of the even half: calibrates the odd ones, and no other even one
    before, after = cross_calibrated(null), cross_calibrated(changed)
    same = np.arange(0, 20, 2) != 4
    assert (before[::2][same] == after[::2][same]).all()
    assert (before[1::2] != after[1::2]).all()
    assert after[4] - before[4] == pytest.approx(100 / null[1::2].std(axis=0, ddof=1))


def test_one_number_is_calibrated_by_its_cut():
    null = np.random.default_rng(2).normal([1.0, 0.0], [2.0, 1.0], (5000, 2))
    assert calibrated(np.array([5.0, 3.0]), null) == pytest.approx([2.0, 3.0], abs=0.1)
    with pytest.raises(JepalibError, match="3 toys, too few or all alike"):
        calibrated(np.zeros(2), null[:3])
    with pytest.raises(JepalibError, match="all alike"):
        calibrated(np.zeros(2), np.ones((9, 2)))


def test_masses_are_drawn_from_the_fit_whatever_the_signal():
    mass, _ = events(4000, 400, 3)
    background = fit_sidebands(np.histogram(mass, WINDOW.edges)[0], WINDOW)
    drawn = drawn_masses(background, WINDOW, 50_000, np.random.default_rng(0))
    share = background.expected / background.expected.sum()
    found = np.histogram(drawn, WINDOW.edges)[0]
    assert found.sum() == 50_000
    assert (np.abs(found - 50_000 * share) < 5 * np.sqrt(50_000 * share)).all()


def test_hunts_without_a_bump_have_uniform_p_values_whatever_the_signal():
    mass, x = events(2500, 60, 4)
    background = fit_sidebands(np.histogram(mass, WINDOW.edges)[0], WINDOW)
    z = null_z(x, background, WINDOW, [0.3, 0.1], 60, (fit_discriminant, 2), seed=1)
    assert z.shape == (60, 2)
    assert (uniformity(z, [0.3, 0.1]).verdict == "uniform").all()
    assert (np.abs(z.mean(axis=0)) < 4 * z.std(axis=0) / 60**0.5).all()
    assert (np.abs(z.std(axis=0) - 1) < 0.4).all()
    assert np.corrcoef(z.T)[0, 1] > 0.2  # the cuts share events
    again = null_z(x, background, WINDOW, [0.3, 0.1], 8, (fit_discriminant, 2), seed=1, workers=2)
    assert (again == z[:8]).all()
    with pytest.raises(JepalibError, match="7 toys; hunt_toys and tree_toys must be 8 or more"):
        null_z(x, background, WINDOW, [0.3], 7, (fit_discriminant, 2))


def test_the_largest_of_several_is_compared_with_the_largest_of_toys():
    null = norm.isf(np.array([[0.5, 0.04], [0.9, 0.8], [0.02, 0.3], [0.6, 0.7]]))
    assert global_p(norm.isf(np.array([0.2, 0.05])), null) == (3 / 5, 2)
    assert global_p(norm.isf(np.array([0.2, 0.001])), null) == (1 / 5, 0)
    assert global_p(norm.isf(np.array([0.99, 0.99])), null) == (1.0, 4)
