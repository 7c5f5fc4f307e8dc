"""The twin of the LHC Olympics data: public layout, trigger, masses of the resonances, resumption, seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tables
from public_files import lhco_table, write_lhco

from jepalib.data.convert import convert
from jepalib.data.lhc_olympics import DijetEvents, events_of, read_lhco, truth_of
from jepalib.data.simulation import simulate
from jepalib.data.simulation.detector import Objects
from jepalib.data.simulation.dijets import DijetTask, dijet_streams, event_table, read_event_parameters
from jepalib.data.simulation.produce import FileTask, random_streams
from jepalib.data.simulation.twins import KINDS, TwinTask, twin_streams
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES

BACKGROUND, SIGNAL = 40, 60
CALL = {"seed": 3, "workers": 1, "quiet": True, "dataset": "lhco"}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    (made,) = simulate(tmp_path_factory.mktemp("dijets"), "test", (BACKGROUND, SIGNAL), **CALL)
    return made


@pytest.fixture(scope="module")
def events(file: Path) -> DijetEvents:
    found, account = read_lhco(file)
    assert len(found) == BACKGROUND + SIGNAL
    assert not any(account.dropped.values())
    return found


def layout(path: Path) -> dict[str, object]:
    """What a reader of the table depends on: nodes, attributes of pandas, types, compression."""
    with tables.open_file(str(path)) as opened:
        found = {}
        for node in opened.walk_nodes("/df"):
            found[node._v_pathname] = (
                None
                if isinstance(node, tables.Group)
                else (node.dtype, node.shape[1:], node.filters.complib, node.filters.complevel)
            )
        names = opened.root.df._v_attrs._v_attrnamesuser
        return found | {name: str(opened.root.df._v_attrs[name]) for name in names if name != "parameters"}


def test_the_layout_is_the_public_one(file: Path, tmp_path: Path) -> None:
    public = write_lhco(tmp_path / "events_anomalydetection.h5", lhco_table([(40, 30), (20, 60)]))
    assert layout(file) == layout(public)
    frame = pd.read_hdf(file, "df")
    assert frame.shape == (BACKGROUND + SIGNAL, 2101)
    assert set(frame.dtypes) == {np.dtype(np.float64)}
    particles = frame.to_numpy()[:, :2100].reshape(-1, 700, 3)
    assert (np.diff(particles[..., 0]) <= 0).all()
    assert (particles[particles[..., 0] == 0] == 0).all()
    assert (np.abs(particles[..., 2]) <= np.pi).all()
    assert (particles[..., 0] > 0).sum(1).min() > 20


def test_background_and_signal_are_mixed_in_the_numbers_asked_for(file: Path) -> None:
    truth = truth_of(file)
    assert np.bincount(truth).tolist() == [BACKGROUND, SIGNAL]
    assert 12 < truth[:SIGNAL].sum() < 57
    assert file.name == "events_anomalydetection_000.h5"


def test_every_event_passes_the_trigger(events: DijetEvents) -> None:
    hard = [(jets.observable("pt") > 1200) & (jets.observable("eta").abs() < 2.5)
            for jets in (events.leading, events.subleading)]  # fmt: skip
    assert (hard[0] | hard[1]).all()


def test_the_signal_has_its_masses(events: DijetEvents) -> None:
    """Medians within four of their errors of the generated masses, give or take what the detector does."""
    masses, mjj = events.masses[events.signal].sort(1).values.numpy(), events.mjj[events.signal].numpy()
    for found, generated, allowed in ((masses[:, 0], 100, 12), (masses[:, 1], 500, 25), (mjj, 3500, 60)):
        middle = np.abs(found - np.median(found)) < 0.3 * generated
        error = 1.25 * found[middle].std() / middle.sum() ** 0.5
        assert abs(np.median(found) - generated) < allowed + 4 * error
    assert ((mjj > 3300) & (mjj < 3700)).mean() > 0.55  # the public file: 0.77
    assert np.median(events.mjj[~events.signal]) < 3300


@pytest.mark.slow
def test_shares_of_the_signal_region_are_those_of_the_public_file(tmp_path: Path) -> None:
    """772 of 1,000 signal events and 12.1 % of the background in 3.3 to 3.7 TeV (arXiv:2109.00546)."""
    simulate(tmp_path, "test", (1000, 500), files_per_class=2, **CALL | {"workers": None})
    store = convert([tmp_path], tmp_path / "store", workers=2, quiet=True)
    found = events_of(store.read(np.arange(len(store))))
    inside, signal = (found.mjj > 3300) & (found.mjj < 3700), found.signal
    for chosen, share in ((signal, 0.772), (~signal, 0.121)):
        error = (share * (1 - share) / float(chosen.sum())) ** 0.5
        assert abs(float(inside[chosen].float().mean()) - share) < 3 * error + 0.02


def test_a_repeated_call_makes_only_what_is_missing(tmp_path: Path) -> None:
    call = CALL | {"files_per_class": 2}
    first, second = simulate(tmp_path, "train", (5, 2), **call)
    kept, before = first.stat().st_mtime_ns, pd.read_hdf(second, "df").to_numpy()
    second.unlink()
    assert simulate(tmp_path, "train", (5, 2), **call | {"workers": 2}) == [first, second]
    assert (pd.read_hdf(second, "df").to_numpy() == before).all()
    assert first.stat().st_mtime_ns == kept
    about = read_event_parameters(first)
    assert (about["background"], about["signal"], about["events"]) == (3, 1, 4)
    with pytest.raises(JepalibError, match=r"000.h5 was made with signal = 1, this call wants 2"):
        simulate(tmp_path, "train", (5, 4), **call)
    first.write_bytes(b"broken")
    with pytest.raises(JepalibError, match=r"000.h5 is there, but is not a whole file"):
        simulate(tmp_path, "train", (5, 2), **call)


def test_background_alone_and_splits_of_their_own(tmp_path: Path) -> None:
    tables_ = []
    for split in ("train", "val"):
        (path,) = simulate(tmp_path, split, (2, 0), **CALL)
        assert truth_of(path).tolist() == [0, 0]
        tables_.append(pd.read_hdf(path, "df").to_numpy())
    assert not (tables_[0] == tables_[1]).all(1).any()


@pytest.mark.parametrize(
    ("numbers", "more", "message"),
    [
        ((5, -1), {}, "-1 signal events"),
        ((0, 5), {}, "jets per class must be at least 1"),
        ((5, 5), {"dataset": "top"}, "top has as many jets of each class"),
        ((5, 5), {"classes": ["QCD"]}, "every file of lhco holds both classes"),
    ],
)
def test_wrong_numbers_are_refused_before_anything_is_made(tmp_path: Path, numbers, more, message) -> None:
    with pytest.raises(JepalibError, match=message):
        simulate(tmp_path / "out", "train", numbers, **CALL | more)
    assert not list(tmp_path.iterdir())


def test_no_file_shares_random_numbers_with_another() -> None:
    places = [
        (split, number, seed) for split in ("train", "val", "test") for number in (0, 999) for seed in (0, 7)
    ]
    own = [
        dijet_streams(DijetTask(Path(), split, number, 5, 5, seed), label)
        for split, number, seed in [*places, ("test", 999, 149_999)]
        for label in (0, 1)
    ]
    others = [
        twin_streams(TwinTask(Path(), dataset, split, number, 5, seed), label)
        for dataset, label in KINDS
        for split, number, seed in places
    ]
    jets = [
        random_streams(FileTask(Path(), name, *place[:2], 5, place[2]))
        for name in CLASSES
        for place in places
    ]
    pythia = [seed for seed, _ in own]
    assert len(set(pythia)) == len(own)
    assert not set(pythia[:-2]) & {seed for seed, _ in others + jets}
    assert 1 <= min(pythia) <= max(pythia) <= 900_000_000
    draws = [np.random.default_rng(sequence).random() for _, sequence in own + others]
    assert len(set(draws)) == len(draws)


def test_the_streams_of_the_other_twins_are_where_they_were() -> None:
    seeds = {
        (dataset, label): twin_streams(TwinTask(Path(), dataset, "val", 3, 5, 2), label)[0]
        for dataset, label in KINDS
    }
    assert seeds == {
        ("top", 0): 25004,
        ("top", 1): 28004,
        ("quark-gluon", 0): 31004,
        ("quark-gluon", 1): 34004,
    }


def test_the_softest_particles_beyond_700_are_cut() -> None:
    rng = np.random.default_rng(0)
    pt, eta, phi = rng.uniform(1, 9, 800), rng.normal(0, 0.1, 800), rng.normal(0, 0.1, 800)
    p4 = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), pt * np.cosh(eta)], axis=1)
    event = np.repeat([0, 1], [760, 40])  # the second is far below the trigger
    objects = Objects(event, np.zeros(800, int), p4, np.zeros(800), np.zeros((800, 4)))
    table = event_table(objects, 3, 1)
    assert table.shape == (1, 2101)
    assert table[0, -1] == 1
    np.testing.assert_allclose(table[0, :2100:3], np.sort(pt[:760])[::-1][:700])
