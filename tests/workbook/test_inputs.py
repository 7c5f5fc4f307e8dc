"""Where the jets of a notebook come from, on the committed sample."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from public_files import lhco_table, write_lhco

from jepalib.errors import JepalibError
from jepalib.workbook import inputs
from jepalib.workbook.notebook import Stage
from jepalib.workbook.profiles import PAPER

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


def test_notebooks_that_show_all_classes_say_which_are_missing(stage: Stage, two_files: Path) -> None:
    inputs.need_jetclass(inputs.own_store(stage, str(SAMPLE)))
    with pytest.raises(JepalibError, match=r"no training jets of Hbb, .*Tbl; this notebook shows all"):
        inputs.need_jetclass(inputs.own_store(stage, str(two_files)))
    twin = inputs.dataset_store(stage, "quark-gluon", "", {"train": 3, "test": 2}, 0)
    with pytest.raises(JepalibError, match="no training jets of QCD, Hbb"):
        inputs.need_jetclass(twin)


def test_another_data_set_is_simulated_or_ones_own(stage: Stage, two_files: Path) -> None:
    with pytest.raises(JepalibError, match="holds jetclass jets, not top"):
        inputs.dataset_store(stage, "top", str(two_files), {"train": 1}, 0)
    with pytest.raises(JepalibError, match="give top_dir"):
        inputs.dataset_store(stage, "top", "", {"train": 0, "val": 0, "test": 0}, 0)
    twin = inputs.dataset_store(stage, "quark-gluon", "", {"train": 3, "test": 2}, 0)
    assert twin.classes == ("gluon", "quark")
    assert {name: len(twin.rows(name)) for name in ("train", "test")} == {"train": 6, "test": 4}


def test_dijet_events_are_simulated_once_or_chosen_from_a_file(stage: Stage, tmp_path: Path) -> None:
    twin = inputs.dijet_events(stage, "", 3, 2, 0)
    assert sorted(twin.signal.tolist()) == [False, False, False, True, True]
    assert inputs.dijet_events(stage, "", 3, 2, 0).mjj.tolist() == twin.mjj.tolist()
    file = write_lhco(
        tmp_path / "events_anomalydetection.h5", lhco_table([(40, 30)] * 8)
    )  # every other is signal
    chosen = inputs.dijet_events(stage, str(file), 3, 2, 0)
    assert int(chosen.signal.sum()) == 2
    assert len(chosen) == 5
    assert file in stage.paths
    assert chosen.event.tolist() == inputs.dijet_events(stage, str(file), 3, 2, 0).event.tolist()
    assert chosen.event.tolist() != inputs.dijet_events(stage, str(file), 3, 2, 1).event.tolist()
    with pytest.raises(JepalibError, match="9 background events are asked for, it has 4"):
        inputs.dijet_events(stage, str(file), 9, 2, 0)
    with pytest.raises(JepalibError, match="give lhco_file, or numbers"):
        inputs.dijet_events(stage, "", 0, 2, 0)
    with pytest.raises(JepalibError, match="give lhco_file, or numbers"):
        inputs.dijet_events(stage, "", PAPER.background_events, PAPER.signal_events, 0)
    with pytest.raises(JepalibError, match="no such file"):
        inputs.dijet_events(stage, "nowhere.h5", 3, 2, 0)
