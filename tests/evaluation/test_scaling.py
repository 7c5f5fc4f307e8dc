"""Power laws of known exponent: found, with intervals that hold them as often as they say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jepalib.errors import JepalibError
from jepalib.evaluation.scaling import FOR_FLOOR, fit_power_law, fits_table, frontier


def curve(x, exponent, floor=0.0, factor=0.5):
    return floor + factor * (x / 1000) ** -exponent


def repeated(values, seeds, spread, rng):
    return values[:, None] * (1 + spread * rng.standard_normal((len(values), seeds)))


@settings(deadline=None, max_examples=20)
@given(
    exponent=st.floats(0.05, 2),
    floor=st.floats(0.02, 0.5),
    factor=st.floats(0.1, 10),
    with_floor=st.booleans(),
)
def test_exact_curves_are_found(exponent, floor, factor, with_floor):
    x = np.geomspace(500, 500 * 2.0**9, 10)
    values = curve(x, exponent, floor if with_floor else 0.0, factor)[:, None]
    law = fit_power_law(x, values, with_floor)
    assert law.exponent == pytest.approx(exponent, rel=0.01)
    np.testing.assert_allclose(law(x), values[:, 0], rtol=2e-3)
    if with_floor:
        left = floor + factor * 512.0**-exponent  # what is seen of the floor
        assert law.floor == pytest.approx(floor, abs=0.05 * left)


@pytest.mark.parametrize(("points", "seeds", "floor"), [(4, 2, 0.0), (6, 1, 0.0), (6, 3, 0.1), (8, 2, 0.1)])
def test_intervals_cover_the_true_exponent(points, seeds, floor):
    x = 2000 * 2.0 ** np.arange(points)
    held = []
    for number in range(100):
        values = repeated(curve(x, 0.4, floor), seeds, 0.01, np.random.default_rng(number))
        law = fit_power_law(x, values, floor > 0)
        held.append(law.low <= 0.4 <= law.high)
    assert np.mean(held) >= 0.88  # 95 expected; below 88 in one of 400 such tests


def test_noise_widens_the_interval_and_leaves_nothing_determined():
    x = 1000 * 2.0 ** np.arange(6)
    quiet, loud = (
        fit_power_law(x, repeated(curve(x, 0.2), 2, spread, np.random.default_rng(1)), False)
        for spread in (0.005, 0.3)
    )
    assert loud.high - loud.low > 10 * (quiet.high - quiet.low)
    assert quiet.determined
    assert quiet.told() == f"{quiet.exponent:.2f} ± {quiet.error:.2f}"
    assert not loud.determined
    assert loud.told().startswith("not determined (")


def test_a_flat_curve_has_no_exponent():
    x = 1000 * 2.0 ** np.arange(6)
    law = fit_power_law(x, repeated(np.ones(6), 3, 0.02, np.random.default_rng(3)), False)
    assert not law.determined
    assert law.low == 0
    assert law.told().startswith("not determined (0.00 to")


def test_a_floor_is_fitted_where_there_are_points_enough():
    x = 1000 * 2.0 ** np.arange(FOR_FLOOR)
    values = curve(x, 0.5, 0.2)[:, None]
    assert fit_power_law(x, values).with_floor
    short = fit_power_law(x[:-1], values[:-1])
    assert not short.with_floor
    assert np.isnan(short.floor_high)
    assert short.why == f"{FOR_FLOOR - 1} points, and a floor wants at least {FOR_FLOOR}"
    assert short.exponent < 0.4  # what a floor does to a fit without one


def test_a_curve_that_misses_its_points_is_less_certain():
    """The seeds agree to a millionth, the points do not lie on a power law: the residuals count."""
    x = 1000 * 2.0 ** np.arange(5)
    bent = curve(x, 0.3) * np.array([1, 1.1, 0.9, 1.1, 1])
    values = repeated(bent, 3, 1e-6, np.random.default_rng(0))
    assert fit_power_law(x, values, False).high - fit_power_law(x, values, False).low > 0.1


def test_the_band_holds_the_curve_and_widens_outside():
    x = 1000 * 2.0 ** np.arange(6)
    law = fit_power_law(x, repeated(curve(x, 0.3), 3, 0.02, np.random.default_rng(0)), False)
    low, high = law.band(np.array([1e2, 5e3, 1e6]))
    assert (low < law(np.array([1e2, 5e3, 1e6]))).all()
    width = np.log(high / low)
    assert width[1] < min(width[0], width[2])


@pytest.mark.parametrize(
    ("x", "values", "floor", "message"),
    [
        ([1.0, 2.0], [[1.0], [0.5]], None, "2 points given, at least 3"),
        ([1.0, 2.0, 3.0], [[1.0], [0.5], [0.4]], True, "3 points given, at least 4"),
        ([1.0, 2.0, 3.0], [[1.0], [0.5], [0.0]], None, "values positive"),
        ([1.0, 3.0, 2.0], [[1.0], [0.5], [0.4]], None, "increasing"),
    ],
)
def test_what_cannot_be_fitted_is_told(x, values, floor, message):
    with pytest.raises(JepalibError, match=message):
        fit_power_law(np.array(x), np.array(values), floor)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_frontier_is_what_no_other_beats(runs):
    flops, losses = np.array(runs, float).T
    chosen = frontier(flops, losses)
    for i in range(len(runs)):
        beaten = ((flops <= flops[i]) & (losses < losses[i])) | ((flops < flops[i]) & (losses <= losses[i]))
        if chosen[i]:
            assert not beaten.any()
        else:
            assert ((flops <= flops[i]) & (losses <= losses[i])).sum() > 1


def test_the_table_says_why_there_is_no_floor():
    x = 1000 * 2.0 ** np.arange(4)
    law = fit_power_law(x, repeated(curve(x, 0.3), 2, 0.01, np.random.default_rng(0)))
    (row,) = fits_table({"views": law}).to_dict("records")
    assert row["curve"] == "views"
    assert np.isnan(row["floor"])
    assert row["floor, why"].startswith("4 points")
    assert row["verdict"] == law.told()
