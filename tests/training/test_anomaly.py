"""The fine-tuned arm of an anomaly search: what it may see, what it learns, how samples weigh."""

from __future__ import annotations

import gc
import pickle

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.evaluation.search import Sizes, draw
from jepalib.schema import CLASSES
from jepalib.training import anomaly
from jepalib.training.anomaly import SampleTraining, TwoSamples, tuned_on_samples
from jepalib.training.few_shot import AdaptConfig

SETTINGS = {"batch_size": 32, "checks": 3, "rates": (3e-3,), "encoder_scales": (1.0,)}


def config(steps: int = 6) -> AdaptConfig:
    return AdaptConfig(steps=steps, **SETTINGS)


@pytest.fixture
def store(store_path) -> JetStore:
    return JetStore.open(store_path)


def rows_of(store: JetStore, *names: str) -> np.ndarray:
    return np.flatnonzero(np.isin(store.labels, [CLASSES.index(name) for name in names]))


def test_two_samples_know_no_truth(store):
    whole = store.read(range(20))
    b = np.array([3, 7, 11])
    samples = TwoSamples(store, b)
    jets = samples.read(range(20))
    assert np.flatnonzero(jets.labels).tolist() == b.tolist()
    assert torch.equal(jets.particles, whole.particles)
    assert (samples.classes, len(samples)) == (("A", "B"), len(store))
    assert store.read(range(20)).labels.tolist() == whole.labels.tolist()
    del store
    gc.collect()
    assert len(samples.read(np.array([0]))) == 1  # the files stay open


def test_trainings_see_a_and_b_and_never_a_test_jet(store, trained, monkeypatch):
    background, signal = rows_of(store, "QCD", "Hgg", "Zqq"), rows_of(store, "Tbl")
    seen = []

    class Spy(SampleTraining):
        def __init__(self, arm, head, rows, seed, trial):
            seen.append((arm, rows))
            super().__init__(arm, head, rows, seed, trial)

    monkeypatch.setattr(anomaly, "SampleTraining", Spy)
    sizes = Sizes(80, 60, 100, 30)
    drawn = draw((len(background), len(signal)), sizes, 20, 0)
    tuned = tuned_on_samples(trained.path, store, background, signal, config(2))
    scores = tuned(drawn, 0)
    assert [len(s) for s in scores] == [100, 30]
    ((arm, rows),) = seen
    steps, epochs = tuned.length(sizes, 20)
    assert steps == config(2).steps_for(len(rows))
    assert epochs == pytest.approx(32 * steps / len(rows))
    used = np.concatenate([rows, arm.val])
    a, b = background[drawn.a], np.concatenate([background[drawn.b], signal[drawn.signal]])
    assert sorted(used.tolist()) == sorted([*a.tolist(), *b.tolist()])
    assert not set(used.tolist()) & set(arm.test.tolist())
    assert len(arm.val) == 40
    assert arm.store.labels[arm.val].sum() == 20
    assert np.flatnonzero(arm.store.labels).tolist() == sorted(b.tolist())


def test_a_plain_difference_is_learned_from_scratch(store, trained):
    """B holds signal that is nothing like the background: leptonic tops among H to gg."""
    background, signal = rows_of(store, "Hgg", "H4q"), rows_of(store, "Tbl", "Hqql")
    arm = tuned_on_samples(trained.path, store, background, signal, config(60), scratch=True)
    drawn = draw((len(background), len(signal)), Sizes(50, 50, 100, 100), 80, 0)
    scores = arm(drawn, 0)
    assert roc_auc_score(np.repeat([0, 1], [100, 100]), np.concatenate(scores)) > 0.8


def test_a_pretrained_encoder_begins_every_training_anew(store, trained):
    background, signal = rows_of(store, "QCD"), rows_of(store, "Tbqq")
    arm = tuned_on_samples(trained.path, store, background, signal, config(3))
    drawn = draw((len(background), len(signal)), Sizes(30, 30, 40, 40), 20, 1)
    first, again = arm(drawn, 1), arm(drawn, 1)
    np.testing.assert_allclose(first[0], again[0], rtol=1e-5)
    assert (first[1] > 0).all()
    assert np.std(first[1]) > 0


def test_samples_weigh_the_same_and_the_log_loss_decides(store):
    training = SampleTraining.__new__(SampleTraining)
    training.rows = np.arange(100)
    training.arm = type("A", (), {"store": TwoSamples(store, np.arange(10))})()
    scores = torch.tensor([[0.3, -0.2], [1.0, 0.5]])
    losses = torch.nn.functional.cross_entropy(scores, torch.tensor([0, 1]), reduction="none")
    weights = torch.tensor([100 / 180, 100 / 20])
    expected = (losses * weights).sum() / weights.sum()
    torch.testing.assert_close(training._cross_entropy(scores, torch.tensor([0, 1])), expected)
    labels = np.array([0, 0, 0, 1])
    sure = np.array([[0.9, 0.1]] * 3 + [[0.1, 0.9]])
    assert training._quality(sure, labels) == pytest.approx(np.log(0.9))
    flat = np.full((4, 2), 0.5)
    assert training._quality(flat, labels) == pytest.approx(np.log(0.5))
    lopsided = np.array([[0.99, 0.01]] * 4)  # right three times of four, and worse than knowing nothing
    assert training._quality(lopsided, labels) < training._quality(flat, labels)


def test_pools_share_nothing(store, trained):
    with pytest.raises(JepalibError, match="2 rows are background and signal"):
        tuned_on_samples(trained.path, store, np.arange(10), np.arange(8, 20), config())


def test_from_scratch_it_is_the_same_network_without_its_training(store, trained):
    background, signal = rows_of(store, "QCD"), rows_of(store, "Tbqq")
    drawn = draw((len(background), len(signal)), Sizes(30, 30, 40, 40), 20, 1)
    tuned, scratch = (
        tuned_on_samples(trained.path, store, background, signal, config(1), scratch=scratch)
        for scratch in (False, True)
    )
    assert scratch.pools == (100, 100)
    assert not np.allclose(tuned(drawn, 0)[0], scratch(drawn, 0)[0])
    again = pickle.loads(pickle.dumps(scratch))  # as it goes to a worker
    np.testing.assert_allclose(again(drawn, 0)[0], scratch(drawn, 0)[0], rtol=1e-5)
