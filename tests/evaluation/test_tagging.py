"""Tagging numbers against scikit-learn, closed forms and counted cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from jepalib.errors import JepalibError
from jepalib.evaluation.tagging import (
    SIGNAL_EFFICIENCY,
    auc_ovo,
    background_rejection,
    confusion_matrix,
    discriminant,
    log_loss,
    rejections,
    tagging_metrics,
)
from jepalib.schema import CLASSES


def scores(jets: int, seed: int, strength: float = 1.0, digits: int | None = None):
    """Softmax scores that lean to the true class; `digits` makes ties."""
    rng = np.random.default_rng(seed)
    labels = np.arange(jets) % 10
    logits = rng.normal(size=(jets, 10))
    logits[np.arange(jets), labels] += strength
    if digits is not None:
        logits = logits.round(digits)
    exp = np.exp(logits)
    return exp / exp.sum(1, keepdims=True), labels


@settings(deadline=None, max_examples=25)
@given(st.integers(20, 400), st.integers(0, 1000), st.sampled_from([None, 0, 1]))
def test_numbers_equal_scikit_learn(jets, seed, digits):
    p, y = scores(jets, seed, digits=digits)
    expected = sk.roc_auc_score(y, p, multi_class="ovo", average="macro", labels=range(10))
    assert auc_ovo(p, y) == pytest.approx(expected, abs=1e-12)
    assert log_loss(p, y) == pytest.approx(sk.log_loss(y, p, labels=range(10)), rel=1e-9)
    assert np.array_equal(confusion_matrix(p, y), sk.confusion_matrix(y, p.argmax(1), labels=range(10)))


def test_auc_of_present_classes_only():
    p, y = scores(300, 0)
    some = y < 4
    perfect = np.eye(10)[y[some]]
    assert auc_ovo(perfect, y[some]) == 1.0
    assert auc_ovo(np.full((300, 10), 0.1), y) == 0.5
    assert math.isnan(auc_ovo(p[:5] * 0 + 0.1, np.zeros(5, int)))


@pytest.mark.parametrize("name", ["Hbb", "Hqql", "Tbl"])
def test_rejection_equals_the_roc_curve(name):
    p, y = scores(20_000, 1)
    chosen = (y == 0) | (y == CLASSES.index(name))
    fpr, tpr, _ = sk.roc_curve(y[chosen] > 0, discriminant(p, name)[chosen], drop_intermediate=False)
    expected = 1 / fpr[np.argmax(tpr >= SIGNAL_EFFICIENCY[name] - 1e-12)]
    assert rejections(p, y)[name].value == pytest.approx(expected)


def test_efficiencies_are_those_of_the_paper():
    assert SIGNAL_EFFICIENCY["Hqql"] == 0.99
    assert SIGNAL_EFFICIENCY["Tbl"] == 0.995
    assert sorted(SIGNAL_EFFICIENCY.values())[:7] == [0.5] * 7
    assert list(SIGNAL_EFFICIENCY) == list(CLASSES[1:])


def test_rejection_and_uncertainty_by_hand():
    background = np.linspace(0, 1, 1000, endpoint=False)
    result = background_rejection(np.array([0.1, 0.9, 0.95, 0.99]), background, 0.75)
    assert result.passing == 100
    assert result.value == pytest.approx(10)
    assert result.uncertainty == pytest.approx(10 * math.sqrt(0.9 / 100))
    # The spread of many repetitions is what the uncertainty says.
    rng = np.random.default_rng(0)
    values = [background_rejection(np.array([0.1, 0.9]), rng.random(1000), 0.5).value for _ in range(2000)]
    assert np.std(values) == pytest.approx(result.uncertainty, rel=0.1)


def test_rejection_without_statistics_says_why():
    few = background_rejection(np.linspace(0.9, 1, 100), np.linspace(0, 0.94, 100), 0.5)
    assert math.isnan(few.value)
    assert few.reason == "0 of 100 background jets pass, 10 needed"
    small = background_rejection(np.linspace(0, 1, 199), np.linspace(0, 1, 1000), 0.995)
    assert math.isnan(small.uncertainty)
    assert small.reason == "199 signal jets, 200 needed for an efficiency of 99.5 %"
    assert background_rejection(np.linspace(0, 1, 200), np.linspace(0, 1, 1000), 0.995).passing > 900


def test_all_metrics_have_their_keys():
    p, y = scores(5000, 2)
    result = tagging_metrics(p.astype(np.float32), y)
    assert {"accuracy", "auc_ovo", "log_loss"} < set(result)
    assert {f"rej_{c}" for c in CLASSES[1:]} < set(result)
    assert result["accuracy"] == (p.argmax(1) == y).mean()
    assert result["rej_Hbb"] > 1
    assert result["rej_Hbb_err"] > 0


def test_log_loss_of_a_certain_mistake_is_finite():
    assert log_loss(np.eye(10)[[1]], np.array([0])) == pytest.approx(-math.log(np.finfo(np.float32).eps))


@pytest.mark.parametrize(
    ("p", "y", "message"),
    [
        (np.full((3, 10), 0.1), np.array([0, 1, 10]), "1 of 3 labels"),
        (np.full((3, 9), 1 / 9), np.array([0, 1, 2]), "9 columns"),
        (np.full((2, 10), 0.3), np.array([0, 1]), "softmax"),
        (np.full((2, 10), np.nan), np.array([0, 1]), "no probabilities"),
        (np.zeros((0, 10)), np.zeros(0, int), "no jets"),
    ],
)
def test_bad_input_is_named(p, y, message):
    with pytest.raises(JepalibError, match=message):
        tagging_metrics(p, y)
