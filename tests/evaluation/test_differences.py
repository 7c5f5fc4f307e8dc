"""Comparing two arms: the error in closed form, and when a difference is called one."""

from __future__ import annotations

import numpy as np
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.differences import difference, plus_minus


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


def test_the_sentence_tells_the_interval_that_decides():
    result = difference(np.array([0.50, 0.51, 0.52]), np.array([0.40, 0.41, 0.42]))
    arms = "fine-tuned 0.510 ± 0.010, from scratch 0.410 ± 0.010"
    assert result.sentence("fine-tuned", "from scratch") == f"{arms}: +0.100 ± 0.023 (95 %), a gain"
    one = difference(np.array([0.5]), np.array([0.4]))
    assert one.sentence("a", "b") == "a 0.500, b 0.400: +0.100, one seed, spread unknown"


@pytest.mark.parametrize(
    ("first", "published", "word"),
    [
        ([0.50, 0.51, 0.52], 0.05, "seen"),
        ([0.50, 0.51, 0.52], -0.05, "not seen: the opposite is"),
        ([0.40, 0.41, 0.42], 0.05, "not seen: none of the published size"),
        ([0.35, 0.41, 0.47], 0.05, "undecided within the spread"),
        ([0.41], 0.05, "undecided: one seed, spread unknown"),
    ],
)
def test_verdicts_on_published_differences(first, published, word):
    assert difference(np.array(first), np.array([0.40, 0.41, 0.42])).against(published) == word


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_equal_arms_are_called_different_as_rarely_as_said(seeds):
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(3000, 2, seeds))
    called = np.mean([difference(a, b).word != "no difference beyond the spread" for a, b in pairs])
    assert 0.03 < called < 0.07


def test_arms_without_values_are_refused():
    for bad in ([], [np.nan]):
        with pytest.raises(JepalibError, match="at least one finite"):
            difference(np.array(bad, float), np.array([0.5]))


def test_an_unknown_error_is_not_written():
    assert (plus_minus(0.0123), plus_minus(3.26, 1), plus_minus(float("nan"))) == (" ± 0.012", " ± 3.3", "")
