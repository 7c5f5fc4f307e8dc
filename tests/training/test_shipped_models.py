"""Encoders that come along: whole folders, cards that agree with their tables, more than random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from jepalib.data.store import JetStore
from jepalib.evaluation.label_savings import few_shot_table
from jepalib.evaluation.representation import linear_probe
from jepalib.training.classifiers import encode, untrained_encoder
from jepalib.training.runs import Run

MODELS = Path(__file__).parents[2] / "data" / "models"
FOLDERS = sorted(path.parent for path in MODELS.glob("*/config.json"))


def test_there_is_one():
    assert FOLDERS


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_is_a_small_finished_run_of_a_known_revision(folder):
    run = Run.open(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 5e6
    assert run.manifest["jets_seen"] > 0
    assert run.manifest["git"]
    assert "dirty" not in run.manifest["git"]
    assert all(torch.isfinite(weight).all() for weight in run.encoder().state_dict().values())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_card_says_what_the_table_says(folder):
    card, manifest = (folder / "README.md").read_text(), Run.open(folder).manifest
    for name in ("jets_seen", "training_jets"):
        assert f"{manifest[name]:,}" in card, name
    for name in ("git", "data_hash"):
        assert manifest[name] in card, name
    table = few_shot_table(folder / "few_shot.csv")
    own = table[table.jets_pretrained.isin([0, manifest["jets_seen"]])]
    for (mode, labels), values in own.groupby(["mode", "labels"]).accuracy:
        assert f"{values.mean():.3f} ± {values.std():.3f}" in card, (mode, labels)
    assert {"from-scratch", "fine-tuned", "linear-probe", "frozen"} <= set(own["mode"])


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_it_knows_more_of_the_sample_than_random_weights(folder, store_path):
    """Jets of another seed than those it was trained on; 500 labels, 500 jets to judge."""
    store, run = JetStore.open(store_path), Run.open(folder)
    mixed = np.random.default_rng(0).permutation(len(store))
    accuracies = []
    for encoder in (run.encoder(), untrained_encoder(run.architecture, store, seed=0)):
        train, test = (
            encode(encoder, store, np.sort(rows), torch.device("cpu")) for rows in (mixed[:500], mixed[500:])
        )
        accuracies.append(linear_probe(train.pooled, train.labels, test.pooled, test.labels).accuracy)
    assert accuracies[0] > 0.5
    assert accuracies[0] > accuracies[1] + 0.1
