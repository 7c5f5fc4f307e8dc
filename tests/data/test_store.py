"""The store: reading by row, splits, stratified subsets, damage, and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets
from store_files import write_sparse_store, write_store

from jepalib.data.permutation import Permutation
from jepalib.data.store import JetStore, array_path, divided, load_rows, save_rows, stratified_subset
from jepalib.errors import JepalibError

COUNTS = [2, 128, 5, 40, 33, 17, 60, 3, 25, 90, 12, 8]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    jets = make_jets(COUNTS)
    return write_store(tmp_path_factory.mktemp("store") / "s", jets), jets


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.integers(0, len(COUNTS) - 1), max_size=30))
def test_any_rows_are_read_as_take_takes_them(stored, rows):
    store, jets = stored
    read, expected = store.read(np.array(rows, np.int64)), jets.take(rows)
    for name in ("particles", "offsets", "observables", "labels", "index"):
        assert torch.equal(getattr(read, name), getattr(expected, name)), name


def test_a_range_is_read_like_its_rows(stored):
    store, jets = stored
    assert torch.equal(store.read(range(3, 9)).particles, jets.take(list(range(3, 9))).particles)
    assert len(store) == len(jets)
    assert store.splits() == {"train": range(12)}
    assert store.rows("train") == range(12)


@pytest.mark.parametrize("row", [-1, 12, 10**12])
def test_a_row_that_is_not_there_is_named(stored, row):
    with pytest.raises(JepalibError, match=rf"row {row} does not exist \(rows 0 to 11\)"):
        stored[0].read(np.array([3, row]))


def test_an_absent_split_is_an_error_that_lists_those_there(stored):
    with pytest.raises(JepalibError, match=r"no split 'val' \(it holds: train\)"):
        stored[0].rows("val")


def test_a_store_without_splits_is_divided_by_class_and_says_so_once(tmp_path, capsys):
    jets = make_jets([3] * 200)
    store = write_store(tmp_path / "s", jets, {"all": [0, 200]})
    parts = {split: store.rows(split) for split in ("train", "val", "test")}
    assert [len(rows) for rows in parts.values()] == [120, 40, 40]
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    for rows, share in zip(parts.values(), (12, 4, 4)):
        assert np.bincount(store.labels[rows]).tolist() == [share] * 10
        assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(JetStore.open(store.path).rows("val"), parts["val"])
    assert not np.array_equal(store.rows("val", seed=1), parts["val"])
    assert capsys.readouterr().err.count("divided 60/20/20 by class") == 2  # once for each of two stores
    assert store.rows("all") == range(200)
    with pytest.raises(JepalibError, match=r"no split 'valid' \(it holds: all\)"):
        store.rows("valid")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(-1, 9), min_size=1, max_size=80), st.integers(0, 5))
def test_a_division_takes_every_row_once(labels, seed):
    labels = np.array(labels, np.int8)
    parts = [divided(labels, split, seed) for split in ("train", "val", "test")]
    assert sorted(np.concatenate(parts)) == list(range(len(labels)))


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(0, 10), st.booleans())
def test_stratified_subsets_are_balanced_nested_and_sorted(small, large, seed, as_range):
    small, large = sorted((small, large))
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(10), 40)).astype(np.int8)
    rows = range(50, 400) if as_range else np.arange(50, 400)
    assert np.bincount(labels[50:]).min() >= 20
    few, many = (stratified_subset(labels, rows, n, seed) for n in (small, large))
    for n, subset in ((small, few), (large, many)):
        shares = np.bincount(labels[subset], minlength=10)
        assert shares.sum() == n
        assert shares.max() - shares.min() <= 1
        assert (np.diff(subset) > 0).all()
        assert subset.min() >= 50
    assert np.isin(few, many).all()


def test_stratified_subsets_differ_by_seed_only():
    labels = np.tile(np.arange(10), 500).astype(np.int8)
    first, again, other = (stratified_subset(labels, range(5000), 500, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.isin(first, other).mean() < 0.2  # 0.1 by chance


def test_stratified_subset_says_what_is_wrong():
    labels = np.array([0] * 30 + [1] * 4 + [-1], np.int8)
    with pytest.raises(JepalibError, match=r"20 labels need 10 jets of Hbb, there are 4; ask for at most 8"):
        stratified_subset(labels, range(34), 20, 0)
    with pytest.raises(JepalibError, match="row 34 has no label"):
        stratified_subset(labels, np.array([0, 31, 34]), 2, 0)
    with pytest.raises(JepalibError, match="n=0"):
        stratified_subset(labels, range(34), 0, 0)


def test_rows_are_saved_and_loaded(tmp_path):
    rows = np.array([3, 1, 10**11])
    save_rows(tmp_path / "deep" / "rows.npy", rows)
    np.testing.assert_array_equal(load_rows(tmp_path / "deep" / "rows.npy"), rows)
    with pytest.raises(JepalibError, match=r"absent.npy: no saved rows here"):
        load_rows(tmp_path / "absent.npy")
    np.save(tmp_path / "floats.npy", np.zeros(3))
    with pytest.raises(JepalibError, match=r"floats.npy: holds no list of rows"):
        load_rows(tmp_path / "floats.npy")


def test_a_damaged_store_does_not_open(tmp_path):
    path = write_store(tmp_path / "s", make_jets(COUNTS)).path
    file = array_path(path, "observables")
    whole = file.read_bytes()
    file.write_bytes(whole[:-4])
    with pytest.raises(JepalibError, match=r"observables.bin: 476 bytes where the manifest says 480"):
        JetStore.open(path)
    file.write_bytes(whole)
    manifest = path / "manifest.json"
    content = json.loads(manifest.read_text())
    for text, words in (
        ("{", "damaged"),
        ("[]", "not the manifest"),
        ('{"format": "other"}', "not the manifest"),
        (json.dumps(content | {"version": 0}), "another version"),
        (json.dumps({"format": content["format"], "rows": 3}), "lacks version, classes, particles"),
    ):
        manifest.write_text(text)
        with pytest.raises(JepalibError, match=words):
            JetStore.open(path)
    manifest.unlink()
    with pytest.raises(JepalibError, match="half-written"):
        JetStore.open(path)
    with pytest.raises(JepalibError, match="is a file, not a store"):
        JetStore.open(file)


def test_a_store_cut_while_it_is_open_is_an_error_not_garbage(tmp_path):
    store = write_store(tmp_path / "s", make_jets(COUNTS))
    os.truncate(array_path(store.path, "particles"), 64 * 100)
    assert len(store.read(np.array([0]))) == 1
    with pytest.raises(JepalibError, match=r"particles.bin: cannot be read to its end"):
        store.read(np.array([0, 11]))


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 3000), st.integers(0, 2**31), st.integers(0, 100))
def test_a_permutation_is_one(size, seed, epoch):
    permuted = Permutation(size, seed, epoch)(np.arange(size))
    assert sorted(permuted.tolist()) == list(range(size))
    some = np.array([size - 1, 0, size // 2])
    np.testing.assert_array_equal(Permutation(size, seed, epoch)(some), permuted[some])


def test_permutations_are_spread_evenly():
    """Where each of 12 elements goes over 6,000 keys, and pairs of neighbours: chi-square."""
    table = np.array([Permutation(12, key)(np.arange(12)) for key in range(6000)])
    hits = np.array([np.bincount(table[:, place], minlength=12) for place in range(12)])
    assert ((hits - 500) ** 2 / 500).sum() < 190  # 121 degrees of freedom: p = 6e-5
    steps = np.bincount(np.diff(table, axis=1).ravel() % 12, minlength=12)[1:]
    assert ((steps - 6000) ** 2 / 6000).sum() < 45  # 10 degrees of freedom
    long = Permutation(100_003, 5, 0)(np.arange(100_003))
    assert abs(np.corrcoef(long[:-1], long[1:])[0, 1]) < 0.015
    assert abs(np.corrcoef(long, np.arange(100_003))[0, 1]) < 0.015


BOUNDED = """
import resource, sys
from pathlib import Path
import numpy as np
from jepalib.data.sampling import BatchStream
from jepalib.data.store import JetStore

def status(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1]) * 1024

store = JetStore.open(Path(sys.argv[1]))
stream = BatchStream(store, store.rows("train"), 512, seed=3, window=16, min_particles=2)
stream.batch(0)  # compiled code and buffers are there
limit = status("VmSize") + (256 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
size = sum(file.stat().st_size for file in store.path.iterdir())
assert size > limit, (size, limit)
try:
    np.memmap(store.path / "particles.bin", np.float32, "r")
except (OSError, MemoryError):
    pass
else:
    raise SystemExit("the limit does not bind")
before = status("VmRSS")
seen = 0
for number in range(1, 200):
    jets = stream.batch(number)
    seen += len(jets)
    assert int(jets.offsets[-1]) == 40 * len(jets)
print(size, limit, before, status("VmHWM"), seen)
"""


def test_memory_is_that_of_the_batch_with_a_store_larger_than_the_address_space(tmp_path):
    path = tmp_path / "sparse"
    write_sparse_store(path, rows=6_000_000, count=40)  # 15 GB of particles, as a hole
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(path)],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    size, limit, before, most, seen = map(int, done.stdout.split())
    print(f"store {size >> 20} MB, limit {limit >> 20} MB, RSS {before >> 20} to {most >> 20} MB")
    assert size > limit
    assert seen > 100_000
    assert most - before < 64 << 20  # 2.6 GB of jets were read
