"""Files of a tiny simulation: schema, acceptance, reproducibility, resumption, errors."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
from pathlib import Path

import awkward as ak
import numpy as np
import pytest
import uproot

from jepalib.data import simulation
from jepalib.data.simulation import branches, driver, processes, simulate
from jepalib.data.simulation.branches import LABEL_TYPES, read_parameters
from jepalib.data.simulation.produce import FileTask, random_streams
from jepalib.data.simulation.whole import here
from jepalib.errors import JepalibError
from jepalib.progress import Progress
from jepalib.schema import CLASSES, JET_FIELDS, PARTICLE_FIELDS, PROCESSES

NAMES = ("Wqq", "Tbqq")
JETS = 20


def arrays(path: Path) -> ak.Array:
    return uproot.open(path)["tree"].arrays()


def same(one: ak.Array, two: ak.Array) -> bool:
    return all(ak.array_equal(one[name], two[name]) for name in one.fields)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 20 jets in two files each, made by two workers."""
    out = tmp_path_factory.mktemp("simulated")
    simulate(out, "train", JETS, classes=NAMES, files_per_class=2, seed=3, workers=2, quiet=True)
    return out


def test_names_and_numbers(folder: Path) -> None:
    found = sorted(path.name for path in (folder / "train").iterdir())
    assert found == sorted(f"{PROCESSES[name]}_{n:03d}.root" for name in NAMES for n in range(2))
    for path in (folder / "train").iterdir():
        assert len(arrays(path)) == JETS // 2
        assert read_parameters(path)["jets"] == JETS // 2


def test_schema_and_types(folder: Path) -> None:
    tree = uproot.open(folder / "train" / "WToQQ_000.root")["tree"]
    types = {name: branch.interpretation for name, branch in tree.items()}
    for field in PARTICLE_FIELDS:
        kind = np.int32 if field.startswith("is") else np.float32
        assert types[f"part_{field}"].content.to_dtype == np.dtype(kind)
    for field in JET_FIELDS:
        assert types[f"jet_{field}"].to_dtype == np.dtype(np.float32)
    for name in CLASSES:
        assert types[f"label_{name}"].to_dtype == np.dtype(LABEL_TYPES[name])
    for name, kind in (("pid", np.int32), ("pt", np.float32), ("eta", np.float32), ("phi", np.float32)):
        assert types[f"aux_genpart_{name}"].to_dtype == np.dtype(kind)
    assert types["aux_truth_match"].to_dtype == np.dtype(np.int32)


def test_jets_are_what_they_claim(folder: Path) -> None:
    for name in NAMES:
        jets = arrays(folder / "train" / f"{PROCESSES[name]}_001.root")
        assert ak.all((jets.jet_pt > 500) & (jets.jet_pt < 1000) & (abs(jets.jet_eta) < 2))
        labels = np.stack([ak.to_numpy(jets[f"label_{c}"]) for c in CLASSES], axis=1)
        assert (labels.argmax(1) == CLASSES.index(name)).all()
        assert (labels.sum(1) == 1).all()
        assert ak.all(jets.jet_nparticles == ak.num(jets.part_px))
        px, py, energy = (ak.sum(jets[f"part_{c}"], axis=1) for c in ("px", "py", "energy"))
        np.testing.assert_allclose(np.hypot(px, py), jets.jet_pt, rtol=1e-4)
        np.testing.assert_allclose(energy, jets.jet_energy, rtol=1e-4)
        pt = np.hypot(jets.part_px, jets.part_py)
        assert ak.all(pt[:, 1:] <= pt[:, :-1])
        flags = sum(jets[f"part_{field}"] for field in PARTICLE_FIELDS[11:])
        assert ak.all(flags == 1)
        neutral = jets.part_charge == 0
        assert ak.all(neutral == (jets.part_isPhoton + jets.part_isNeutralHadron == 1))
        assert ak.all(jets.part_d0val[neutral] == 0)
        assert ak.all(jets.jet_tau1 >= jets.jet_tau2)
        assert ak.all((jets.jet_sdmass >= 0) & (jets.jet_sdmass < 500))


def test_directions_are_relative_to_the_jet(folder: Path) -> None:
    jets = arrays(folder / "train" / "TTBar_000.root")
    pt = np.hypot(jets.part_px, jets.part_py)
    eta = np.arcsinh(jets.part_pz / pt)
    sign = np.where(jets.jet_eta >= 0, 1, -1)
    np.testing.assert_allclose(ak.flatten(jets.part_deta), ak.flatten((eta - jets.jet_eta) * sign), atol=1e-4)
    turned = jets.part_dphi + jets.jet_phi
    np.testing.assert_allclose(ak.flatten(np.cos(turned)), ak.flatten(jets.part_px / pt), atol=1e-4)
    np.testing.assert_allclose(ak.flatten(np.sin(turned)), ak.flatten(jets.part_py / pt), atol=1e-4)


def test_the_resonance_is_in_the_jet(folder: Path) -> None:
    for name, pid in (("Wqq", 24), ("Tbqq", 6)):
        jets = arrays(folder / "train" / f"{PROCESSES[name]}_000.root")
        assert ak.all(abs(jets.aux_genpart_pid) == pid)
        distance = np.hypot(
            jets.aux_genpart_eta - jets.jet_eta,
            np.remainder(jets.aux_genpart_phi - jets.jet_phi + np.pi, 2 * np.pi) - np.pi,
        )
        assert ak.all(distance < 0.8)
        assert ak.all(jets.aux_truth_match // 100 == CLASSES.index(name) + 1)
    assert ak.all(jets.aux_truth_match % 100 == 5)


def test_a_file_depends_on_its_own_parameters_only(folder: Path, tmp_path: Path) -> None:
    """One worker in this process, another number of files, another length: the same jets."""
    (path,) = simulate(tmp_path, "train", 14, classes=["Wqq"], seed=3, workers=1, quiet=True)
    longer, first = arrays(path), arrays(folder / "train" / "WToQQ_000.root")
    assert same(longer[: len(first)], first)
    second = arrays(folder / "train" / "WToQQ_001.root")
    assert not same(longer[: len(second)], second)


def test_random_streams_differ_by_seed_class_split_and_number() -> None:
    tasks = [
        FileTask(Path(), name, split, number, 10, seed)
        for name in CLASSES
        for split in ("train", "val", "test")
        for number in range(3)
        for seed in range(3)
    ]
    streams = [random_streams(task) for task in tasks]
    assert len({seed for seed, _ in streams}) == len(tasks)
    assert len({next(batches).random() for _, batches in streams}) == len(tasks)


def test_no_two_files_share_the_events_of_pythia() -> None:
    seeds = [
        random_streams(FileTask(Path(), name, split, number, 10, seed))[0]
        for name in CLASSES
        for split in ("train", "val", "test")
        for number in (0, 1, 500, 999)
        for seed in (0, 1, 2022, 29_999)
    ]
    assert len(set(seeds)) == len(seeds)
    assert min(seeds) == 1
    assert max(seeds) == 900_000_000
    one, other = (FileTask(Path(), "QCD", "train", 0, 10, seed) for seed in (5, 30_005))
    assert random_streams(one)[0] == random_streams(other)[0]
    draws = [next(random_streams(task)[1]).random() for task in (one, other)]
    assert draws[0] != draws[1]


def test_the_rates_of_all_classes_in_the_making_are_shown(tmp_path: Path) -> None:
    notes = []

    class Bar(Progress):
        def add(self, count: int, note: str = "") -> None:
            notes.append(note)

    tasks = [FileTask(tmp_path, name, "train", n, 10, 0) for name in ("Hbb", "QCD") for n in range(2)]
    rates = driver._Rates(Bar(40, "simulate", quiet=True), tasks)
    rates.start("Hbb")
    rates.start("QCD")
    rates.add("Hbb", 10)
    rates.add("QCD", 4)
    rates.add("Hbb", 10)
    rates.add("QCD", 6)
    assert [note.count("/s") for note in notes] == [2, 2, 2, 1]
    assert notes[3].startswith("QCD ")
    lines = rates.table().splitlines()
    assert [line.split()[:2] for line in lines] == [["class", "jets"], ["Hbb", "20"], ["QCD", "10"]]
    assert len({len(line) for line in lines}) == 1


def test_a_call_ends_with_the_rates_by_class(tmp_path: Path, capsys) -> None:
    simulate(tmp_path, "val", 4, classes=["Wqq"], workers=1)
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["class", "jets", "seconds", "jets/s"]
    assert line.split()[:2] == ["Wqq", "4"]
    assert float(line.split()[3]) > 0


def test_places_that_cannot_be_written_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(JepalibError, match=r"file/train cannot be used as a folder"):
        simulate(tmp_path / "file", "train", 1, classes=["Wqq"], quiet=True)

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(branches.uproot, "recreate", full)
    with pytest.raises(JepalibError, match=r"WToQQ_000\.root: cannot be written.*No space left"):
        simulate(tmp_path, "train", 1, classes=["Wqq"], workers=1, quiet=True)


def test_a_repeated_call_makes_only_what_is_missing(folder: Path) -> None:
    paths = sorted((folder / "train").iterdir())
    before = {path: path.stat().st_mtime_ns for path in paths}
    lost = folder / "train" / "TTBar_001.root"
    content = arrays(lost)
    lost.unlink()
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = folder / "train" / f"TTBar_001.root.{here()}-{ended.pid}.part"
    other = left.with_name(f"TTBar_001.root.{here()}-{os.getppid()}.part")
    left.write_bytes(b"left by a killed process")
    other.write_bytes(b"being written by another one")
    simulate(folder, "train", JETS, classes=NAMES, files_per_class=2, seed=3, workers=2, quiet=True)
    assert same(arrays(lost), content)
    assert not left.exists()
    other.unlink()
    assert sorted((folder / "train").iterdir()) == paths
    assert all(path.stat().st_mtime_ns == before[path] for path in paths if path != lost)


@pytest.mark.parametrize("change", [{"seed": 4}, {"jets_per_class": 24}])
def test_finished_files_with_other_parameters_are_refused(folder: Path, change: dict) -> None:
    call = {"jets_per_class": JETS, "files_per_class": 2, "seed": 3} | change
    with pytest.raises(JepalibError, match=r"WToQQ_000\.root was made with (seed|jets)"):
        simulate(folder, "train", classes=NAMES, quiet=True, **call)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "HToBB_000.root").write_bytes(b"not ROOT")
    with pytest.raises(JepalibError, match=r"HToBB_000\.root is there, but is not a whole file"):
        simulate(tmp_path, "val", 5, classes=["Hbb"], quiet=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": "valid"}, "unknown split 'valid'"),
        ({"classes": ["Hbb", "Hxx"]}, "unknown classes \\['Hxx'\\]"),
        ({"classes": ["Hbb", "Hbb"]}, "named twice"),
        ({"jets_per_class": 0}, "jets per class must be at least 1"),
        ({"files_per_class": 0}, "files per class must be at least 1"),
        ({"files_per_class": 6}, "would leave files empty"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_made(
    tmp_path: Path, change: dict, message: str
) -> None:
    call = {"out": tmp_path, "split": "train", "jets_per_class": 5} | change
    with pytest.raises(JepalibError, match=message):
        simulate(**call)
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(module: str) -> None:
        raise ImportError(f"No module named {module!r}")

    monkeypatch.setattr(processes.importlib, "import_module", gone)
    with pytest.raises(JepalibError, match=r"pythia8mc: pip install 'jepalib\[sim\]'"):
        simulation.simulate(tmp_path, "train", 5)


def test_a_killed_worker_ends_the_call_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watch(driver._Rates):
        def start(self, name: str) -> None:
            super().start(name)
            for worker in multiprocessing.active_children():
                worker.kill()

    monkeypatch.setattr(driver, "_Rates", Watch)
    with pytest.raises(JepalibError, match="worker process died"):
        simulate(tmp_path, "train", 5000, classes=NAMES, workers=2, quiet=True)
    assert not list((tmp_path / "train").glob("*.root"))


def test_an_interrupt_stops_the_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(driver._Rates):
        def add(self, name: str, jets: int) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(driver, "_Rates", Impatient)
    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path, "train", 5000, classes=NAMES, workers=2, quiet=True)
    assert not multiprocessing.active_children()
    assert not list((tmp_path / "train").iterdir())
