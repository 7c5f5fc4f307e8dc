"""Twins of top tagging and quark–gluon: public layout, acceptance, truth, resumption, a first closure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from jepalib.data.accounts import ReadJets
from jepalib.data.datasets import iterate_files
from jepalib.data.simulation import simulate
from jepalib.data.simulation.atlas import ATLAS
from jepalib.data.simulation.clustering import Acceptance, find_jets
from jepalib.data.simulation.twin_files import read_twin_parameters, top_table
from jepalib.data.simulation.twins import KINDS, TwinTask, twin_chunks, twin_streams
from jepalib.errors import JepalibError

JETS = {"top": 60, "quark-gluon": 24}  # per class


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each twin."""
    out = tmp_path_factory.mktemp("twins")
    made = {}
    for name, jets in JETS.items():
        (made[name],) = simulate(out / name, "val", jets, seed=5, workers=1, quiet=True, dataset=name)
    return made


def read(path: Path) -> ReadJets:
    (part,) = iterate_files(path)
    return part


def test_the_public_layout_of_top_tagging(files: dict[str, Path]) -> None:
    frame = pd.read_hdf(files["top"], "table")
    columns = [f"{c}_{i}" for i in range(200) for c in ("E", "PX", "PY", "PZ")]
    columns += ["truthE", "truthPX", "truthPY", "truthPZ", "ttv", "is_signal_new"]
    assert list(frame.columns) == columns
    assert len(frame) == 120
    assert set(frame.dtypes[:804]) == {np.dtype(np.float32)}
    assert (frame.ttv == 2).all()
    assert frame.is_signal_new.sum() == 60
    assert 10 < frame.is_signal_new[:60].sum() < 50  # mixed
    truth = frame[["truthPX", "truthPY", "truthPZ", "truthE"]].to_numpy(float)
    mass = np.sqrt(np.maximum(truth[:, 3] ** 2 - (truth[:, :3] ** 2).sum(1), 0))
    signal = frame.is_signal_new == 1
    assert (truth[~signal] == 0).all()
    assert abs(np.median(mass[signal]) - 171) < 3  # Pythia's top mass
    jet = frame[[f"P{c}_{i}" for i in range(200) for c in "XYZ"]].to_numpy(float).reshape(120, 200, 3).sum(1)
    for px, py, pz, top in zip(*jet[signal].T, truth[signal]):
        turn = np.angle(np.exp(1j * (np.arctan2(py, px) - np.arctan2(top[1], top[0]))))
        rise = np.arcsinh(pz / np.hypot(px, py)) - np.arcsinh(top[2] / np.hypot(top[0], top[1]))
        assert np.hypot(turn, rise) < 0.8
    pt = np.hypot(frame.filter(regex="PX_").to_numpy(), frame.filter(regex="PY_").to_numpy())[:, :200]
    assert (np.diff(pt) <= 1e-4).all()


def test_the_public_layout_of_quark_gluon(files: dict[str, Path]) -> None:
    with np.load(files["quark-gluon"]) as arrays:
        x, y = arrays["X"], arrays["y"]
    assert x.shape[::2] == (48, 4)
    assert x.dtype == y.dtype == np.float64
    assert y.sum() == 24
    assert 3 < y[:24].sum() < 21
    real = x[..., 0] > 0
    assert x.shape[1] == real.sum(1).max()
    assert (x[~real] == 0).all()
    assert ((x[..., 2] >= 0) & (x[..., 2] < 2 * np.pi)).all()
    assert set(np.abs(x[real][:, 3])) <= {22, 11, 13, 211, 321, 130, 2112, 2212}


def test_jets_are_in_the_acceptance(files: dict[str, Path]) -> None:
    top, other = (read(files[name]).jets for name in ("top", "quark-gluon"))
    pt, eta = top.observable("pt"), top.observable("eta")
    assert ((pt > 550) & (pt < 650) & (eta.abs() < 2)).all()
    pt = other.observable("pt").numpy()
    assert ((pt > 499.9) & (pt < 550.1)).all()
    pz = pt * np.sinh(other.observable("eta").numpy())
    assert (np.abs(np.arctanh(pz / other.observable("energy").numpy())) < 1.7).all()


def test_what_is_known_of_both_shows_in_a_few_jets(files: dict[str, Path]) -> None:
    """Three standard errors about the values that the slow closure measures with many jets."""
    top = read(files["top"]).jets
    mass, signal = top.observable("sdmass").numpy(), top.labels.numpy() == 1
    assert ((mass > 145) & (mass < 195))[signal].mean() > 0.5  # a fifth of an even spread over 250 GeV
    assert np.median(mass[~signal]) < 60
    assert roc_auc_score(signal, mass) > 0.8
    other = read(files["quark-gluon"]).jets
    counts, quark = other.observable("nparticles").numpy(), other.labels.numpy() == 1
    for chosen, expected in ((quark, 33), (~quark, 53)):
        assert abs(counts[chosen].mean() - expected) < 3 * counts[chosen].std() / np.sqrt(24)


@pytest.mark.parametrize("dataset", list(JETS))
def test_a_repeated_call_makes_only_what_is_missing(dataset: str, tmp_path: Path) -> None:
    call = {"seed": 3, "workers": 1, "quiet": True, "dataset": dataset, "files_per_class": 2}
    first, second = simulate(tmp_path, "train", 4, **call)
    assert (first.name, second.name) == {
        "top": ("top_000.h5", "top_001.h5"),
        "quark-gluon": ("QG_jets_000.npz", "QG_jets_001.npz"),
    }[dataset]
    before, kept = read(second).jets, first.stat().st_mtime_ns
    second.unlink()
    assert simulate(tmp_path, "train", 4, **call | {"workers": 2}) == [first, second]
    again = read(second).jets
    assert (again.particles == before.particles).all()
    assert again.labels.tolist() == before.labels.tolist()
    assert first.stat().st_mtime_ns == kept
    assert not (read(first).jets.particles[:5] == before.particles[:5]).all()
    assert sorted(path.name for path in (tmp_path / "train").iterdir()) == [first.name, second.name]
    assert read_twin_parameters(first)["jets"] == 4
    with pytest.raises(JepalibError, match=rf"{first.name} was made with seed = 3"):
        simulate(tmp_path, "train", 4, **call | {"seed": 4})
    first.write_bytes(b"broken")
    with pytest.raises(JepalibError, match=rf"{first.name} is there, but is not a whole file"):
        simulate(tmp_path, "train", 4, **call)


def test_wrong_arguments_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    for call, message in (
        ({"dataset": "tops"}, "unknown data set 'tops'; choose one of jetclass, top, quark-gluon, lhco"),
        ({"dataset": "top", "classes": ["QCD"]}, "every file of top holds both classes"),
    ):
        with pytest.raises(JepalibError, match=message):
            simulate(tmp_path / "out", "train", 4, **call)
    assert not list(tmp_path.iterdir())


def test_no_two_files_share_random_numbers() -> None:
    streams = [
        twin_streams(TwinTask(Path(), dataset, split, number, 5, seed), label)
        for dataset, label in KINDS
        for split in ("train", "val", "test")
        for number in (0, 1, 999)
        for seed in (0, 1, 74_999)
    ]
    assert len({seed for seed, _ in streams}) == len(streams)
    assert max(seed for seed, _ in streams) <= 900_000_000
    assert len({np.random.default_rng(sequence).random() for _, sequence in streams}) == len(streams)


def test_the_atlas_like_detector_is_the_coarser_one() -> None:
    eta, phi = np.array([0.01, 0.05, 0.05, 0.05]), np.array([0.01, 0.01, 0.15, 0.20])
    assert len(set(ATLAS.hcal.cell(eta, phi))) == 2  # 0.1 in eta, ten degrees in phi
    assert len(set(ATLAS.ecal.cell(eta, phi))) == 4
    energy, origin = np.array([100.0]), np.zeros(1)
    assert ATLAS.hcal.resolution(origin, energy) == pytest.approx(np.sqrt(3.02**2 + 5.205**2 + 1.59**2))
    assert ATLAS.ecal.resolution(origin, energy) == pytest.approx(np.sqrt(0.17**2 + 1.01**2))


def test_only_the_leading_jet_in_the_window_is_taken() -> None:
    def particle(pt: float, eta: float, phi: float) -> list[float]:
        return [pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)]

    p4 = np.array(
        [
            particle(520, 0, 0),
            particle(510, 0, 3),
            particle(600, 0, 0),
            particle(520, 0, 3),
            particle(520, 1.9, 1),
        ]
    )
    event = np.array([0, 0, 1, 1, 2])
    acceptance = Acceptance(0.4, (500.0, 550.0), 1.7, rapidity=True, leading=True)
    assert find_jets(event, p4, 3, acceptance).event.tolist() == [0]  # too hard, too far forward
    every = Acceptance(0.4, (500.0, 550.0), 2.0)
    assert find_jets(event, p4, 3, every).event.tolist() == [0, 0, 1, 2]


def test_softest_constituents_beyond_200_are_cut() -> None:
    jets = next(twin_chunks(TwinTask(Path(), "top", "train", 0, 1, 0), 0)).take(np.array([0]))
    many = type(jets)(
        np.repeat(jets.p4[:1], 230, 0), np.zeros(230, np.int64), np.array([230]), jets.labels, jets.truth
    )
    frame = top_table(many, 0)
    assert frame.filter(regex="^E_").shape == (1, 200)
    assert frame.ttv.tolist() == [0]
