"""A twin of the LHC Olympics R&D data (arXiv:2101.08320; Zenodo 4536377): dijets, a resonance among them.

Background: QCD dijets. Signal: W' -> X Y, X -> qq, Y -> qq with masses of 3.5 TeV, 500 and 100 GeV.
Both at 13 TeV without pile-up or multiparton interactions, with the CMS-like detector; an event
is kept when an anti-kT jet of R = 1.0 has pT > 1.2 TeV and |eta| < 2.5. A file holds both,
mixed, in the layout of the public ``events_anomalydetection.h5``: pT, eta, phi of up to 700
massless particles in falling pT, zero padded, then the truth bit.

X and Y are Pythia's W and Z with other masses. Jets this hard hold strange hadrons that fly
metres: those that reach the calorimeter do so undecayed, since what decays behind its face would be lost
(a twentieth of the dijet mass of the signal).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from jepalib import __version__
from jepalib.data.simulation.angles import pt_eta_phi
from jepalib.data.simulation.clustering import Acceptance, find_jets
from jepalib.data.simulation.detector import Objects, detect
from jepalib.data.simulation.events import next_record, visible_particles
from jepalib.data.simulation.processes import HADRONIC_W, Process, generator
from jepalib.data.simulation.produce import BATCH_EVENTS, MAX_EMPTY_BATCHES, MAX_FILES, PYTHIA_SEEDS, SPLITS
from jepalib.data.simulation.propagation import CMS_TRACKER
from jepalib.data.simulation.twin_files import PARAMETERS
from jepalib.data.simulation.veto import jet_veto
from jepalib.data.simulation.whole import not_whole, written_whole
from jepalib.errors import JepalibError
from jepalib.schema import DATASET_CLASSES

DATASET = "lhco"
KEY = "df"
PARTICLES = 700  # of an event, the softest of more are cut
TRIGGER = Acceptance(1.0, (1200.0, np.inf), 2.5)
# Of the events that pass the trigger with a threshold of 800 GeV, 96 % have the one below (1,791
# events), and of those 98 % pass the veto (273 events); what is lost lies at 2.5 instead of 2.8 TeV.
PT_HAT_MIN = 900.0
VETO_PT = (1150.0, np.inf)  # GeV, of the leading jet before hadronisation
PARTONS = (1, 2, 3, 4, 5, 21)

_COMMON = (
    "PartonLevel:MPI = off",
    "ParticleDecays:limitCylinder = on",
    f"ParticleDecays:xyMax = {CMS_TRACKER.radius}",
    f"ParticleDecays:zMax = {CMS_TRACKER.half_length}",
)


def _narrow(pid: int, mass: float, width: float, reach: float) -> tuple[str, ...]:
    """Settings that give a particle another mass, width and range of masses, GeV."""
    values = {"m0": mass, "mWidth": width, "mMin": mass - reach, "mMax": mass + reach}
    return (f"{pid}:doForceWidth = on", *(f"{pid}:{name} = {value}" for name, value in values.items()))


RECIPES = {
    "background": Process(("HardQCD:all = on", *_COMMON), PT_HAT_MIN, 0, pt_hat_max=-1.0),
    "signal": Process(
        (
            "NewGaugeBoson:ffbar2Wprime = on",
            "Wprime:coup2WZ = 1",
            "34:onMode = off",
            "34:onIfAll = 23 24",
            *_narrow(34, 3500.0, 10.0, 500.0),
            *_narrow(24, 500.0, 2.0, 50.0),
            *_narrow(23, 100.0, 1.0, 10.0),
            *HADRONIC_W,
            "23:onMode = off",
            "23:onIfAny = 1 2 3 4 5",
            *_COMMON,
        ),
        0.0,
        34,
        pt_hat_max=-1.0,
    ),
}
assert tuple(RECIPES) == DATASET_CLASSES[DATASET]
FILES = len(RECIPES) * len(SPLITS) * MAX_FILES  # of one seed
OWN_WORD = 5  # the second word of all random streams; the other twins have 1, 2 and 4


@dataclass(frozen=True)
class DijetTask:
    """One file to make: its events follow from (seed, split, number) and how many there are.

    The public file has no splits: here they are independent files in folders of their own.
    """

    folder: Path
    split: str
    number: int
    background: int
    signal: int
    seed: int

    @property
    def name(self) -> str:
        """How progress and rates call it."""
        return DATASET

    @property
    def jets(self) -> int:
        """Events of both kinds: what progress counts."""
        return self.background + self.signal

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.folder / f"events_anomalydetection_{self.number:03d}.h5"

    @property
    def parameters(self) -> dict[str, object]:
        """What identifies its content."""
        return {
            "dataset": DATASET,
            "split": self.split,
            "file": self.number,
            "background": self.background,
            "signal": self.signal,
            "events": self.jets,
            "seed": self.seed,
        }


def dijet_streams(task: DijetTask, label: int) -> tuple[int, np.random.SeedSequence]:
    """Pythia's seed for one class of a file, and the root of its other random numbers.

    Pythia's seeds are counted down from the largest, where those of other data sets are counted
    up: all files of seeds 0 to 149,999 have different ones, and for usual seeds no other data set
    has them.
    """
    kind = label * len(SPLITS) + SPLITS.index(task.split)
    place = (task.seed % (PYTHIA_SEEDS // FILES)) * FILES + kind * MAX_FILES + task.number
    return PYTHIA_SEEDS - place, np.random.SeedSequence(_words(task, label))


def _words(task: DijetTask, label: int) -> list[int]:
    return [task.seed, OWN_WORD, label, SPLITS.index(task.split), task.number]


def make_dijets(task: DijetTask, report: Callable[[int], None]) -> Path:
    """Simulate and write one file; arguments and errors as in `produce.make_file`."""
    parts = []
    for label, wanted in enumerate((task.background, task.signal)):
        done = empty = 0
        chunks = dijet_chunks(task, label)
        while done < wanted:
            chunk = next(chunks)[: wanted - done]
            empty = 0 if len(chunk) else empty + 1
            if empty >= MAX_EMPTY_BATCHES:
                raise JepalibError(
                    f"simulate: {DATASET}: {empty * BATCH_EVENTS} events, none passed the trigger"
                )
            parts.append(chunk)
            done += len(chunk)
            report(len(chunk))
    table = np.concatenate(parts)
    order = np.random.default_rng(_words(task, len(RECIPES))).permutation(len(table))
    write_events(task.path, table[order], task.parameters)
    return task.path


def dijet_chunks(task: DijetTask, label: int) -> Iterator[Float[np.ndarray, "events columns"]]:
    """Endless batches of triggered events of one class of a file, as rows of the table."""
    seed, sequence = dijet_streams(task, label)
    recipe = list(RECIPES.values())[label]
    veto = None if recipe.resonance else jet_veto(PARTONS, VETO_PT, 2.7, TRIGGER.radius)
    pythia = generator(recipe, seed, veto)
    while True:
        rng = np.random.default_rng(sequence.spawn(1)[0])
        record = next_record(pythia, BATCH_EVENTS)
        objects = detect(visible_particles(record, pythia), rng)
        yield event_table(objects, record.events, label)


def event_table(objects: Objects, events: int, label: int) -> Float[np.ndarray, "events columns"]:
    """Rows of the events that pass the trigger: pT, eta, phi of each particle, and the truth bit."""
    pt, eta, phi = pt_eta_phi(objects.p4)
    massless = np.column_stack([objects.p4[:, :3], pt * np.cosh(eta)])
    kept = np.unique(find_jets(objects.event, massless, events, TRIGGER).event)
    order = np.lexsort((-pt, objects.event))
    event = objects.event[order]
    counts = np.bincount(event, minlength=events)
    rank = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts)
    inside = rank < PARTICLES
    table = np.zeros((events, PARTICLES, 3))
    table[event[inside], rank[inside]] = np.stack([pt, eta, phi], axis=1)[order[inside]]
    flat = table[kept].reshape(len(kept), -1)
    return np.concatenate([flat, np.full((len(kept), 1), float(label))], axis=1)


def write_events(path: Path, table: Float[np.ndarray, "events columns"], parameters: dict) -> None:
    """Write one file, whole or not at all; how it was made is an attribute of its table.

    Raises:
        JepalibError: the file cannot be written (no room, no permission).
    """
    made_by = {"jepalib": __version__, "pythia8mc": version("pythia8mc"), "fastjet": version("fastjet")}
    note = json.dumps(parameters | made_by, sort_keys=True)
    packed = {"mode": "w", "complevel": 9, "complib": "blosc"}
    with written_whole(path) as temporary, pd.HDFStore(temporary, **packed) as store:
        store.put(KEY, pd.DataFrame(table), format="fixed", track_times=False)
        store.get_storer(KEY).attrs[PARAMETERS] = note


def read_event_parameters(path: Path) -> dict[str, object]:
    """How a simulated file was made, with the number of events that it holds.

    Raises:
        JepalibError: the file cannot be read, or was not written by the simulation.
    """
    try:
        with pd.HDFStore(path, "r") as store:
            events = int(store.get_node(f"{KEY}/block0_values").shape[0])
            return json.loads(store.get_storer(KEY).attrs[PARAMETERS]) | {"events": events}
    except Exception as error:  # a broken file raises many kinds
        raise not_whole(path, error) from error
