"""Spectrum, rank and probes: closed forms, limits, and data with a known answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from jepalib.errors import JepalibError
from jepalib.evaluation.representation import (
    class_centroids,
    effective_rank,
    knn_probe,
    linear_probe,
    measures,
    measures_by_layer,
    per_dimension_std,
    ppe,
    spectrum_auc,
    svm_probe,
)


def orthogonal(n: int, d: int, seed: int = 0) -> np.ndarray:
    """n x d with orthonormal columns of mean zero."""
    x = np.random.default_rng(seed).normal(size=(n, d))
    return np.linalg.qr(x - x.mean(0))[0]


@pytest.mark.parametrize("dims", [2, 7, 64])
def test_isotropic_embedding(dims):
    x = orthogonal(200, dims)
    assert spectrum_auc(x) == pytest.approx((dims + 1) / (2 * dims))
    assert effective_rank(x) == pytest.approx(dims)


def test_known_spectrum():
    x = orthogonal(50, 3) * np.array([3.0, 1.0, 0.0]) + 5
    assert spectrum_auc(x) == pytest.approx((0.9 + 1 + 1) / 3)
    assert effective_rank(x) == pytest.approx(math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25)))


@pytest.mark.parametrize("kind", ["zero", "point", "line"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_collapse_gives_the_limits(kind, dtype):
    row = np.random.default_rng(0).normal(size=(1, 16)) * 1e3
    along = {"zero": np.zeros((100, 1)), "point": np.ones((100, 1)), "line": np.arange(100)[:, None]}[kind]
    x = (along * row).astype(dtype)
    assert spectrum_auc(x) == pytest.approx(1, abs=1e-6)
    assert effective_rank(x) == pytest.approx(1, abs=1e-4)
    if kind != "line":
        assert per_dimension_std(x) == pytest.approx(np.zeros(16), abs=1e-9)


def test_rounding_is_no_rank():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1, 16)) * (1 + 1e-7 * rng.normal(size=(100, 16)))).astype(np.float32)
    assert len(np.unique(x, axis=0)) > 90
    assert (effective_rank(x), spectrum_auc(x)) == (1, 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(1, 20), st.integers(0, 99), st.floats(1e-3, 1e3))
def test_bounds_and_invariance(n, dims, seed, scale):
    x = np.random.default_rng(seed).normal(size=(n, dims))
    assert 1 - 1e-9 <= effective_rank(x) <= min(dims, n - 1) + 1e-9
    assert (dims + 1) / (2 * dims) - 1e-9 <= spectrum_auc(x) <= 1 + 1e-9
    assert effective_rank(scale * x + 3) == pytest.approx(effective_rank(x), rel=1e-6)
    assert 0 <= ppe(x) + 1e-9 <= 100


def test_tensors_of_any_precision_need_no_detaching():
    x = torch.randn(64, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert effective_rank(x) == effective_rank(x.detach().numpy())
    assert spectrum_auc(x.to(torch.bfloat16)) == pytest.approx(spectrum_auc(x), abs=0.01)
    assert per_dimension_std(x) == pytest.approx(x.detach().double().std(0).numpy())


def test_ppe_limits():
    assert ppe(3 * np.eye(5, 8)) == pytest.approx(0, abs=1e-9)
    # Equal rows: nuclear norm sqrt(P), bound P, for P <= D.
    assert ppe(np.ones((4, 9))) == pytest.approx(50)
    assert ppe(np.zeros((4, 9))) == 100


def test_bad_embeddings_are_named():
    with pytest.raises(JepalibError, match="1 embeddings"):
        effective_rank(np.ones((1, 3)))
    with pytest.raises(JepalibError, match="NaN"):
        spectrum_auc(np.array([[1.0, np.nan], [0, 1]]))


def clusters(jets: int, seed: int, width: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    y = np.arange(jets) % 10
    centres = np.random.default_rng(9).normal(size=(10, 12)) * 3
    return centres[y] + np.random.default_rng(seed).normal(size=(jets, 12)) * width, y


@pytest.mark.parametrize("probe", [linear_probe, svm_probe, knn_probe])
def test_probes_read_what_is_there_and_nothing_else(probe):
    x, y = clusters(300, 0)
    test_x, test_y = clusters(1000, 1)
    good = probe(x, y, test_x, test_y)
    assert good.accuracy > 0.97
    assert good.accuracy == (good.predicted == test_y).mean()
    if probe is svm_probe:
        assert good.probabilities is None
    else:
        assert good.probabilities.shape == (1000, 10)
        assert good.probabilities.sum(1) == pytest.approx(np.ones(1000))
        assert np.array_equal(good.predicted, good.probabilities.argmax(1))
    noise = np.random.default_rng(2).normal(size=(1300, 12))
    assert probe(noise[:300], y, noise[300:], test_y).accuracy < 0.15
    # Scale and offset of an embedding do not matter.
    scaled = probe(torch.tensor(x * 100 + 7), torch.tensor(y), torch.tensor(test_x * 100 + 7), test_y)
    assert scaled.accuracy == pytest.approx(good.accuracy, abs=0.005)


def test_linear_probe_chooses_more_regularisation_for_noisier_data():
    clean = linear_probe(*clusters(2000, 0, 1.0), *clusters(10, 1))
    rng = np.random.default_rng(3)
    wide = rng.normal(size=(200, 150))  # mostly noise, few jets
    y = np.arange(200) % 2
    wide[:, 0] += 2 * y
    noisy = linear_probe(wide, y, wide, y)
    assert noisy.setting <= 0.01
    assert noisy.setting < clean.setting
    assert svm_probe(wide, y, wide, y).setting < 0.1


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("c", [1e-3, 1e-1])
def test_svm_probe_is_the_linear_svc_of_scikit_learn(monkeypatch, classes, c):
    x, y = clusters(600, 0, width=4.0)
    test_x, test_y = clusters(2000, 1, width=4.0)
    (x, y), (test_x, test_y) = ((x[y < classes], y[y < classes]) for x, y in ((x, y), (test_x, test_y)))
    monkeypatch.setattr("jepalib.evaluation.representation.SVM_REGULARISATION", (c,))
    ours = svm_probe(x, y, test_x, test_y)
    theirs = make_pipeline(StandardScaler(), LinearSVC(C=c, dual=False, tol=1e-6)).fit(x, y)
    agree = (theirs.predict(test_x) == ours.predicted).mean()
    assert agree > 0.995
    assert ours.accuracy == pytest.approx(theirs.score(test_x, test_y), abs=0.004)
    assert ours.accuracy < 0.99, "a case that is not trivial"


@pytest.mark.parametrize("probe", [linear_probe, svm_probe])
def test_probes_with_few_jets_or_iterations(monkeypatch, probe):
    x, y = clusters(40, 0)
    assert probe(x, y, x, y).converged
    monkeypatch.setattr("jepalib.evaluation.representation.ITERATIONS", 1)
    assert not probe(x, y, x, y).converged
    assert knn_probe(x[:5], y[:5], x, y).setting == 5
    with pytest.raises(JepalibError, match=f"{probe.__name__}: 10 training jets"):
        probe(x[:10], y[:10], x, y)


def test_unseen_classes_have_probability_zero():
    x, y = clusters(100, 0)
    few = y < 3
    probe = linear_probe(x[few], y[few], x, y)
    assert (probe.probabilities[:, 3:] == 0).all()
    assert probe.accuracy <= 0.3
    assert svm_probe(x[few], y[few], x, y).predicted.max() == 2


def test_class_centroids_are_means_of_directions():
    x = np.array([[2.0, 0, 0], [0, 5.0, 0], [0, 0, 3.0], [0, 0, 1.0]], np.float32)
    centroids = class_centroids(x, np.array([7, 7, 2, 2]))
    np.testing.assert_allclose(centroids, [[0, 0, 1], [0.5, 0.5, 0]])
    assert ppe(centroids) == pytest.approx(0, abs=1e-6), "orthogonal classes are as far apart as can be"


def test_measures_by_layer_are_those_of_each_function():
    (x, y), (test_x, test_y) = clusters(300, 0), clusters(400, 1)
    layers = measures_by_layer({"a": x * 0 + 1, "b": x}, y, {"a": test_x * 0 + 1, "b": test_x}, test_y)
    assert layers.layer.tolist() == ["a", "b"]
    dead, alive = layers.iloc[0], layers.iloc[1]
    assert (dead["rank"], dead.spectrum_auc) == (1, 1)
    assert max(dead.knn, dead.linear, dead.svm) <= 0.1, "a collapsed layer tells nothing, and gives numbers"
    assert dead.ppe == pytest.approx(100 * (1 - 1 / math.sqrt(10)))
    assert alive.dims == 12
    assert alive["rank"] == effective_rank(test_x)
    assert alive.spectrum_auc == spectrum_auc(test_x)
    assert (alive.ppe, alive.ppe_jets) == (ppe(class_centroids(test_x, test_y)), ppe(test_x))
    assert (alive.knn, alive.svm) == (
        knn_probe(x, y, test_x, test_y).accuracy,
        svm_probe(x, y, test_x, test_y).accuracy,
    )
    worst = min(alive.knn, alive.linear, alive.svm)
    assert alive.error == pytest.approx(math.sqrt(worst * (1 - worst) / 400))
    assert measures(x, y, test_x, test_y)["linear"] == alive.linear
    with pytest.raises(JepalibError, match=r"\['a'\]"):
        measures_by_layer({"a": x}, y, {"b": test_x}, test_y)


@pytest.mark.parametrize("probe", [linear_probe, svm_probe, knn_probe])
def test_unlabelled_jets_are_refused_and_not_taken_for_the_last_class(probe):
    x, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 3
    with pytest.raises(JepalibError, match="20 of 60 jets have no label"):
        probe(x, y, x, np.where(y == 0, -1, y))
    with pytest.raises(JepalibError, match="20 of 60 jets have no label"):
        probe(x, np.where(y == 0, -1, y), x, y)
