"""The registry, and conversion of every data set by one command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from made_jets import make_jets
from public_files import quark_gluon_arrays, top_frame, write_quark_gluon, write_top
from root_files import write_jets

from jepalib.data.convert import convert
from jepalib.data.datasets import DATASETS, dataset_of, entries_of_file, iterate_files
from jepalib.data.sources import find_sources
from jepalib.data.store import JetStore, stratified_subset
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES


@pytest.fixture
def top(tmp_path):
    for number, (name, jets) in enumerate({"train": 6, "val": 2, "test": 4}.items()):
        write_top(tmp_path / "top" / f"{name}.h5", top_frame([5] * jets, 20, seed=number))
    return tmp_path / "top"


def test_the_registry():
    assert {name: one.classes for name, one in DATASETS.items()} == {
        "jetclass": CLASSES,
        "top": ("QCD", "top"),
        "quark-gluon": ("gluon", "quark"),
        "lhco": ("background", "signal"),
    }
    assert {name: one.inputs for name, one in DATASETS.items()} == {
        "jetclass": "full",
        "top": "kin",
        "quark-gluon": "kinpid",
        "lhco": "kin",
    }
    assert [dataset_of(Path(f"a{s}")).name for s in (".root", ".h5", ".npz", ".dat")] == [
        "jetclass",
        "top",
        "quark-gluon",
        "jetclass",
    ]


def test_one_call_reads_the_files_of_all(tmp_path):
    files = {
        "jetclass": write_jets(tmp_path / "a.root", make_jets([5, 6])),
        "top": write_top(tmp_path / "a.h5", top_frame([5, 6], 20)),
        "quark-gluon": write_quark_gluon(tmp_path / "a.npz", *quark_gluon_arrays([5, 6])),
    }
    for name, path in files.items():
        for options in ({}, {"dataset": name}, {"allow_unlabelled": True}):
            assert entries_of_file(path, **options) == 2
            (part,) = iterate_files(path, **options)
            assert part.jets.counts.tolist() == [5, 6]
    with pytest.raises(JepalibError, match=r"no data set 'cms'; there are: jetclass, top, quark-gluon, lhco"):
        next(iterate_files(files["top"], dataset="cms"))


def test_top_files_become_a_store_with_their_splits_and_classes(top, tmp_path, capsys):
    store = convert([top], tmp_path / "store")
    assert store.classes == ("QCD", "top")
    assert store.dataset == "top"
    assert {name: len(rows) for name, rows in store.splits().items()} == {"train": 6, "val": 2, "test": 4}
    (part,) = iterate_files(top / "train.h5")
    own = store.read(store.rows("train"))
    assert torch.equal(own.particles, part.jets.particles)
    assert torch.equal(own.observables, part.jets.observables)
    assert own.labels.tolist() == [1, 0, 1, 0, 1, 0]
    assert "12 of 12 jets from 3 files" in capsys.readouterr().out
    again = convert(
        [top / f"{name}.h5" for name in ("val", "test", "train")], tmp_path / "again", 2, quiet=True
    )
    assert again.data_hash == store.data_hash
    assert again.splits() == store.splits()
    assert convert([top], tmp_path / "store", quiet=True).data_hash == store.data_hash  # done already


def test_quark_gluon_files_are_divided_80_10_10(tmp_path, capsys):
    write_quark_gluon(tmp_path / "qg" / "QG_jets.npz", *quark_gluon_arrays([5] * 12))
    write_quark_gluon(tmp_path / "qg" / "QG_jets_1.npz", *quark_gluon_arrays([7] * 8, length=9, seed=1))
    store = convert([tmp_path / "qg"], tmp_path / "store", quiet=True)
    assert store.classes == ("gluon", "quark")
    rows = {split: store.rows(split, seed=1) for split in ("train", "val", "test")}
    assert {split: len(r) for split, r in rows.items()} == {"train": 16, "val": 2, "test": 2}
    assert sorted(np.concatenate(list(rows.values()))) == list(range(20))
    for split in ("val", "test"):
        assert sorted(store.labels[rows[split]].tolist()) == [0, 1]
    assert "divided 80/10/10 by class" in capsys.readouterr().err
    with pytest.raises(JepalibError, match=r"30 labels need 15 jets of (quark|gluon), there are 10"):
        stratified_subset(store.labels, range(20), 30, 0, store.classes)


def test_quark_gluon_folders_name_splits(tmp_path):
    for number, split in enumerate(("train", "val", "test")):
        write_quark_gluon(tmp_path / "qg" / split / "QG_jets.npz", *quark_gluon_arrays([5] * 4, seed=number))
    store = convert([tmp_path / "qg"], tmp_path / "store", quiet=True)
    assert {name: len(rows) for name, rows in store.splits().items()} == {"train": 4, "val": 4, "test": 4}


def test_files_of_several_data_sets_need_a_name(top, tmp_path):
    write_jets(top / "HToBB_000.root", make_jets([5, 6]))
    with pytest.raises(JepalibError, match=r"several data sets \(jetclass, top\).*--dataset"):
        convert([top], tmp_path / "store", quiet=True)
    assert len(convert([top], tmp_path / "store", quiet=True, dataset="jetclass")) == 2
    assert [source.name for source in find_sources([top], "jetclass")] == ["top/HToBB_000.root"]
    with pytest.raises(JepalibError, match=r"no \.npz files in"):
        convert([top], tmp_path / "none", quiet=True, dataset="quark-gluon")
    with pytest.raises(JepalibError, match="no data set 'Top'"):
        convert([top], tmp_path / "none", quiet=True, dataset="Top")
    (top / "jets.hdf5").write_bytes((top / "val.h5").read_bytes())
    assert len(convert([top / "jets.hdf5"], tmp_path / "named", quiet=True, dataset="top")) == 2


def test_a_bad_file_stops_it_before_anything_is_written(top, tmp_path):
    write_top(top / "val.h5", top_frame([5], 20).drop(columns="PX_3"))
    with pytest.raises(JepalibError, match=r"val\.h5: column PX_3 is missing"):
        convert([top], tmp_path / "store", quiet=True)
    assert not list(tmp_path.glob("store*"))


def test_stores_from_before_are_jetclass(tmp_path):
    write_jets(tmp_path / "a.root", make_jets([5, 6]))
    store = convert([tmp_path], tmp_path / "store", quiet=True)
    manifest = json.loads((store.path / "manifest.json").read_text())
    assert manifest.pop("dataset") == "jetclass"
    (store.path / "manifest.json").write_text(json.dumps(manifest))
    old = JetStore.open(store.path)
    assert (old.dataset, old.classes) == ("jetclass", CLASSES)
    for change in ({"dataset": "lhco"}, {"dataset": "top"}, {"classes": ["QCD", "top"]}):
        (store.path / "manifest.json").write_text(json.dumps(manifest | change))
        with pytest.raises(JepalibError, match="written by another version"):
            JetStore.open(store.path)
