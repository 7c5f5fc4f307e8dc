"""LHC Olympics files in exactly the public layout: events to pairs of jets, with masses and truth."""

from __future__ import annotations

import h5py
import numpy as np
import pandas as pd
import pytest
import tables
import torch
from public_files import lhco_table, top_frame, write_lhco, write_top

from jepalib.data import lhc_olympics
from jepalib.data.accounts import NOT_FINITE
from jepalib.data.convert import convert
from jepalib.data.datasets import dataset_of
from jepalib.data.lhc_olympics import (
    TOO_FEW,
    entries_of_lhco,
    events_of,
    is_lhco,
    iterate_lhco,
    read_lhco,
    truth_of,
)
from jepalib.errors import JepalibError
from jepalib.jets import concatenate
from jepalib.kinematics import model_inputs, particle_types

COUNTS = [(40, 30), (5, 200), (3, 3, 3), (60, 20), (1, 1)]


@pytest.fixture
def file(tmp_path):
    return write_lhco(tmp_path / "events_anomalydetection.h5", lhco_table(COUNTS))


def test_the_layout_is_the_public_one(file):
    with tables.open_file(str(file)) as opened:
        node = opened.root.df.block0_values
        assert node.shape == (5, 2101)
        assert node.filters.complib.startswith("blosc")
        assert {"axis0", "axis1", "block0_items"} <= set(opened.root.df._v_children)
    with h5py.File(file) as plain, pytest.raises(OSError, match=r"[Cc]an't (synchronously )?read data"):
        plain["df/block0_values"][:]  # needs the blosc filter, which PyTables brings
    np.testing.assert_array_equal(pd.read_hdf(file).to_numpy(), lhco_table(COUNTS))


def test_events_become_pairs_of_jets(file):
    events, account = read_lhco(file)
    assert len(events) == 5
    assert account.report() == "72 particles beyond 128 cut"  # the second jet of event 1 has 200
    assert events.leading.counts.tolist() == [40, 5, 3, 60, 1]
    assert events.subleading.counts.tolist() == [30, 128, 3, 20, 1]
    assert events.subleading.observable("nparticles").tolist() == [30, 200, 3, 20, 1]
    assert events.signal.tolist() == [True, False, True, False, True]
    assert events.event.tolist() == [0, 1, 2, 3, 4]
    assert (events.leading.observable("pt") > events.subleading.observable("pt")).all()
    for jets in (events.leading, events.subleading):
        assert (jets.particles[:, 6:] == 0).all()  # neither displacement nor identity
        assert (particle_types(jets) == -1).all()
        assert torch.isfinite(model_inputs(jets)).all()
        p4 = jets.particles[:, :4]
        torch.testing.assert_close(p4[:, 3], p4[:, :3].norm(dim=1))  # massless
        assert (jets.observable("sdmass")[jets.counts > 10] > 0).all()
        assert (jets.observables[:, 6:].diff(dim=1) <= 1e-6).all()


def test_masses_are_those_of_the_constituents(file):
    table = lhco_table(COUNTS)
    events, _ = read_lhco(file)
    for row in (0, 3, 4):  # two sprays each, so that the two jets are all there is
        pt, eta, phi = table[row, :-1].reshape(-1, 3).T
        p4 = np.array([pt @ np.cos(phi), pt @ np.sin(phi), pt @ np.sinh(eta), pt @ np.cosh(eta)])
        mass = np.sqrt(p4[3] ** 2 - (p4[:3] ** 2).sum())
        assert float(events.mjj[row]) == pytest.approx(mass, rel=1e-4)
    for place, jets in enumerate((events.leading, events.subleading)):
        own = torch.zeros(5, 4).double().index_add_(0, jets.jet_of_particle, jets.particles[:, :4].double())
        mass = (own[:, 3] ** 2 - own[:, :3].square().sum(1)).clamp_min(0).sqrt()
        whole = jets.counts == jets.observable("nparticles")
        near = torch.isclose(events.masses[:, place].double(), mass, rtol=0.02, atol=1.0)
        assert near[whole].all()
        torch.testing.assert_close(own[:, 3].float()[whole], jets.observable("energy")[whole])


def test_what_is_dropped_is_counted(tmp_path):
    table = lhco_table([(20, 20), (20,), (), (20, 20), (20, 20), (5, 5)])
    table[3, 4] = np.nan
    events, account = read_lhco(write_lhco(tmp_path / "a.h5", table))
    assert events.event.tolist() == [0, 4, 5]
    assert account.dropped == {NOT_FINITE: 2, TOO_FEW: 4}
    assert account.kept == 6 == 2 * len(events)
    assert "2 of 12 jets dropped: NaN or infinite values (entries 6, …)" in account.report()
    assert (
        "4 of 12 jets dropped: fewer than two jets above 20 GeV in the event (entries 2, 4, …)"
        in account.report()
    )
    with pytest.raises(JepalibError, match=r"b\.h5: none of its jets can be used"):
        read_lhco(write_lhco(tmp_path / "b.h5", table[1:3]))


def test_chunks_and_choices_agree_with_the_whole(tmp_path, monkeypatch):
    path = write_lhco(tmp_path / "a.h5", lhco_table([(6, 5)] * 5 + [(7,)] + [(6, 4)] * 5))
    whole, account = read_lhco(path)
    parts = list(iterate_lhco(path, chunk=3))
    assert [(part.start, part.stop) for part in parts] == [(0, 6), (6, 12), (12, 18), (18, 22)]
    joined = events_of(concatenate([part.jets for part in parts]))
    torch.testing.assert_close(joined.mjj, whole.mjj)
    assert joined.event.tolist() == whole.event.tolist() == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    total = parts[0].account + parts[1].account + parts[2].account + parts[3].account
    assert total == account
    assert parts[1].kept.tolist() == [True] * 4 + [False] * 2
    monkeypatch.setattr(lhc_olympics, "CHUNK", 2)
    some, _ = read_lhco(path, np.array([9, 1, 6, 5]))
    assert some.event.tolist() == [1, 6, 9]
    torch.testing.assert_close(some.mjj, whole.mjj[[1, 5, 8]])
    torch.testing.assert_close(some.subleading.particles, whole.subleading.take([1, 5, 8]).particles)
    first, _ = read_lhco(path, 3)
    assert first.event.tolist() == [0, 1, 2]
    assert truth_of(path).tolist() == [1, 0] * 5 + [1]
    for bad in (np.array([11]), np.array([-1]), 0):
        with pytest.raises(JepalibError, match="no such events"):
            read_lhco(path, bad)


def test_only_a_chunk_is_in_memory(file, monkeypatch):
    sizes = []
    decoded = lhc_olympics._decoded
    monkeypatch.setattr(lhc_olympics, "CHUNK", 2)
    monkeypatch.setattr(lhc_olympics, "_decoded", lambda v, r, p: sizes.append(len(r)) or decoded(v, r, p))
    truth_of(file)
    read_lhco(file)
    assert sizes == [2, 2, 1, 2, 2, 1]


def test_a_store_keeps_the_pairs(file, tmp_path):
    assert dataset_of(file).name == "lhco"
    store = convert([file], tmp_path / "store", quiet=True)
    assert (store.dataset, store.classes, len(store)) == ("lhco", ("background", "signal"), 10)
    assert store.labels.tolist() == [1, 1, 0, 0, 1, 1, 0, 0, 1, 1]
    direct, _ = read_lhco(file)
    events = events_of(store.read(range(2, 8)))
    assert events.event.tolist() == [1, 2, 3]
    torch.testing.assert_close(events.mjj, direct.mjj[1:4])
    torch.testing.assert_close(events.leading.particles, direct.leading.take([1, 2, 3]).particles)
    for rows in (range(1, 7), range(0, 3)):
        with pytest.raises(JepalibError, match="no pairs of one event each"):
            events_of(store.read(rows))


def test_files_without_truth_bit(tmp_path):
    """The black boxes have none."""
    path = write_lhco(tmp_path / "box.h5", lhco_table(COUNTS)[:, :-1])
    events, _ = read_lhco(path)
    assert not events.signal.any()
    assert events.leading.labels.tolist() == [-1] * 5
    assert truth_of(path).tolist() == [-1] * 5
    assert entries_of_lhco(path, allow_unlabelled=True) == 10
    (part,) = iterate_lhco(path, allow_unlabelled=True)
    assert part.jets.observable("pt").min() > 20
    assert (part.jets.observable("sdmass") == 0).all()
    assert part.account.absent[0] == "sdmass"
    with pytest.raises(JepalibError, match=r"box\.h5: has 2100 columns and so no truth bit"):
        entries_of_lhco(path)


def changed(column: int, value: float) -> np.ndarray:
    table = lhco_table(COUNTS)
    table[2, column] = value
    return table


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (changed(-1, 0.5), "the truth bit of event 2 is neither 0 nor 1"),
        (changed(3, -1.0), "the pT of a particle of event 2 is negative"),
        (lhco_table(COUNTS)[:, :2099], r"its table has the shape \(5, 2099\)"),
        (lhco_table(COUNTS)[:0], r"its table has the shape \(1, 1\)"),  # how pandas writes no rows
    ],
)
def test_what_is_wrong_is_named(tmp_path, table, message):
    path = write_lhco(tmp_path / "bad.h5", table)
    for call in (read_lhco, lambda p: list(iterate_lhco(p))):
        with pytest.raises(JepalibError, match=rf"bad\.h5: {message}"):
            call(path)


def test_unusable_files_are_named(tmp_path, file):
    (tmp_path / "cut.h5").write_bytes(file.read_bytes()[:6000])
    (tmp_path / "text.h5").write_text("no HDF5")
    write_top(tmp_path / "top.h5", top_frame([5], 20))
    cases = {
        "cut": "cannot be read, truncated or damaged",
        "text": "is not an HDF5 file; LHC Olympics files are HDF5",
        "top": r"has no pandas table 'df' of one block, only \['table'\]",
        "missing": "no such file",
    }
    for name, message in cases.items():
        assert not is_lhco(tmp_path / f"{name}.h5")
        with pytest.raises(JepalibError, match=rf"{name}\.h5: {message}"):
            read_lhco(tmp_path / f"{name}.h5")


def test_without_fastjet_it_says_what_is_missing(file, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "fastjet", None)
    with pytest.raises(JepalibError, match=r"needs the package fastjet: pip install 'jepalib\[sim\]'"):
        read_lhco(file)
