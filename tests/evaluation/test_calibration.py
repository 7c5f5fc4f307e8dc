"""Calibration against libraries, closed forms and models whose calibration is known by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import softmax
from scipy.stats import binomtest
from scipy.stats import entropy as scipy_entropy
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import (
    accuracy_against_rejection,
    average,
    binomial_interval,
    calibration_floor,
    disagreement,
    entropy,
    expected_calibration_error,
    fit_temperature,
    metrics_by,
    quantile_edges,
    reliability,
    tempered,
)
from jepalib.evaluation.tagging import auc_ovo, log_loss


def leaning(jets: int, seed: int, strength: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that lean to the true class, too sure of themselves."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, jets)
    logits = 2 * rng.normal(size=(jets, 10))
    logits[np.arange(jets), labels] += strength
    return softmax(logits, axis=1), labels


def drawn(jets: int, seed: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Scores from which the labels are drawn: calibrated by construction."""
    rng = np.random.default_rng(seed)
    p = softmax(2 * rng.normal(size=(jets, classes)), axis=1)
    return p, (rng.random((jets, 1)) < p.cumsum(1)).argmax(1)


@pytest.mark.parametrize("bins", [1, 10, 15])
@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_ece_equals_torchmetrics(temperature, bins):
    """At T = 2 gaps of both signs occur, so that the bins matter."""
    p, y = leaning(3000, 7)
    p = tempered(p, temperature)
    library = multiclass_calibration_error(
        torch.from_numpy(p), torch.from_numpy(y), num_classes=10, n_bins=bins, norm="l1"
    )
    assert expected_calibration_error(p, y, bins) == pytest.approx(float(library), abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 300), st.integers(0, 999), st.sampled_from([1, 10, 15]), st.sampled_from([None, 1, 2]))
def test_reliability_equals_scikit_learn(jets, seed, bins, digits):
    rng = np.random.default_rng(seed)
    first = rng.random(jets)
    first = first if digits is None else first.round(digits)  # values on the edges of bins
    p, y = np.stack([first, 1 - first], 1), rng.integers(0, 2, jets)
    table = reliability(p, y, bins)
    confidence, right = p.max(1), p.argmax(1) == y
    accuracy, mean = calibration_curve(right, confidence, n_bins=bins, strategy="uniform")
    there = table.jets > 0
    assert table.jets.sum() == jets
    assert table.accuracy[there].to_numpy() == pytest.approx(accuracy)
    assert table.confidence[there].to_numpy() == pytest.approx(mean)
    assert table[~there].accuracy.isna().all()
    expected = (table.jets[there] / jets * np.abs(accuracy - mean)).sum()
    assert expected_calibration_error(p, y, bins) == pytest.approx(expected)


def test_ece_by_hand():
    p = np.array([[0.9, 0.1], [0.92, 0.08], [0.4, 0.6], [0.61, 0.39]])
    y = np.array([0, 1, 1, 0])
    table = reliability(p, y, 10)
    assert table.jets.tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 1, 1], "(0.5, 0.6] holds 0.6"
    assert expected_calibration_error(p, y, 10) == pytest.approx((0.4 + 0.39 + 0.1 + 0.92) / 4)
    assert table.low[0] == 0
    assert table.high.iloc[-1] == 1


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 500), st.data())
def test_intervals_are_those_of_scipy(jets, data):
    hits = data.draw(st.integers(0, jets))
    (low,), (high,) = binomial_interval(np.array([hits]), np.array([jets]))
    one_deviation = math.erf(math.sqrt(0.5))
    expected = binomtest(hits, jets).proportion_ci(one_deviation, method="wilson")
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_perfect_calibration_has_the_ece_of_its_floor():
    found = []
    for seed in range(30):
        p, y = drawn(1000, seed)
        found.append((expected_calibration_error(p, y), calibration_floor(p)))
    ece, floor = np.array(found).T
    assert ece.mean() == pytest.approx(floor.mean(), rel=0.1)
    assert floor.std() < 0.1 * floor.mean()
    p, y = leaning(1000, 0)
    assert expected_calibration_error(p, y) > 5 * calibration_floor(p)
    assert calibration_floor(p[:100]) > 2 * calibration_floor(p)


def test_entropy_equals_scipy_and_has_its_limits():
    p, _ = leaning(200, 0)
    assert entropy(p) == pytest.approx(scipy_entropy(p, axis=1))
    assert entropy(np.eye(10)).tolist() == [0] * 10
    assert entropy(np.full((1, 10), 0.1)) == pytest.approx([math.log(10)])


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_temperature_is_found_again(true):
    p, y = drawn(20_000, 3)
    distorted = softmax(true * np.log(p), axis=1)
    found = fit_temperature(distorted, y)
    assert found == pytest.approx(true, rel=0.04)
    mended = tempered(distorted, found)
    assert expected_calibration_error(mended, y) < 2 * calibration_floor(mended)
    assert np.array_equal(mended.argmax(1), p.argmax(1))


@settings(deadline=None, max_examples=15)
@given(st.integers(30, 400), st.integers(0, 99))
def test_temperature_has_the_smallest_log_loss(jets, seed):
    p, y = leaning(jets, seed)
    temperature = fit_temperature(p, y)
    best = minimize_scalar(
        lambda log_t: log_loss(tempered(p, math.exp(log_t)), y),
        bounds=(-3, 3), method="bounded", options={"xatol": 1e-8},
    )  # fmt: skip
    assert log_loss(tempered(p, temperature), y) <= best.fun + 1e-12
    assert temperature == pytest.approx(math.exp(best.x), rel=1e-3)


def test_tempering_is_on_logits_and_survives_zeros():
    logits = np.random.default_rng(0).normal(size=(50, 4))
    p = softmax(logits, axis=1)
    assert tempered(p, 3.0) == pytest.approx(softmax(logits / 3, axis=1))
    assert tempered(p, 1.0) == pytest.approx(p)
    sure = np.eye(3, dtype=np.float32)
    assert np.isfinite(tempered(sure, 0.05)).all()
    assert tempered(sure, 0.05) == pytest.approx(np.eye(3))


def test_no_temperature_where_there_is_none():
    with pytest.raises(JepalibError, match="nearly every jet is right"):
        fit_temperature(np.eye(2)[[0, 1]] * 0.8 + 0.1, np.array([0, 1]))
    with pytest.raises(JepalibError, match="say nothing"):
        fit_temperature(np.eye(2)[[0, 1]] * 0.8 + 0.1, np.array([1, 0]))
    with pytest.raises(JepalibError, match="positive and finite"):
        tempered(np.eye(2), 0.0)


def test_averages_and_disagreement():
    members = np.stack([leaning(500, 1)[0], drawn(500, 2)[0], drawn(500, 3)[0]])
    y = leaning(500, 1)[1]
    mean = average(members)
    assert mean == pytest.approx(sum(members) / 3)
    assert log_loss(mean, y) <= np.mean([log_loss(m, y) for m in members])
    assert disagreement(np.stack([members[0]] * 4)) == pytest.approx(np.zeros(500), abs=1e-12)
    # Two members, each sure of another class: all of the entropy is disagreement.
    assert disagreement(np.eye(2)[:, None]) == pytest.approx([math.log(2)])
    divergence = np.mean([scipy_entropy(m, mean, axis=1) for m in members], axis=0)
    assert disagreement(members) == pytest.approx(divergence)
    with pytest.raises(JepalibError, match="no members"):
        average(members[:0])


def test_rejection_keeps_the_most_certain():
    p, y = leaning(997, 4)
    table = accuracy_against_rejection(p, y)
    right = p.argmax(1) == y
    order = np.argsort(scipy_entropy(p, axis=1))
    for row in table.itertuples():
        assert row.jets == 997 - math.floor(997 * row.rejected + 1e-9)
        assert row.accuracy == pytest.approx(right[order[: row.jets]].mean())
        assert row.accuracy_low < row.accuracy < row.accuracy_high
    assert table.accuracy.iloc[0] == pytest.approx(right.mean())
    assert table.accuracy.iloc[-1] > right.mean() + 0.1
    oracle = accuracy_against_rejection(p, y, (~right).astype(float), np.array([(~right).mean()]))
    assert oracle.accuracy.tolist() == [1.0]


def test_rejection_refuses_what_makes_no_sense():
    p, y = leaning(20, 0)
    with pytest.raises(JepalibError, match=r"\[0, 1\)"):
        accuracy_against_rejection(p, y, None, np.array([0.5, 1.0]))
    for uncertainty in (np.full(20, np.nan), np.zeros(19)):
        with pytest.raises(JepalibError, match="one finite uncertainty for each of the 20 jets"):
            accuracy_against_rejection(p, y, uncertainty)
    assert accuracy_against_rejection(p[:2], y[:2], None, np.array([0.99])).jets.tolist() == [1]


def test_bins_of_an_observable_are_the_jets_in_them():
    p, y = leaning(600, 5)
    values = np.random.default_rng(0).integers(1, 128, 600).astype(float)
    table = metrics_by(p, y, values, np.array([1.0, 30.0, 60.0, 128.0, 200.0]))
    for row, (low, high) in zip(table.itertuples(), [(1, 30), (30, 60), (60, 128)]):
        chosen = (values >= low) & (values < high)
        assert (row.low, row.high, row.jets) == (low, high, chosen.sum())
        assert row.centre == np.median(values[chosen])
        assert row.accuracy == pytest.approx((p.argmax(1) == y)[chosen].mean())
        assert row.auc_ovo == auc_ovo(p[chosen], y[chosen])
        assert row.ece == expected_calibration_error(p[chosen], y[chosen])
        assert row.ece_floor == calibration_floor(p[chosen])
    empty = table.iloc[-1]
    assert empty.jets == 0
    assert math.isnan(empty.accuracy)
    single = metrics_by(p[y == 3], y[y == 3], values[y == 3], np.array([0.0, 200.0]))
    assert math.isnan(single.auc_ovo[0])
    assert not math.isnan(single.accuracy[0])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 20), min_size=1, max_size=200), st.integers(1, 8))
def test_quantile_edges_hold_every_jet(values, bins):
    values = np.array(values, float)
    edges = quantile_edges(values, bins)
    assert (np.diff(edges) > 0).all()
    assert 2 <= len(edges) <= bins + 1 or len(set(values)) == 1
    p, y = drawn(len(values), 0, 3)
    assert metrics_by(p, y, values, edges).jets.sum() == len(values)


def test_quantile_bins_are_nearly_equal():
    values = np.random.default_rng(0).normal(size=1000)
    counts = np.histogram(values, quantile_edges(values, 5))[0]
    assert counts.min() >= 199
    assert counts.sum() == 1000


def test_bins_refuse_what_they_would_lose():
    p, y = leaning(10, 0)
    values = np.arange(10.0)
    with pytest.raises(JepalibError, match=r"1 of 10 jets lie outside \[0, 9\)"):
        metrics_by(p, y, values, np.array([0.0, 9.0]))
    with pytest.raises(JepalibError, match="have no value"):
        metrics_by(p, y, np.where(values > 3, values, np.nan), np.array([0.0, 99.0]))
    with pytest.raises(JepalibError, match="must be at least two and rise"):
        metrics_by(p, y, values, np.array([9.0, 0.0]))
    with pytest.raises(JepalibError, match="9 values for 10 jets"):
        metrics_by(p, y, values[:9], np.array([0.0, 99.0]))
    with pytest.raises(JepalibError, match="finite values"):
        quantile_edges(np.array([1.0, np.nan]))
    with pytest.raises(JepalibError, match="no probabilities"):
        expected_calibration_error(5 * p, y)
    with pytest.raises(JepalibError, match="0 bins"):
        reliability(p, y, 0)
