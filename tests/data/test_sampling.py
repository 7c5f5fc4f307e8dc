"""Batches: exact epochs, resumption, bucketing by length, ranks, prefetching."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets
from store_files import write_store

from jepalib.data.sampling import BatchStream, evaluation_batches
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError

RNG = np.random.default_rng(0)
COUNTS = RNG.integers(1, 60, 300).tolist()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return write_store(tmp_path_factory.mktemp("sampling") / "s", make_jets(COUNTS))


def epoch_rows(stream, epoch, **share):
    first = epoch * stream.batches_per_epoch
    return [stream.rows_of(first + n, **share) for n in range(stream.batches_per_epoch)]


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 320),
    seed=st.integers(0, 2**40),
    window=st.integers(0, 9),
    shortest=st.integers(0, 50),
    as_range=st.booleans(),
)
def test_every_epoch_holds_every_row_once(store, size, seed, window, shortest, as_range):
    rows = range(20, 280) if as_range else np.arange(20, 280)[::-1]
    stream = BatchStream(store, rows, size, seed, window, shortest)
    expected = [row for row in range(20, 280) if COUNTS[row] >= shortest]
    assert stream.left_out == 260 - len(expected)
    assert stream.batches_per_epoch == -(-len(expected) // size)
    for epoch in (0, 3):
        batches = epoch_rows(stream, epoch)
        assert sorted(np.concatenate(batches).tolist()) == expected
        sizes = {len(batch) for batch in batches}
        assert max(sizes) <= size
        assert max(sizes) - min(sizes) <= 1


def test_a_batch_is_a_function_of_seed_and_number(store):
    def rows(seed, number):
        return BatchStream(store, range(300), 16, seed, window=4).rows_of(number)

    stream = BatchStream(store, range(300), 16, 7, window=4)
    in_order = [stream.rows_of(number) for number in range(60)]
    for number in (59, 0, 33, 18):
        np.testing.assert_array_equal(rows(7, number), in_order[number])
    assert not np.array_equal(rows(8, 0), in_order[0])
    per_epoch = stream.batches_per_epoch
    assert not np.array_equal(in_order[0], in_order[per_epoch])  # every epoch is shuffled anew


def test_batches_hold_the_jets_of_their_rows(store):
    stream = BatchStream(store, np.arange(100, 200), 13, 1)
    jets = stream.batch(11)
    assert torch.equal(jets.index, torch.from_numpy(stream.rows_of(11)))
    assert jets.counts.tolist() == [COUNTS[row] for row in jets.index.tolist()]


def test_a_window_gathers_similar_lengths_and_shuffles_the_batches(store):
    counts = np.array(COUNTS)

    def spread(window):
        return np.mean(
            [np.ptp(counts[b]) for b in epoch_rows(BatchStream(store, range(300), 10, 2, window), 0)]
        )

    assert spread(30) < 5 < spread(5) < 0.5 * spread(0)
    batches = epoch_rows(BatchStream(store, range(300), 10, 2, window=30), 0)
    means = [counts[batch].mean() for batch in batches]
    assert means != sorted(means)
    unsorted = epoch_rows(BatchStream(store, range(300), 10, 2), 0)
    assert any((np.diff(counts[batch]) < 0).any() for batch in unsorted)


@pytest.mark.parametrize("window", [0, 5])
def test_ranks_share_a_batch_without_overlap(store, window):
    stream = BatchStream(store, range(300), 32, 2, window)
    for number in (0, 7, 25):
        shares = [stream.rows_of(number, rank, 3) for rank in range(3)]
        assert sorted(np.concatenate(shares)) == sorted(stream.rows_of(number))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    with pytest.raises(JepalibError, match=r"a batch of 1 jets gives rank 1 of 2 none"):
        BatchStream(store, range(3), 1, 0).batch(0, rank=1, world=2)


def test_prefetching_gives_the_same_batches_from_anywhere_and_ends_its_thread(store):
    stream = BatchStream(store, range(300), 32, 2, window=3)
    threads = threading.active_count()
    batches = stream.from_batch(17, rank=1, world=2)
    for number in range(17, 40):
        found, jets = next(batches)
        assert found == number
        assert torch.equal(jets.particles, stream.batch(number, 1, 2).particles)
    assert threading.active_count() == threads + 1
    batches.close()
    assert threading.active_count() == threads
    iterator = iter(stream)
    assert next(iterator)[0] == 0
    iterator.close()


def test_an_error_while_prefetching_reaches_the_one_who_iterates(store, monkeypatch):
    stream = BatchStream(store, range(300), 32, 2)

    def fails(self, rows):
        raise JepalibError("the disk is gone")

    monkeypatch.setattr(JetStore, "read", fails)
    with pytest.raises(JepalibError, match="the disk is gone"):
        next(iter(stream))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "seed=-1"),
        ({"window": -2}, "window=-2"),
        ({"min_particles": 200}, "none of 300 jets has 200 particles or more"),
        ({"rows": np.zeros(0, np.int64)}, "none of 0 jets"),
    ],
)
def test_parameters_out_of_range_are_named(store, change, words):
    with pytest.raises(JepalibError, match=words):
        BatchStream(store, **({"rows": range(300), "batch_size": 8, "seed": 0} | change))


@settings(deadline=None, max_examples=30)
@given(st.permutations(range(40, 90)), st.integers(1, 60), st.booleans())
def test_evaluation_takes_every_row_once_and_can_be_put_back_in_order(store, order, size, as_range):
    rows = range(40, 90) if as_range else np.array(order)
    index = np.full(50, -1)
    longest = 0
    for positions, jets in evaluation_batches(store, rows, size):
        assert len(positions) <= size
        assert int(jets.counts.min()) >= longest
        longest = int(jets.counts.max())
        index[positions] = jets.index.numpy()
    np.testing.assert_array_equal(index, np.asarray(rows))


def test_evaluation_refuses_a_batch_size_of_zero(store):
    with pytest.raises(JepalibError, match="batch_size=0"):
        next(evaluation_batches(store, range(300), 0))
