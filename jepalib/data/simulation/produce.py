"""One file of jets: events are made in batches until there are enough jets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from jepalib import __version__
from jepalib.data.simulation.angles import pt_eta_phi
from jepalib.data.simulation.branches import Branches, jet_branches, join, write_file
from jepalib.data.simulation.clustering import Clustered, find_jets
from jepalib.data.simulation.detector import detect
from jepalib.data.simulation.events import next_record, visible_particles
from jepalib.data.simulation.processes import RECIPES, apply, generator
from jepalib.data.simulation.truth import match, resonances
from jepalib.data.simulation.veto import early_veto
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES, PROCESSES

SPLITS = ("train", "val", "test")
BATCH_EVENTS = 100  # fixed: random streams are per batch, so a longer file begins like a shorter one
MAX_EMPTY_BATCHES = 50
MAX_FILES = 1000  # of one class and split
FILES = len(CLASSES) * len(SPLITS) * MAX_FILES  # of one seed
PYTHIA_SEEDS = 900_000_000


@dataclass(frozen=True)
class FileTask:
    """One file to make: the jets follow from (seed, class, split, number) alone."""

    folder: Path
    name: str
    split: str
    number: int
    jets: int
    seed: int

    @property
    def path(self) -> Path:
        """Where the file lies."""
        return self.folder / f"{PROCESSES[self.name]}_{self.number:03d}.root"

    @property
    def parameters(self) -> dict[str, object]:
        """What identifies its content."""
        return {
            "class": self.name,
            "split": self.split,
            "file": self.number,
            "jets": self.jets,
            "seed": self.seed,
        }


def random_streams(task: FileTask) -> tuple[int, Iterator[np.random.Generator]]:
    """Pythia's seed for a file, and a numpy generator for each of its batches.

    Pythia knows 900,000,000 seeds: all files of one data set (classes, splits, at most 1,000
    numbers) have different ones, and so have data sets of seeds 0 to 29,999. Seeds that
    differ by a multiple of 30,000 share Pythia's events, but not the detector's draws.
    """
    words = [task.seed, CLASSES.index(task.name), SPLITS.index(task.split), task.number]
    sequence = np.random.SeedSequence(words)
    kind = CLASSES.index(task.name) * len(SPLITS) + SPLITS.index(task.split)
    seed = 1 + (task.seed % (PYTHIA_SEEDS // FILES)) * FILES + kind * MAX_FILES + task.number

    def batches() -> Iterator[np.random.Generator]:
        while True:
            yield np.random.default_rng(sequence.spawn(1)[0])

    return seed, batches()


def make_file(task: FileTask, report: Callable[[int], None]) -> Path:
    """Simulate and write one file.

    Args:
        task: what to make.
        report: called after each batch with the number of jets that it brought; may
            raise to stop the work, and then no file is left.

    Raises:
        JepalibError: the generator fails, or its events hold no jets in the window.
    """
    chunks: list[Branches] = []
    done = empty = 0
    for chunk in jet_chunks(task):
        fresh = min(len(chunk["jet_pt"]), task.jets - done)
        empty = 0 if fresh else empty + 1
        if empty >= MAX_EMPTY_BATCHES:
            raise JepalibError(
                f"simulate: {task.name}: {empty * BATCH_EVENTS} events gave no jet in the window"
            )
        chunks.append(chunk)
        done += fresh
        report(fresh)
        if done >= task.jets:
            break
    made_by = {"jepalib": __version__, "pythia8mc": version("pythia8mc"), "fastjet": version("fastjet")}
    write_file(task.path, join(chunks, task.jets), task.parameters | made_by)
    return task.path


def jet_chunks(task: FileTask) -> Iterator[Branches]:
    """Endless batches of jets of one file."""
    seed, streams = random_streams(task)
    recipe = RECIPES[task.name]
    veto = early_veto(recipe.resonance) if recipe.resonance else None
    pythia = generator(recipe, seed, veto)
    for batch, rng in enumerate(streams):
        apply(pythia, recipe.variants[batch % len(recipe.variants)])
        record = next_record(pythia, BATCH_EVENTS)
        objects = detect(visible_particles(record, pythia), rng)
        jets = find_jets(objects.event, objects.p4, record.events)
        truth = resonances(record, task.name)
        _, eta, phi = pt_eta_phi(jets.p4)
        matched = match(truth, jets.event, eta, phi)
        if recipe.resonance:
            jets, matched = _matched_only(jets, matched)
        yield jet_branches(task.name, objects, jets, truth, matched)


def _matched_only(jets: Clustered, matched: np.ndarray) -> tuple[Clustered, np.ndarray]:
    keep = matched >= 0
    members = jets.members[np.repeat(keep, jets.counts)]
    return Clustered(jets.event[keep], jets.p4[keep], members, jets.counts[keep]), matched[keep]
