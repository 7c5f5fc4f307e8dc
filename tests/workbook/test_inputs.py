"""Where the jets of a notebook come from, on the committed sample."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jepalib.errors import JepalibError
from jepalib.workbook import inputs
from jepalib.workbook.notebook import Stage

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage("01_explore", tmp_path)


@pytest.fixture
def two_files(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in ("ZJetsToNuNu_000.root", "TTBar_000.root"):
        shutil.copy(SAMPLE / name, folder)
    return folder


def test_own_files_are_converted_once_and_a_store_is_opened(stage: Stage, two_files: Path) -> None:
    store = inputs.own_store(stage, str(two_files))
    assert len(store) == 200
    assert stage.paths == [store.path]
    again = inputs.own_store(stage, str(two_files))
    direct = inputs.own_store(stage, str(store.path))
    assert again.data_hash == direct.data_hash == store.data_hash


def test_a_folder_that_is_not_there(stage: Stage) -> None:
    with pytest.raises(JepalibError, match="data_dir=nowhere"):
        inputs.own_store(stage, "nowhere")


def test_nothing_to_simulate(stage: Stage) -> None:
    with pytest.raises(JepalibError, match="give data_dir"):
        inputs.simulated_store(stage, {"train": 0, "val": 0, "test": 0}, seed=0)


def test_some_jets_are_balanced_mixed_and_the_same_each_time(stage: Stage, two_files: Path) -> None:
    store = inputs.own_store(stage, str(two_files))
    jets = inputs.some_jets(store, "train", 40, seed=1)
    assert jets.labels.bincount().max() == 20
    assert jets.labels[:20].unique().numel() == 2
    assert jets.index.tolist() == inputs.some_jets(store, "train", 40, seed=1).index.tolist()
    assert len(inputs.some_jets(store, "train", 10_000)) == 120


def test_another_data_set_is_simulated_or_ones_own(stage: Stage, two_files: Path) -> None:
    with pytest.raises(JepalibError, match="holds jetclass jets, not top"):
        inputs.dataset_store(stage, "top", str(two_files), {"train": 1}, 0)
    with pytest.raises(JepalibError, match="give top_dir"):
        inputs.dataset_store(stage, "top", "", {"train": 0, "val": 0, "test": 0}, 0)
    twin = inputs.dataset_store(stage, "quark-gluon", "", {"train": 3, "test": 2}, 0)
    assert twin.classes == ("gluon", "quark")
    assert {name: len(twin.rows(name)) for name in ("train", "test")} == {"train": 6, "test": 4}
