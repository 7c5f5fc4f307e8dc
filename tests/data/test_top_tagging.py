"""Top tagging files in exactly the public layout: what is read, dropped and refused."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from public_files import top_frame, write_top

from jepalib.data.accounts import NO_PARTICLES, NOT_FINITE
from jepalib.data.top_tagging import entries_of_top, iterate_top
from jepalib.errors import JepalibError
from jepalib.jets import Jets, concatenate
from jepalib.kinematics import model_inputs, particle_types

COUNTS = [3, 40, 1, 200, 12]


def read(path, **options) -> Jets:
    return concatenate([part.jets for part in iterate_top(path, **options)])


@pytest.mark.parametrize("layout", ["table", "fixed"])
def test_the_public_layout_comes_back_exactly(tmp_path, layout):
    frame = top_frame(COUNTS)
    path = write_top(tmp_path / "train.h5", frame, layout)
    jets = read(path)
    assert entries_of_top(path) == 5
    assert jets.labels.tolist() == [1, 0, 1, 0, 1]  # the last jet of the file is among them
    assert jets.counts.tolist() == [3, 40, 1, 128, 12]
    assert jets.observable("nparticles").tolist() == COUNTS
    for jet, count in enumerate(jets.counts.tolist()):
        own = jets.take([jet]).particles.numpy()
        for column, name in enumerate(("PX", "PY", "PZ", "E")):
            np.testing.assert_array_equal(own[:, column], [frame[f"{name}_{i}"][jet] for i in range(count)])
    assert (jets.particles[:, 6:] == 0).all()  # neither displacement nor identity
    assert (particle_types(jets) == -1).all()
    assert (model_inputs(jets)[:, 7:] == 0).all()


def test_observables_and_directions_follow_from_all_constituents(tmp_path):
    frame = top_frame([3, 40, 150], seed=3)
    jets = read(write_top(tmp_path / "a.h5", frame))
    for jet in range(3):
        px, py, pz, energy = (frame.filter(regex=f"^{c}_").iloc[jet].sum() for c in ("PX", "PY", "PZ", "E"))
        eta = np.arcsinh(pz / np.hypot(px, py))
        own = jets.take([jet])
        expected = [np.hypot(px, py), eta, np.arctan2(py, px), energy]
        np.testing.assert_allclose(own.observables[0, :4], expected, rtol=1e-4)
        px, py, pz = (own.column(name).numpy() for name in ("px", "py", "pz"))
        expected = np.sign(eta) * (np.arcsinh(pz / np.hypot(px, py)) - eta)
        np.testing.assert_allclose(own.column("deta"), expected, atol=1e-5)
        assert own.column("dphi").abs().max() < 1
    mass, taus = jets.observable("sdmass"), jets.observables[:, 6:]
    assert (mass[1:] > 1).all()
    assert (taus.diff(dim=1) <= 1e-6).all()
    assert (taus[1:] > 0).all()


def test_unsorted_constituents_are_sorted(tmp_path):
    frame = top_frame([5])
    swapped = frame.copy()
    for c in ("E", "PX", "PY", "PZ"):
        swapped[[f"{c}_0", f"{c}_4"]] = frame[[f"{c}_4", f"{c}_0"]].to_numpy()
    one, other = (read(write_top(tmp_path / f"{i}.h5", f)) for i, f in enumerate((frame, swapped)))
    assert torch.equal(one.particles[:, :4], other.particles[:, :4])


def test_chunks_and_spans_agree_with_the_whole(tmp_path):
    path = write_top(tmp_path / "a.h5", top_frame([4] * 11))
    whole = read(path)
    parts = list(iterate_top(path, 2, 10, chunk=3))
    assert [(part.start, part.stop) for part in parts] == [(2, 5), (5, 8), (8, 10)]
    joined = concatenate([part.jets for part in parts])
    assert torch.equal(joined.particles, whole.take(list(range(2, 10))).particles)
    assert torch.equal(joined.index, torch.arange(2, 10))


def test_jets_without_constituents_are_dropped_and_counted(tmp_path):
    path = write_top(tmp_path / "a.h5", top_frame([3, 0, 4, 0]))
    (part,) = iterate_top(path)
    assert part.jets.index.tolist() == [0, 2]
    assert part.account.dropped[NO_PARTICLES] == 2
    assert "2 of 4 jets dropped: no particles (entries 1, 3)" in part.account.report()
    with pytest.raises(JepalibError, match=r"b\.h5: none of its jets can be used"):
        list(iterate_top(write_top(tmp_path / "b.h5", top_frame([0, 0]))))


def changed(name: str, value: float) -> pd.DataFrame:
    frame = top_frame([3, 4, 5])
    frame.loc[1, name] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (top_frame([3, 4]).drop(columns="PY_57"), "column PY_57 is missing"),
        (top_frame([3, 4]).drop(columns="is_signal_new"), "column is_signal_new is missing"),
        (top_frame([3]).filter(regex="^truth|ttv|sig"), r"column PX_0, PY_0, PZ_0 and 1 more is missing"),
        (changed("PZ_2", np.nan), "PZ_2 of jet 1 is not a finite number"),
        (changed("E_0", np.inf), "E_0 of jet 1 is not a finite number"),
        (changed("E_1", 0.0), "E_1 of jet 1 is no energy of a particle with that momentum"),
        (changed("E_1", -4.0), "E_1 of jet 1 is no energy"),
        (changed("is_signal_new", 2), r"is_signal_new of jet 1 is neither 0 \(QCD\) nor 1 \(top\)"),
    ],
)
def test_what_is_wrong_is_named_with_file_column_and_jet(tmp_path, frame, message):
    path = write_top(tmp_path / "bad.h5", frame)
    with pytest.raises(JepalibError, match=rf"bad\.h5: {message}"):
        list(iterate_top(path))


def test_unusable_files_are_named(tmp_path):
    import h5py

    whole = write_top(tmp_path / "whole.h5", top_frame([5] * 50)).read_bytes()
    (tmp_path / "cut.h5").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.h5").write_text("no HDF5")
    (tmp_path / "nothing.h5").write_bytes(b"")
    write_top(tmp_path / "key.h5", top_frame([5]), key="jets")
    write_top(tmp_path / "rows.h5", top_frame([5]).iloc[:0], "fixed")
    pd.Series([1.0]).to_hdf(tmp_path / "series.h5", key="table")
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["table"] = np.zeros((3, 806))
    cases = {
        "cut": "cannot be read, truncated or damaged",
        "text": "is not an HDF5 file",
        "nothing": "is empty",
        "missing": "no such file",
        "key": r"has no pandas table 'table', only \['jets'\]",
        "rows": r"its table holds no jets",
        "series": "'table' is a pandas series, not a table of jets",
        "plain": "has no pandas table 'table', only",
    }
    for name, message in cases.items():
        for call in (entries_of_top, lambda path: list(iterate_top(path))):
            with pytest.raises(JepalibError, match=rf"{name}\.h5: {message}"):
                call(tmp_path / f"{name}.h5")


def test_embedding_needs_no_labels_and_keeps_the_rows(tmp_path):
    frame = top_frame([3, 0, 4, 5]).drop(columns="is_signal_new")
    frame.loc[2, "PX_1"] = np.nan
    (part,) = iterate_top(write_top(tmp_path / "a.h5", frame), allow_unlabelled=True)
    assert part.kept.tolist() == [True, False, False, True]
    assert part.account.dropped == {NO_PARTICLES: 1, NOT_FINITE: 1, "labels do not sum to one": 0}
    assert part.jets.labels.tolist() == [-1, -1]
    assert (part.jets.observable("pt") > 0).all()
    assert (part.jets.observable("sdmass") == 0).all()
    assert part.account.absent == ("sdmass", "tau1", "tau2", "tau3", "tau4")


MEMORY = """
import resource, sys
from pathlib import Path
from jepalib.data.top_tagging import iterate_top
parts = iterate_top(Path(sys.argv[1]), allow_unlabelled=True, chunk=500)
next(parts)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
jets = sum(len(part.jets) for part in parts)
print(jets, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_is_that_of_a_chunk(tmp_path):
    frame = pd.concat([top_frame([30] * 10)] * 1200, ignore_index=True)  # 39 MB as a table
    path = write_top(tmp_path / "large.h5", frame)
    command = [sys.executable, "-c", MEMORY, str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    jets, grown = map(int, answer.stdout.split())
    assert jets == 11_500
    assert grown * (1 if sys.platform == "darwin" else 1024) < 16e6
