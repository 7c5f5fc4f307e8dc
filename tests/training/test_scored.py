"""Scores of several taggers: kept whole, in the order of the rows, with and without dropout."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import average, disagreement
from jepalib.models.encoders import EncoderConfig
from jepalib.training.classifiers import ClassifierConfig, build, probabilities, save_classifier
from jepalib.training.dropout import mc_probabilities
from jepalib.training.scored import Scored, score
from jepalib.training.taggers import Tagger

CPU = torch.device("cpu")
ROWS, VAL_ROWS = np.arange(900, 940), np.arange(100, 120)


def tagger(seed: int, head: str = "mlp", folder: Path = Path()) -> Tagger:
    torch.manual_seed(seed)
    config = ClassifierConfig(EncoderConfig(size="nano"), head)
    return Tagger("fine-tuned", 50, seed, build(config).eval(), config, folder)


def test_every_array_is_that_of_its_tagger_and_survives_the_file(store_path, tmp_path):
    store, two = JetStore.open(store_path), [tagger(0), tagger(1)]
    score(two, store, ROWS, VAL_ROWS, CPU, passes=3, seed=4).save(tmp_path / "new" / "scores.npz")
    found = Scored.load(tmp_path / "new" / "scores.npz")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["scores.npz"]
    assert np.array_equal(found.rows, ROWS)
    assert np.array_equal(found.labels, store.labels[ROWS])
    assert np.array_equal(found.val_labels, store.labels[VAL_ROWS])
    assert found.names.tolist() == ["fine-tuned, seed 0", "fine-tuned, seed 1"]
    assert (found.arms.tolist(), found.seeds.tolist()) == (["fine-tuned"] * 2, [0, 1])
    for i, one in enumerate(two):
        assert np.array_equal(found.probabilities[i], probabilities(one.classifier, store, ROWS, CPU))
        assert np.array_equal(found.val_probabilities[i], probabilities(one.classifier, store, VAL_ROWS, CPU))
        samples = mc_probabilities(one.classifier, store, ROWS, CPU, 3, seed=4)
        np.testing.assert_allclose(found.dropout[i], average(samples), atol=1e-6)
        np.testing.assert_allclose(found.dropout_disagreement[i], disagreement(samples))


def test_no_dropout_where_a_head_has_none_or_no_passes_are_asked_for(store_path):
    store = JetStore.open(store_path)
    for taggers, passes in (([tagger(0), tagger(0, "linear")], 3), ([tagger(0)], 0)):
        found = score(taggers, store, ROWS, VAL_ROWS, CPU, passes, seed=0)
        assert found.dropout.shape == (0, 40, 10)
        assert found.dropout_disagreement.shape == (0, 40)


def test_one_arm_keeps_its_taggers_and_all_jets(store_path):
    store, two = JetStore.open(store_path), [tagger(0), tagger(1)]
    two.append(replace(two[0], arm="from-scratch"))
    for passes in (2, 0):
        found = score(two, store, ROWS, VAL_ROWS, CPU, passes, seed=0)
        own = found.of_arm("fine-tuned")
        assert np.array_equal(own.probabilities, found.probabilities[:2])
        assert np.array_equal(own.val_probabilities, found.val_probabilities[:2])
        assert np.array_equal(own.dropout, found.dropout[:2])
        assert len(own.dropout_disagreement) == len(own.dropout) == (2 if passes else 0)
        assert own.names.tolist() == ["fine-tuned, seed 0", "fine-tuned, seed 1"]
        assert found.of_arm("from-scratch").seeds.tolist() == [0]
        assert np.array_equal(own.rows, ROWS)


def test_a_damaged_file_is_named(tmp_path):
    for content in (b"half", b"PK\x03\x04 cut off"):
        (tmp_path / "scores.npz").write_bytes(content)
        with pytest.raises(JepalibError, match="no scores here"):
            Scored.load(tmp_path / "scores.npz")
    np.savez(tmp_path / "scores.npz", rows=ROWS)
    with pytest.raises(JepalibError, match="labels"):
        Scored.load(tmp_path / "scores.npz")


def test_the_identity_of_a_tagger_is_that_of_its_weights(tmp_path):
    found = []
    for seed in (0, 1):
        one = tagger(seed, folder=tmp_path / str(seed))
        save_classifier(one.path, one.classifier, one.config, {})
        found.append(one.identity)
    assert found[0] != found[1]
    assert Tagger("frozen", 9, 9, one.classifier, one.config, one.path).identity == found[1]
