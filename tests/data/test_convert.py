"""Converting files into a store: order, splits, accounts, interruptions, repeats."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_jets import make_jets
from root_files import write_jets

from jepalib.data import convert as convert_module
from jepalib.data.convert import convert
from jepalib.data.sources import find_sources
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.jets import concatenate


@pytest.fixture
def tree(tmp_path):
    """A JetClass-like tree of four files, and the jets of each by its name."""
    files = {
        "train_100M/HToBB_000.root": make_jets([5, 9, 40, 3], seed=1),
        "train_100M/HToBB_001.root": make_jets([60, 0, 8], seed=2),
        "val_5M/TTBar_120.root": make_jets([130, 20], seed=3),
        "test_20M/TTBar_100.root": make_jets([11, 12, 13, 14, 15], seed=4),
    }
    files["test_20M/TTBar_100.root"].particles[12, 3] = math.nan  # in its second jet
    for name, jets in files.items():
        write_jets(tmp_path / "JetClass" / name, jets)
    return tmp_path / "JetClass", files


def test_rows_lie_by_split_and_file_and_every_entry_is_accounted_for(tree, tmp_path, capsys):
    source, files = tree
    store = convert([source], tmp_path / "store")
    assert store.splits() == {"test": range(0, 4), "train": range(4, 10), "val": range(10, 12)}
    test, first, second, val = (files[name] for name in sorted(files))
    read = store.read(range(len(store)))
    expected = concatenate([test.take([0, 2, 3, 4]), first, second.take([0, 2]), val])
    keep = torch.ones(len(expected.particles), dtype=torch.bool)
    keep[-22:-20] = False  # the two softest of the jet of 130
    expected = expected.select_particles(keep)
    for name in ("particles", "offsets", "observables", "labels"):
        assert torch.equal(getattr(read, name), getattr(expected, name)), name
    records = store.manifest["files"]
    assert [record["path"] for record in records] == sorted(files)
    assert [record["split"] for record in records] == ["test", "train", "train", "val"]
    assert [record["rows"] for record in records] == [4, 4, 2, 2]
    assert all(r["entries"] == r["rows"] + sum(r["dropped"].values()) for r in records)
    assert records[0]["dropped"] == {"NaN or infinite values": 1}
    assert records[0]["dropped_entries"] == {"NaN or infinite values": [1]}
    assert records[2]["dropped"] == {"no particles": 1}
    assert store.manifest["particles beyond 128"] == records[3]["particles beyond 128"] == 2
    out = capsys.readouterr().out
    assert "12 of 14 jets from 4 files (test 4, train 6, val 2)" in out
    assert "dropped 1: NaN or infinite values (first in test_20M/TTBar_100.root, entries 1)" in out
    assert "cut 2 particles beyond 128" in out


def test_hashes_tell_the_sources_and_the_data(tree, tmp_path):
    import hashlib

    source, _ = tree
    store = convert([source], tmp_path / "store", quiet=True)
    for record in store.manifest["files"]:
        content = (source / record["path"]).read_bytes()
        assert record["bytes"] == len(content)
        assert record["sha256"] == hashlib.sha256(content).hexdigest()
    again = convert(sorted(source.rglob("*.root"), reverse=True), tmp_path / "again", quiet=True)
    assert again.data_hash == store.data_hash  # whatever the order and way in which files are given
    write_jets(source / "val_5M" / "TTBar_120.root", make_jets([130, 20], seed=5))
    assert convert([source], tmp_path / "other", quiet=True).data_hash != store.data_hash


def test_workers_do_not_change_a_byte(tree, tmp_path):
    source, _ = tree
    one = convert([source], tmp_path / "one", quiet=True)
    two = convert([source], tmp_path / "two", workers=2, quiet=True)
    assert one.manifest == two.manifest
    for file in sorted(path.name for path in one.path.iterdir()):
        assert (one.path / file).read_bytes() == (two.path / file).read_bytes(), file


def test_a_second_call_returns_the_store_that_is_there(tree, tmp_path, capsys):
    source, _ = tree
    store = convert([source], tmp_path / "store", quiet=True)
    written = (store.path / "manifest.json").stat().st_mtime_ns
    for file in source.rglob("*.root"):  # copied elsewhere: other times, same content
        os.utime(file, (1, 1))
    assert convert([source], store.path).data_hash == store.data_hash
    assert (store.path / "manifest.json").stat().st_mtime_ns == written
    assert "is done already, 12 jets of the same 4 files" in capsys.readouterr().out


def test_a_store_of_other_files_is_not_overwritten(tree, tmp_path):
    source, _ = tree
    store = convert([source], tmp_path / "store", quiet=True)
    with pytest.raises(JepalibError, match=r"differing: test_20M/TTBar_100.root.*remove it or choose"):
        convert([source / "train_100M", source / "val_5M"], store.path)
    write_jets(source / "val_5M" / "TTBar_120.root", make_jets([13, 20], seed=5))
    with pytest.raises(JepalibError, match=r"differing: val_5M/TTBar_120.root\)"):
        convert([source], store.path)
    (tmp_path / "mine").mkdir()
    with pytest.raises(JepalibError, match="mine: not a store"):
        convert([source], tmp_path / "mine")


def test_an_unusable_file_stops_it_before_anything_is_written(tree, tmp_path):
    source, _ = tree
    (source / "val_5M" / "ZToQQ_120.root").write_text("not ROOT")
    with pytest.raises(JepalibError, match=r"ZToQQ_120.root: is not a ROOT file"):
        convert([source], tmp_path / "store", quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["JetClass"]


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_file_that_fails_midway_leaves_nothing_behind(tree, tmp_path, workers):
    source, _ = tree
    write_jets(source / "val_5M" / "ZToQQ_120.root", make_jets([0, 0]))
    with pytest.raises(JepalibError, match=r"ZToQQ_120.root: none of its jets can be used"):
        convert([source], tmp_path / "store", workers=workers, quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["JetClass"]


INTERRUPTED = """
import sys, time
from pathlib import Path
import jepalib.data.convert as module

def slow(*args, convert_file=module._convert_file):
    if (Path(sys.argv[2] + ".partial") / "particles.bin").exists():
        print("half", flush=True)
        time.sleep(60)
    return convert_file(*args)

module._convert_file = slow
module.convert([Path(sys.argv[1])], Path(sys.argv[2]))
"""


def test_after_kill_9_there_is_no_store_and_the_next_call_makes_it(tree, tmp_path):
    source, _ = tree
    store, partial = tmp_path / "store", tmp_path / "store.partial"
    command = [sys.executable, "-c", INTERRUPTED, str(source), str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "half\n"
        with pytest.raises(JepalibError, match="another conversion is writing it"):
            convert([source], store, quiet=True)
        process.send_signal(signal.SIGKILL)
    assert not store.exists()
    assert (partial / "particles.bin").stat().st_size > 0
    with pytest.raises(JepalibError, match="half-written store"):
        JetStore.open(partial)
    with pytest.raises(JepalibError, match="does not exist"):
        JetStore.open(store)
    assert len(convert([source], store, quiet=True)) == 12
    assert not partial.exists()


def test_a_store_finished_by_another_call_meanwhile_is_not_touched(tree, tmp_path, monkeypatch):
    source, _ = tree
    plain = convert_module.entries_of_file

    def other_call(path, **options):  # ends between this call's look for a store and its lock
        monkeypatch.setattr(convert_module, "entries_of_file", plain)
        convert([source], tmp_path / "store", quiet=True)
        return plain(path, **options)

    monkeypatch.setattr(convert_module, "entries_of_file", other_call)
    with pytest.raises(JepalibError, match="another conversion has just ended; call again"):
        convert([source], tmp_path / "store", quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["JetClass", "store"]
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == [
        *("counts.bin", "labels.bin", "manifest.json", "observables.bin", "offsets.bin", "particles.bin")
    ]
    assert len(convert([source], tmp_path / "store", quiet=True)) == 12


def test_sources_are_found_once_and_named_by_folder(tree, tmp_path):
    source, files = tree
    found = find_sources([source, source / "val_5M", source / "val_5M" / "TTBar_120.root"])
    assert [file.name for file in found] == sorted(files)
    shutil.copytree(source / "val_5M", tmp_path / "JetClass2" / "Validation")
    shutil.copytree(source / "val_5M", tmp_path / "JetClass2" / "mine")
    found = find_sources([source / "train_100M", tmp_path / "JetClass2"])
    assert [(file.split, file.name) for file in found] == [
        ("all", "JetClass2/mine/TTBar_120.root"),
        ("train", "JetClass/train_100M/HToBB_000.root"),
        ("train", "JetClass/train_100M/HToBB_001.root"),
        ("val", "JetClass2/Validation/TTBar_120.root"),
    ]


@pytest.mark.parametrize(
    ("folders", "split"),
    [
        ("train_100M", "train"),
        ("TEST", "test"),
        ("valid", "val"),
        ("Validation_5M", "val"),
        ("train2", "train"),
        ("test-20M/HToBB/part1", "test"),  # told by a folder above
        ("train/mine/val_1", "val"),  # the lowest counts
        ("training", "all"),
        ("tests", "all"),
        ("my_train", "all"),
    ],
)
def test_a_folder_on_the_way_names_the_split(tmp_path, folders, split):
    file = tmp_path / "test_area" / "data" / folders / "a.root"
    file.parent.mkdir(parents=True)
    file.touch()
    (found,) = find_sources([tmp_path / "test_area" / "data"])  # what lies above counts for nothing
    assert found.split == split


def test_linked_folders_are_searched(tmp_path):
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.root").touch()
    (tmp_path / "here" / "val_5M").symlink_to(tmp_path / "there")
    (tmp_path / "there" / "up").symlink_to(tmp_path / "there")
    (tmp_path / "here" / "up").symlink_to(tmp_path)
    found = find_sources([tmp_path / "here"])
    assert [(file.split, file.name) for file in found] == [
        ("all", "here/a.root"),
        ("val", "here/val_5M/a.root"),
    ]


def test_no_files_is_an_error(tmp_path):
    with pytest.raises(JepalibError, match=r"no \.root, \.h5, \.npz files in .*"):
        convert([tmp_path], tmp_path / "store")
    with pytest.raises(JepalibError, match="nowhere: no such file or directory"):
        convert([tmp_path / "nowhere"], tmp_path / "store")


def test_the_manifest_says_how_the_arrays_are_to_be_read(tree, tmp_path):
    source, _ = tree
    store = convert([source], tmp_path / "store", quiet=True)
    manifest = json.loads((store.path / "manifest.json").read_text())
    particles = np.fromfile(store.path / "particles.bin", manifest["dtypes"]["particles"])
    offsets = np.fromfile(store.path / "offsets.bin", manifest["dtypes"]["offsets"])
    table = particles.reshape(-1, len(manifest["particle_fields"]))
    assert len(table) == offsets[-1] == manifest["particles"] == store.counts.sum()
    np.testing.assert_array_equal(np.diff(offsets), store.counts)
    np.testing.assert_array_equal(table[offsets[5] : offsets[6]], store.read(np.array([5])).particles.numpy())


def test_the_committed_sample_is_read_whole(tmp_path):
    sample = Path(__file__).parents[2] / "data" / "sample"
    store = convert([sample], tmp_path / "store", quiet=True)
    assert store.splits() == {"all": range(1000)}
    assert store.manifest["dropped"] == {}
    assert np.bincount(store.labels).tolist() == [100] * 10
    assert np.bincount(store.labels[store.rows("train")]).tolist() == [60] * 10
    jets = store.read(range(1000))
    total = torch.zeros(1000, 4).index_add_(0, jets.jet_of_particle, jets.particles[:, :4])
    ratio = torch.hypot(total[:, 0], total[:, 1]) / jets.observable("pt")
    assert (ratio - 1).abs().median() < 0.01  # the constituents make up the jet


def test_a_link_counts_where_it_lies(tmp_path):
    source = tmp_path / "elsewhere" / "a.root"
    source.parent.mkdir()
    write_jets(source, make_jets([5] * 20))
    for split in ("train", "val"):
        (tmp_path / "tree" / split).mkdir(parents=True)
        (tmp_path / "tree" / split / "a.root").symlink_to(source)
    store = convert([tmp_path / "tree"], tmp_path / "store", quiet=True)
    assert {name: len(rows) for name, rows in store.splits().items()} == {"train": 20, "val": 20}
