"""The rejection table against single rejections, exact limits, and coverage of its intervals."""

import math

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import beta

from jepalib.errors import JepalibError
from jepalib.evaluation.rejection import _rejection, rejection_table
from jepalib.evaluation.tagging import SIGNAL_EFFICIENCY, rejections


def scores(jets: int, strength: float, seeds: int = 1) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.arange(jets) % 10
    logits = rng.normal(size=(seeds, jets, 10))
    logits[:, np.arange(jets), labels] += strength
    return softmax(logits, axis=2), labels


def test_with_statistics_it_is_the_rejection_of_the_tagger():
    p, labels = scores(20_000, 1.0)
    table = rejection_table(p, labels).set_index("signal")
    expected = rejections(p[0], labels)
    assert list(table.index) == list(SIGNAL_EFFICIENCY)
    assert len(table) == 9
    for name, one in expected.items():
        row = table.loc[name]
        assert one.passing == row.passing >= 10
        assert (row.signal_jets, row.background_jets) == (2000, 2000)
        assert row.rejection == pytest.approx(one.value)
        assert (row.high - row.low) / 2 == pytest.approx(one.uncertainty, rel=0.1)
        assert row.low < row.rejection < row.high
        assert row.text.startswith(f"{row.rejection:.{0 if row.rejection >= 20 else 1}f} (")
    assert table.passing_spread.isna().all()


def test_seeds_share_their_jets():
    """The mean rate over seeds, with the error of one: the jets are the same."""
    p, labels = scores(5000, 1.0, seeds=3)
    each = [rejection_table(p[i : i + 1], labels) for i in range(3)]
    table = rejection_table(p, labels)
    passing = np.array([one.passing for one in each])
    assert table.passing.to_numpy() == pytest.approx(passing.mean(0))
    assert table.passing_spread.to_numpy() == pytest.approx(passing.std(0, ddof=1))
    assert table.rejection.to_numpy() == pytest.approx(500 / passing.mean(0))
    binomial = np.sqrt((1 - table.passing / 500) / table.passing)
    assert ((1 / table.low - 1 / table.high) * table.rejection / 2).to_numpy() == pytest.approx(
        binomial.to_numpy(), rel=0.05
    )


def test_where_no_jet_passes_it_is_a_limit():
    p, labels = scores(5000, 30.0)
    table = rejection_table(p, labels).set_index("signal")
    row = table.loc["Hbb"]
    assert (row.passing, row.text) == (0, "> 167")
    assert math.isnan(row.rejection)
    assert math.isnan(row.high)
    assert row.low == pytest.approx(1 / beta.ppf(0.95, 1, 500))  # Clopper and Pearson


def test_too_few_signal_jets_are_said_and_nothing_is_infinite():
    p, labels = scores(250, 30.0)
    table = rejection_table(p, labels).set_index("signal")
    assert table.text["Tbl"] == "25 signal jets, 200 needed for an efficiency of 99.5 %"
    assert table.loc["Tbl", ["passing", "rejection", "low", "high"]].isna().all()
    assert not np.isinf(table.select_dtypes("number")).any().any()
    p, labels = scores(250, 0.0, seeds=3)
    assert not np.isinf(rejection_table(p, labels).select_dtypes("number")).any().any()


@pytest.mark.parametrize("rate", [0.004, 0.02])
def test_intervals_hold_the_truth_two_times_in_three(rate):
    passing = np.random.default_rng(1).binomial(500, rate, 2000)
    entries = [_rejection(float(k), 500, "") for k in passing]
    held = [
        entry["low"] <= 1 / rate <= (np.inf if k == 0 else entry["high"])
        for k, entry in zip(passing, entries)
    ]
    assert 0.6 < np.mean(held) < 0.9
    limits = [entry["low"] for k, entry in zip(passing, entries) if k == 0]
    assert all(limit < 168 for limit in limits)


def test_entries_read_as_they_should():
    assert _rejection(10.0, 500, "")["text"] == "50 (+18 -13)"
    assert _rejection(100.0, 500, "")["text"] == "5.0 (+0.5 -0.4)"
    third = _rejection(1 / 3, 500, "")
    assert third["rejection"] == pytest.approx(1500)
    assert math.isfinite(third["high"])


def test_no_background_is_refused():
    p, labels = scores(100, 1.0)
    with pytest.raises(JepalibError, match="none of the 90 jets is QCD"):
        rejection_table(p[:, labels > 0], labels[labels > 0])
