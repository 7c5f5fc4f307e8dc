"""Twins of the public top tagging and quark–gluon data sets, from the same chain as JetClass.

Top tagging (arXiv:1902.09914): hadronic tops in tt̄ against QCD dijets, 14 TeV, no
multiparton interactions, an ATLAS-like detector, anti-kT R = 0.8, 550 < pT < 650 GeV,
|eta| < 2; the top and its three quarks within 0.8 of the jet. Quark–gluon
(arXiv:1810.05165): Z(νν) + u, d or s quark against Z(νν) + gluon, 14 TeV, no detector,
all final particles but neutrinos, anti-kT R = 0.4, 500 < pT < 550 GeV, |y| < 1.7.
Of each event only the leading jet is looked at, so no event is in two files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jepalib.data.simulation.angles import pt_eta_phi, wrapped
from jepalib.data.simulation.atlas import ATLAS
from jepalib.data.simulation.clustering import Acceptance, Clustered, find_jets
from jepalib.data.simulation.detector import detect
from jepalib.data.simulation.events import Record, next_record, visible_particles
from jepalib.data.simulation.processes import HADRONIC_W, TOP_PAIR, Z_JET, Process, generator
from jepalib.data.simulation.produce import BATCH_EVENTS, MAX_EMPTY_BATCHES, MAX_FILES, PYTHIA_SEEDS, SPLITS
from jepalib.data.simulation.truth import MATCH_RADIUS, last_copy, match, resonances
from jepalib.data.simulation.twin_files import TwinJets, join_jets, write_twin
from jepalib.data.simulation.veto import early_veto, jet_veto
from jepalib.errors import JepalibError
from jepalib.schema import DATASET_CLASSES

NO_MPI = ("PartonLevel:MPI = off",)
HARD_PARTONS = ((21,), (1, 2, 3))  # of gluon and of quark jets
JET_WINDOW = (450.0, 620.0)  # GeV: given up before the soft interactions outside of it


@dataclass(frozen=True)
class Twin:
    """How the files of one data set are made.

    Attributes:
        recipes: process of each class, in the order of its labels.
        acceptance: of the jets.
        file_stem, suffix: FILE_STEM_NNN.SUFFIX.
    """

    recipes: dict[str, Process]
    acceptance: Acceptance
    file_stem: str
    suffix: str


# Of the jets of runs with thresholds of 420 and 380 GeV (1,500 to 2,000 a class), those here
# keep 95 % (QCD), 98 % (top), 99 % (gluon) and 98 % (quark).
TWINS = {
    "top": Twin(
        {
            "QCD": Process(("HardQCD:all = on", *NO_MPI), 440.0, 0, ecm=14000.0, pt_hat_max=1000.0),
            "top": Process((*TOP_PAIR, *HADRONIC_W, *NO_MPI), 440.0, 6, ecm=14000.0, pt_hat_max=1000.0),
        },
        Acceptance(0.8, (550.0, 650.0), 2.0, leading=True),
        "top",
        "h5",
    ),
    "quark-gluon": Twin(
        {
            "gluon": Process((Z_JET[0], *Z_JET[2:]), 400.0, 0, ecm=14000.0, pt_hat_max=1000.0),
            "quark": Process(Z_JET[1:], 400.0, 0, ecm=14000.0, pt_hat_max=1000.0),
        },
        Acceptance(0.4, (500.0, 550.0), 1.7, rapidity=True, leading=True),
        "QG_jets",
        "npz",
    ),
}
assert all(tuple(twin.recipes) == DATASET_CLASSES[name] for name, twin in TWINS.items())
KINDS = [(name, label) for name, twin in TWINS.items() for label in range(len(twin.recipes))]
FILES = len(KINDS) * len(SPLITS) * MAX_FILES  # of one seed


@dataclass(frozen=True)
class TwinTask:
    """One file to make, with jets of all classes, mixed.

    Its content follows from (dataset, seed, split, number) and the number of jets alone.
    """

    folder: Path
    dataset: str
    split: str
    number: int
    jets_per_class: int
    seed: int

    @property
    def name(self) -> str:
        """How progress and rates call it."""
        return self.dataset

    @property
    def jets(self) -> int:
        """Jets of all classes."""
        return self.jets_per_class * len(TWINS[self.dataset].recipes)

    @property
    def path(self) -> Path:
        """Where the file lies."""
        twin = TWINS[self.dataset]
        return self.folder / f"{twin.file_stem}_{self.number:03d}.{twin.suffix}"

    @property
    def parameters(self) -> dict[str, object]:
        """What identifies its content."""
        return {
            "dataset": self.dataset,
            "split": self.split,
            "file": self.number,
            "jets": self.jets,
            "seed": self.seed,
        }


def twin_streams(task: TwinTask, label: int) -> tuple[int, np.random.SeedSequence]:
    """Pythia's seed for one class of a file, and the root of its other random numbers.

    All files of one seed (data sets, classes, splits, numbers) have different Pythia seeds,
    and so have seeds 0 to 74,999.
    """
    kind = KINDS.index((task.dataset, label)) * len(SPLITS) + SPLITS.index(task.split)
    seed = 1 + (task.seed % (PYTHIA_SEEDS // FILES)) * FILES + kind * MAX_FILES + task.number
    words = [task.seed, 1 + list(TWINS).index(task.dataset), label, SPLITS.index(task.split), task.number]
    return seed, np.random.SeedSequence(words)


def make_twin(task: TwinTask, report: Callable[[int], None]) -> Path:
    """Simulate and write one file; arguments and errors as in `produce.make_file`."""
    parts = []
    for label in range(len(TWINS[task.dataset].recipes)):
        chunks, done, empty = [], 0, 0
        for chunk in twin_chunks(task, label):
            fresh = min(len(chunk.counts), task.jets_per_class - done)
            empty = 0 if fresh else empty + 1
            if empty >= MAX_EMPTY_BATCHES:
                events = empty * BATCH_EVENTS
                raise JepalibError(f"simulate: {task.dataset}: {events} events gave no jet in the window")
            chunks.append(chunk.take(np.arange(fresh)))
            done += fresh
            report(fresh)
            if done >= task.jets_per_class:
                break
        parts += chunks
    jets = join_jets(parts)
    words = [task.seed, len(KINDS), list(TWINS).index(task.dataset), SPLITS.index(task.split), task.number]
    order = np.random.default_rng(words).permutation(len(jets.counts))
    write_twin(task.path, task.dataset, jets.take(order), SPLITS.index(task.split), task.parameters)
    return task.path


def twin_chunks(task: TwinTask, label: int) -> Iterator[TwinJets]:
    """Endless batches of jets of one class of a file."""
    twin = TWINS[task.dataset]
    recipe = list(twin.recipes.values())[label]
    seed, sequence = twin_streams(task, label)
    veto = early_veto(recipe.resonance) if recipe.resonance else None
    if task.dataset == "quark-gluon":
        veto = jet_veto(HARD_PARTONS[label], JET_WINDOW, 1.9, twin.acceptance.radius)
    pythia = generator(recipe, seed, veto)
    while True:
        rng = np.random.default_rng(sequence.spawn(1)[0])
        make = _top_jets if task.dataset == "top" else _quark_gluon_jets
        yield make(next_record(pythia, BATCH_EVENTS), pythia, rng, label)


def _top_jets(record: Record, pythia: Any, rng: np.random.Generator, label: int) -> TwinJets:
    """Jets of the detector's objects; those of tops with the top's four-momentum."""
    objects = detect(visible_particles(record, pythia), rng, ATLAS)
    jets = find_jets(objects.event, objects.p4, record.events, TWINS["top"].acceptance)
    keep, truth = np.ones(len(jets.counts), bool), np.zeros((len(jets.counts), 4))
    if label:
        rows = _matched_tops(record, jets)
        keep, truth = rows >= 0, record.p4[rows]
    return _twin_jets(jets, objects.p4, np.zeros(len(objects.event), np.int64), label, truth).take(
        np.flatnonzero(keep)
    )


def _matched_tops(record: Record, jets: Clustered) -> Int[np.ndarray, " jets"]:
    """Row of the top that is in each jet with all its quarks; -1 for none."""
    _, eta, phi = pt_eta_phi(jets.p4)
    truth = resonances(record, "Tbqq")
    matched = match(truth, jets.event, eta, phi)
    near = np.hypot(truth.eta[matched] - eta, wrapped(truth.phi[matched] - phi)) < MATCH_RADIUS
    tops = np.flatnonzero((np.abs(record.pid) == 6) & (record.daughters[:, 0] >= 0))
    tops = tops[last_copy(record, tops) == tops]  # the order of `resonances`
    return np.where((matched >= 0) & near, tops[matched], -1)


def _quark_gluon_jets(record: Record, pythia: Any, rng: np.random.Generator, label: int) -> TwinJets:
    """Jets of final-state particles, no detector."""
    particles = visible_particles(record, pythia)
    jets = find_jets(particles.event, particles.p4, record.events, TWINS["quark-gluon"].acceptance)
    return _twin_jets(jets, particles.p4, particles.pid, label, np.zeros((len(jets.counts), 4)))


def _twin_jets(
    jets: Clustered,
    p4: Float[np.ndarray, "objects 4"],
    pid: Int[np.ndarray, " objects"],
    label: int,
    truth: Float[np.ndarray, "jets 4"],
) -> TwinJets:
    labels = np.full(len(jets.counts), label)
    return TwinJets(p4[jets.members], pid[jets.members].astype(np.int64), jets.counts, labels, truth)
