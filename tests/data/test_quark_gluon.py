"""Quark–gluon files in exactly the public layout: what is read, dropped and refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from public_files import QG_MASSES, quark_gluon_arrays, write_quark_gluon

from jepalib.data.accounts import NO_PARTICLES, NOT_FINITE
from jepalib.data.quark_gluon import PARTICLES, entries_of_quark_gluon, identity, iterate_quark_gluon
from jepalib.errors import JepalibError
from jepalib.jets import Jets, concatenate
from jepalib.kinematics import model_inputs, particle_types
from jepalib.schema import PARTICLE_TYPES

COUNTS = [3, 40, 1, 139, 12]


def read(path, **options) -> Jets:
    return concatenate([part.jets for part in iterate_quark_gluon(path, **options)])


def test_the_public_layout_comes_back(tmp_path):
    x, y = quark_gluon_arrays(COUNTS)
    path = write_quark_gluon(tmp_path / "QG_jets.npz", x, y)
    jets = read(path)
    assert entries_of_quark_gluon(path) == 5
    assert jets.labels.tolist() == [1, 0, 1, 0, 1]  # quark 1, gluon 0; the last jet too
    assert jets.counts.tolist() == [3, 40, 1, 128, 12]
    assert jets.observable("nparticles").tolist() == COUNTS
    for jet, count in enumerate(jets.counts.tolist()):
        own = jets.take([jet])
        pt, y_, phi, code = x[jet][np.argsort(-x[jet, :, 0])][:count].T
        mass = np.array([QG_MASSES[abs(int(c))] for c in code])
        energy = np.sqrt(pt**2 + mass**2) * np.cosh(y_)
        found_px, found_py, found_pz, found_energy = own.particles[:, :4].double().numpy().T
        np.testing.assert_allclose(np.hypot(found_px, found_py), pt, rtol=1e-5)
        np.testing.assert_allclose(found_energy, energy, rtol=1e-5)
        np.testing.assert_allclose(np.arctanh(found_pz / found_energy), y_, atol=1e-5)
        np.testing.assert_allclose(found_px / pt, np.cos(phi), atol=1e-5)
        assert own.column("dphi").abs().max() < 1
        squared = found_energy**2 - found_px**2 - found_py**2 - found_pz**2
        soft = found_energy < 20  # float32 leaves few digits of a mass at high energy
        np.testing.assert_allclose(np.sqrt(np.maximum(squared, 0))[soft], mass[soft], atol=0.02)
    assert (jets.particles[:, 6:10] == 0).all()
    assert (model_inputs(jets)[:, 13:] == 0).all()
    assert (jets.observable("sdmass")[1] > 0) & (jets.observable("tau1")[1] > 0)


def test_identity_charge_and_flags_of_the_full_scenario():
    code = np.array(
        [211, -211, 321, -321, 2212, -2212, 130, 2112, -2112, 22, 11, -11, 13, -13, 3112, -3222.0]
    )
    mass, pid = identity(code)
    charge = [1, -1, 1, -1, 1, -1, 0, 0, 0, 0, -1, 1, -1, 1, -1, -1]
    assert pid[:, 0].tolist() == charge
    flags = {211: (0, 1.0), 321: (0, 0.5), 2212: (0, 0.2), 130: (1, 1.0), 2112: (1, 0.2), 22: (2, 1.0)}
    flags |= {11: (3, 1.0), 13: (4, 1.0)}
    for row, kind in enumerate(np.abs(code).astype(int)):
        expected = np.zeros(5)
        if kind in flags:
            place, weight = flags[kind]
            expected[place] = weight
        np.testing.assert_array_equal(pid[row, 1:], expected)
        assert mass[row] == PARTICLES[kind][0]


def test_particle_types_are_told(tmp_path):
    x, y = quark_gluon_arrays([8])
    x[0, :, 0] = np.arange(80, 0, -10)
    x[0, :, 3] = [22, -211, 130, 321, 11, -11, 13, -13]
    types = particle_types(read(write_quark_gluon(tmp_path / "a.npz", x, y)))
    assert [PARTICLE_TYPES[t] for t in types] == ["photon", "h-", "h0", "h+", "e-", "e+", "mu-", "mu+"]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_chunks_and_spans_agree_with_the_whole(tmp_path, kind, save):
    x, y = quark_gluon_arrays([4] * 11)
    path = tmp_path / "a.npz"
    save(path, X=x.astype(kind), y=y.astype(np.int64))
    whole = read(path)
    parts = list(iterate_quark_gluon(path, 2, 10, chunk=3))
    assert [(part.start, part.stop) for part in parts] == [(2, 5), (5, 8), (8, 10)]
    joined = concatenate([part.jets for part in parts])
    assert torch.equal(joined.particles, whole.take(list(range(2, 10))).particles)
    assert torch.equal(joined.labels, whole.labels[2:10])


def test_jets_without_particles_are_dropped_and_counted(tmp_path):
    (part,) = iterate_quark_gluon(write_quark_gluon(tmp_path / "a.npz", *quark_gluon_arrays([3, 0, 4, 0])))
    assert part.jets.index.tolist() == [0, 2]
    assert part.account.dropped[NO_PARTICLES] == 2


def wrong(column: int, value: float) -> tuple[np.ndarray, np.ndarray]:
    x, y = quark_gluon_arrays([3, 4, 5])
    x[1, 2, column] = value
    return x, y


X, Y = quark_gluon_arrays([3, 4, 5])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": X}, r"has no array 'y', only \['X'\]"),
        ({"x": X, "y": Y}, r"has no array 'X', only"),
        ({"X": X[..., :3], "y": Y}, r"X has shape \(3, 5, 3\), not \(jets, particles, 4\): pT, rapidity"),
        ({"X": X[0], "y": Y}, r"X has shape \(5, 4\)"),
        ({"X": X[:0], "y": Y[:0]}, "X holds no jets"),
        ({"X": X, "y": Y[:2]}, "X holds 3 jets but y 2 labels"),
        ({"X": X, "y": Y[:, None]}, r"y has shape \(3, 1\)"),
        ({"X": X.astype(str), "y": Y}, "X does not hold numbers"),
        ({"X": np.asfortranarray(X), "y": Y}, "X does not hold numbers in rows"),
        ({"X": X, "y": np.array([0, 1, 5])}, "y of jet 2 is neither 0"),
        (dict(zip("Xy", wrong(0, np.nan))), "X pT of jet 1 is not a finite number"),
        (dict(zip("Xy", wrong(0, -3.0))), "X pT of jet 1 is negative"),
        (dict(zip("Xy", wrong(1, np.inf))), "X rapidity of jet 1 is not a finite number"),
        (dict(zip("Xy", wrong(3, 999))), "X pdgid of jet 1 is no particle known here"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_array(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(JepalibError, match=rf"bad\.npz: {message}"):
        list(iterate_quark_gluon(tmp_path / "bad.npz"))


def test_unusable_files_are_named(tmp_path):
    whole = write_quark_gluon(tmp_path / "whole.npz", *quark_gluon_arrays([5] * 200)).read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no npz")
    place = len(whole) // 3
    (tmp_path / "flipped.npz").write_bytes(whole[:place] + bytes(64) + whole[place + 64 :])
    for name, message in {
        "cut": "is no whole npz",
        "text": "is no whole npz",
        "missing": "no such file",
    }.items():
        with pytest.raises(JepalibError, match=rf"{name}\.npz: {message}"):
            entries_of_quark_gluon(tmp_path / f"{name}.npz")
    with pytest.raises(JepalibError, match=r"flipped\.npz: X cannot be read, truncated or damaged"):
        list(iterate_quark_gluon(tmp_path / "flipped.npz"))


def test_embedding_needs_no_labels_and_keeps_the_rows(tmp_path):
    x, _ = quark_gluon_arrays([3, 0, 4, 5])
    x[2, 1, 1] = np.nan
    np.savez(tmp_path / "a.npz", X=x)
    (part,) = iterate_quark_gluon(tmp_path / "a.npz", allow_unlabelled=True)
    assert part.kept.tolist() == [True, False, False, True]
    assert part.account.dropped == {NO_PARTICLES: 1, NOT_FINITE: 1, "labels do not sum to one": 0}
    assert part.jets.labels.tolist() == [-1, -1]
