"""Comparing two arms: the error in closed form, and when a difference is called one."""

from __future__ import annotations

import numpy as np
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.differences import difference


def test_values_in_closed_form():
    result = difference(np.array([0.5, 0.6, 0.7]), np.array([0.4, 0.5]))
    assert result.gain == pytest.approx(0.15)
    assert result.error == pytest.approx((0.1**2 / 3 + 0.005 / 2) ** 0.5)


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ([0.50, 0.51, 0.52], [0.40, 0.41, 0.42], "a gain"),
        ([0.40, 0.41, 0.42], [0.50, 0.51, 0.52], "a loss"),
        ([0.40, 0.50, 0.60], [0.45, 0.50, 0.52], "no difference beyond the spread"),
        ([0.5, 0.5], [0.5, 0.5], "no difference beyond the spread"),
        ([0.9], [0.1, 0.2], "one seed, spread unknown"),
    ],
)
def test_verdicts(first, second, word):
    result = difference(np.array(first), np.array(second))
    assert result.word == word
    assert word in result.sentence("fine-tuned", "from scratch")


def test_random_arms_differ_as_often_as_they_should():
    """Equal distributions, ten seeds each: called different in about 5 % of the trials."""
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(2000, 2, 10))
    called = np.mean([difference(a, b).word != "no difference beyond the spread" for a, b in pairs])
    assert 0.03 < called < 0.09


def test_arms_without_values_are_refused():
    for bad in ([], [np.nan]):
        with pytest.raises(JepalibError, match="at least one finite"):
            difference(np.array(bad, float), np.array([0.5]))
