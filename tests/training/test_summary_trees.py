"""Trees on the numbers of jets: judged on the same jets as the networks, and better than guessing."""

from __future__ import annotations

import numpy as np
import pytest

from jepalib.data.store import JetStore, load_rows
from jepalib.errors import JepalibError
from jepalib.evaluation.label_savings import TREES
from jepalib.summary import NUMBERS
from jepalib.training.adapt import adapt
from jepalib.training.summary_trees import numbers_of, some_rows, summary_trees

SETTINGS = {
    "steps": 1,
    "checks": 1,
    "rates": (1e-3,),
    "encoder_scales": (1.0,),
    "val_jets": 20,
    "test_jets": 100,
}


@pytest.fixture(scope="module")
def store(store_path):
    return JetStore.open(store_path)


def test_the_table_is_that_of_adapt(store):
    table = summary_trees(store, [100, 300], seeds=2, test_jets=100, quiet=True)
    assert table[["mode", "labels", "seed"]].to_numpy().tolist() == [
        [TREES, labels, seed] for labels in (100, 300) for seed in (0, 1)
    ]
    assert (table.test_jets == 100).all()
    assert (table.jets_pretrained == 0).all()
    assert table[table.labels == 300].accuracy.mean() > 0.35  # guessing has 0.1
    again = summary_trees(store, [100], seeds=1, test_jets=100, quiet=True)
    assert again.accuracy.tolist() == [table.accuracy[0]]


def test_labelled_and_test_jets_are_those_of_adapt(store, tmp_path):
    everything = len(store.rows("train"))
    common = {"modes": ("from-scratch",), "seeds": 2, "overrides": SETTINGS, "workers": 1, "quiet": True}
    made = adapt(None, store.path, tmp_path, [50, everything], **common)
    for labels in (50, everything):
        for seed in (0, 1):
            theirs = load_rows(tmp_path / "subsets" / f"labels_{labels}_seed{seed}.npy")
            assert np.array_equal(theirs, some_rows(store, "train", labels, seed))
    assert (made.test_jets == 100).all()
    assert len(some_rows(store, "test", 100, 0)) == 100


def test_numbers_come_in_the_order_of_the_rows(store):
    numbers, labels = numbers_of(store, np.array([700, 3]))
    assert numbers.shape == (2, len(NUMBERS))
    assert np.array_equal(numbers[::-1], numbers_of(store, np.array([3, 700]))[0])
    assert labels.tolist() == np.asarray(store.labels)[[700, 3]].tolist()


def test_more_labels_than_jets_are_refused(store):
    with pytest.raises(JepalibError, match="stratified subset"):
        summary_trees(store, [100_000], seeds=1, quiet=True)
