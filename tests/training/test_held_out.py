"""The objective on held-out jets: the same questions for every run, and the whole method from its folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.training.distributed import World
from jepalib.training.held_out import held_out_loss
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import Pretraining, pretrain
from jepalib.training.runs import Run

CPU = torch.device("cpu")
SETTINGS = {"batch_size": 32, "steps": 8, "log_every": 4, "warmup": 0.0}


def train(store_path, folder, method="jet-targets", size="femto", **settings) -> Run:
    config = pretrain_config(method, size, SETTINGS | settings)
    return pretrain(config, store_path, folder, quiet=True)


@pytest.mark.parametrize("method", ["jp-jepa", "hep-jepa", "p-jepa", "jet-targets", "supervised"])
def test_the_whole_method_is_rebuilt_from_its_folder(store_path, tmp_path, method):
    run = train(store_path, tmp_path / "run", method, steps=2)
    state = Pretraining(run, store_path, World(0, 1, CPU), quiet=True).method.state_dict()  # from resume.pt
    rebuilt = Run.open(run.path).method()
    assert not rebuilt.training
    assert state.keys() == rebuilt.state_dict().keys()
    for name, value in rebuilt.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_a_run_of_before_is_told(store_path, tmp_path):
    run = train(store_path, tmp_path / "run", steps=2)
    (run.path / "rest.safetensors").unlink()
    with pytest.raises(JepalibError, match=r"has no rest.safetensors.* pre-train again"):
        run.method()


def test_the_loss_is_that_of_the_method_on_these_jets(store_path, tmp_path):
    store = JetStore.open(store_path)
    run = train(store_path, tmp_path / "run", snapshots=(64,))
    rows = np.asarray(store.rows("val"))
    found = held_out_loss(run, store, rows, CPU, seed=3)
    assert held_out_loss(run, store, rows[::-1], CPU, seed=3).jets == found.jets == len(rows)
    assert found.loss == held_out_loss(run, store, rows, CPU, seed=3).loss  # the masks too
    assert found.loss != held_out_loss(run, store, rows, CPU, seed=4).loss
    assert found.parts["jet"] == pytest.approx(found.loss)
    assert np.isnan(found.error)  # one batch
    (early,) = run.snapshots
    assert held_out_loss(early, store, rows, CPU, seed=3).loss > found.loss
    many = held_out_loss(run, store, np.asarray(store.rows("train")), CPU)
    assert 0 < many.error < 0.2 * many.loss


@pytest.mark.parametrize("batch", [1000, 30])
def test_questions_do_not_depend_on_the_size_or_what_was_seen(store_path, tmp_path, monkeypatch, batch):
    """Targets and masks of two runs of other sizes, on other jets."""
    monkeypatch.setattr("jepalib.training.held_out.BATCH", batch)
    store, asked = JetStore.open(store_path), []
    runs = [train(store_path, tmp_path / "a", steps=2)]
    runs.append(train(store_path, tmp_path / "b", size="pico", max_jets=50))

    def noted(predicted, targets):
        asked.append(targets)
        return (predicted - targets).abs().mean()

    monkeypatch.setattr("jepalib.methods.jet_targets.smooth_l1", noted)
    for run in runs:
        held_out_loss(run, store, np.asarray(store.rows("val")), CPU)
    half = len(asked) // 2
    assert half == -(-len(store.rows("val")) // batch)
    assert all(torch.equal(first, second) for first, second in zip(asked[:half], asked[half:], strict=True))
    assert abs(float(torch.cat(asked[:half]).mean())) < 0.1


def test_too_few_jets_are_refused(store_path, tmp_path):
    run = train(store_path, tmp_path / "run", steps=2)
    with pytest.raises(JepalibError, match="1 of 1 jets have two constituents or more"):
        held_out_loss(run, JetStore.open(store_path), np.array([5]), CPU)
