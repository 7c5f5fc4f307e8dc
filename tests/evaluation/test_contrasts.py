"""Differences between settings: the error in closed form and by repetition, the verdicts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from jepalib.errors import JepalibError
from jepalib.evaluation.contrasts import SIMILAR, Contrast, contrast, pooled_spread

SEEDS = st.lists(st.floats(0.1, 0.9), min_size=2, max_size=5)


@settings(deadline=None)
@given(st.lists(SEEDS, min_size=1, max_size=4))
def test_pooled_spread_lies_between_those_of_the_settings(groups: list[list[float]]) -> None:
    spread, freedom = pooled_spread(groups)
    own = [np.std(group, ddof=1) for group in groups]
    assert min(own) - 1e-9 <= spread <= max(own) + 1e-9
    assert freedom == sum(map(len, groups)) - len(groups)


def test_without_two_seeds_there_is_no_spread() -> None:
    spread, freedom = pooled_spread([[0.5], [0.6]])
    assert math.isnan(spread)
    assert freedom == 0
    right = np.array([[True, False, True]])
    found = contrast(right, ~right, spread, freedom)
    assert found.difference == pytest.approx(1 / 3)
    assert (found.low, found.high) == (-math.inf, math.inf)
    assert found.verdict(0.02) == "undecided: one seed, spread unknown"


def test_error_adds_seeds_and_jets() -> None:
    first = np.array([[True, True, False, True], [True, False, False, True]])
    second = np.array([[False, True, False, True], [False, False, True, True]])
    by_jet = np.array([1.0, 0.0, -0.5, 0.0])
    found = contrast(first, second, spread=0.1, freedom=3)
    error = math.sqrt(0.1**2 * (1 / 2 + 1 / 2) + by_jet.var() / 4)
    assert found.difference == pytest.approx(by_jet.mean())
    assert found.error == pytest.approx(error)
    assert found.high - found.difference == pytest.approx(student.ppf(0.975, 3) * error)
    assert found.low + found.high == pytest.approx(2 * found.difference)


def test_other_jets_are_refused() -> None:
    with pytest.raises(JepalibError, match="4 and 5 jets"):
        contrast(np.ones((2, 4), bool), np.ones((2, 5), bool), 0.1, 2)


def test_equal_settings_are_rarely_told_apart() -> None:
    """Seeds move a tenth of the jets, and both settings are the same: at most 5 % have an interval off 0."""
    rng = np.random.default_rng(0)
    outside, trials, jets = 0, 400, 400
    for _ in range(trials):
        hard = rng.random(jets)
        runs = [hard + rng.normal(0, 0.02) + rng.normal(0, 0.2, jets) < 0.5 for _ in range(18)]
        groups = [np.stack(runs[i : i + 2]) for i in range(0, 18, 2)]
        spread, freedom = pooled_spread([list(group.mean(1)) for group in groups])
        found = contrast(groups[0], groups[1], spread, freedom)
        outside += not found.low <= 0 <= found.high
    assert outside / trials < 0.06


@pytest.mark.parametrize(
    ("difference", "error", "published", "verdict"),
    [
        (0.03, 0.01, 0.02, "seen"),
        (-0.03, 0.01, -0.02, "seen"),
        (-0.03, 0.01, 0.02, "not seen: the opposite is"),
        (0.001, 0.005, 0.02, "not seen: none of the published size"),
        (0.01, 0.01, 0.02, "undecided within the spread"),
        (-0.005, 0.02, 0.02, "undecided within the spread"),
        (0.001, 0.005, SIMILAR, "seen: no difference"),
        (0.0, 0.002, -0.004, "seen: no difference"),
        (0.01, 0.01, -0.004, "undecided within the spread"),
        (0.0, 0.1, 0.004, "undecided within the spread"),
        (0.03, 0.01, 0.004, "not seen: there is a difference"),
    ],
)
def test_verdicts(difference: float, error: float, published: float, verdict: str) -> None:
    found = Contrast(difference, error, difference - 2 * error, difference + 2 * error)
    assert found.verdict(published) == verdict
