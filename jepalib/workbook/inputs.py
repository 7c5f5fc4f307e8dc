"""Where a notebook's jets come from: simulated, the user's own files, or an earlier notebook."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from jepalib.data.convert import convert
from jepalib.data.lhc_olympics import DijetEvents, events_of, read_lhco, truth_of
from jepalib.data.simulation import simulate
from jepalib.data.store import JetStore, stratified_subset
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.schema import CLASSES
from jepalib.workbook.notebook import Stage, project_root

# A split of a twin has both classes in one file; two of them keep two cores busy. Starting the
# generator costs seconds, so that a small split is one file.
TWIN_FILES, SMALL_TWIN = 2, 500


def simulated_store(
    stage: Stage, jets_per_class: Mapping[str, int], seed: int, dataset: str = "jetclass"
) -> JetStore:
    """A store of simulated jets, made once and kept in the run folder.

    Args:
        stage: the notebook that asks.
        jets_per_class: number of jets of each class by split.
        seed: of the simulation.
        dataset: which jets, of `data.datasets.DATASETS`.

    Raises:
        JepalibError: no jets are asked for, as in the profile `paper`.
    """
    if not all(jets_per_class.values()):
        raise JepalibError(
            f"nothing to simulate ({dict(jets_per_class)}): give data_dir, a store or JetClass files"
        )
    sizes = "-".join(str(n) for n in jets_per_class.values())
    kind = "simulated" if dataset == "jetclass" else f"simulated-{dataset}"
    folder = stage.run_dir / "data" / f"{kind}-{sizes}-seed{seed}"
    for split, jets in jets_per_class.items():
        files = 1 if dataset == "jetclass" or jets < SMALL_TWIN else TWIN_FILES
        simulate(folder / "files", split, jets, files_per_class=files, seed=seed, dataset=dataset)
    return _noted(stage, convert([folder / "files"], folder / "store"))


def dataset_store(
    stage: Stage, dataset: str, data_dir: str, jets_per_class: Mapping[str, int], seed: int
) -> JetStore:
    """Jets of another public data set: the user's files or store, or a simulated twin.

    Args:
        dataset: "top" or "quark-gluon".
        data_dir: where the public files lie; empty for the twin.
        jets_per_class: of the twin, by split.
        seed: of the simulation.

    Raises:
        JepalibError: there are no such files, or the store holds another data set.
    """
    if not data_dir:
        if not all(jets_per_class.values()):
            raise JepalibError(
                f"no {dataset} jets: give {dataset.replace('-', '_')}_dir, a store or the public files, or "
                "numbers of jets to simulate (twin_train, twin_val, twin_test)"
            )
        return simulated_store(stage, jets_per_class, seed, dataset)
    store = own_store(stage, data_dir)
    if store.dataset != dataset:
        raise JepalibError(f"{store.path} holds {store.dataset} jets, not {dataset}; give its own folder")
    return store


def dijet_events(stage: Stage, lhco_file: str, background: int, signal: int, seed: int) -> DijetEvents:
    """Events of the LHC Olympics: chosen from the public file, or of its simulated twin.

    Args:
        lhco_file: events_anomalydetection.h5, with truth bits; empty for the twin.
        background, signal: how many of each.
        seed: of the simulation, or of the choice.

    Raises:
        JepalibError: there is no such file, it has fewer events of a kind, or nothing is asked for.
    """
    if not lhco_file and not background:
        raise JepalibError(
            "no LHC Olympics events: give lhco_file, or numbers of events to simulate (background_events, "
            "signal_events)"
        )
    if not lhco_file:
        folder = stage.run_dir / "data" / f"simulated-lhco-{background}-{signal}-seed{seed}"
        files = TWIN_FILES if background >= SMALL_TWIN else 1
        numbers = (background, signal)
        simulate(folder / "files", "train", numbers, files_per_class=files, seed=seed, dataset="lhco")
        store = _noted(stage, convert([folder / "files"], folder / "store", workers=files))
        return events_of(store.read(np.arange(len(store))))
    path = stage.depends(lhco_file)
    truth, rng, rows = truth_of(path), np.random.default_rng(seed), []
    for bit, wanted in enumerate((background, signal)):
        there = np.flatnonzero(truth == bit)
        if wanted > len(there):
            kind = ("background", "signal")[bit]
            raise JepalibError(
                f"{path}: {wanted} {kind} events are asked for, it has {len(there)} with this truth bit"
            )
        rows.append(rng.choice(there, wanted, replace=False))
    events, account = read_lhco(path, np.sort(np.concatenate(rows)), quiet=False)
    dropped = {reason: number for reason, number in account.dropped.items() if number}
    print(f"{path}: {len(events)} events; jets dropped: {dropped or 'none'}")
    return events


def own_store(stage: Stage, data_dir: str) -> JetStore:
    """The store at `data_dir`, or one made from the JetClass files there.

    Raises:
        JepalibError: there is no such folder, or no JetClass files are in it.
    """
    source = (project_root() / Path(data_dir).expanduser()).resolve()
    if not source.exists():
        raise JepalibError(f"data_dir={data_dir}: there is no {source}")
    if (source / "manifest.json").is_file():
        return _noted(stage, JetStore.open(source))
    place = hashlib.sha256(str(source).encode()).hexdigest()[:6]  # two folders may have one name
    made = stage.run_dir / "data" / f"{source.name}-{place}-store"
    return _noted(stage, convert([source], made, workers=len(os.sched_getaffinity(0))))


def earlier_store(stage: Stage, data_dir: str) -> JetStore:
    """The store at `data_dir`, or where that is empty the one that `01_explore` made."""
    return own_store(stage, data_dir or stage.earlier("01_explore")["store"])


def need_jetclass(store: JetStore) -> None:
    """Refuse a store without training jets of each class of JetClass, where a notebook shows all of them.

    Raises:
        JepalibError: it is one.
    """
    there = np.unique(np.asarray(store.labels)[np.asarray(store.rows("train"))]) if len(store) else ()
    names = {store.classes[label] for label in there if label >= 0}
    if missing := [name for name in CLASSES if name not in names]:
        raise JepalibError(
            f"{store.path} has no training jets of {', '.join(missing)}; this notebook shows all classes of "
            "JetClass: give such a store or files as data_dir, or leave it empty"
        )


def some_rows(store: JetStore, split: str, number: int, seed: int = 0) -> np.ndarray | range:
    """Rows of a number of jets with all classes alike, at most what the split has."""
    rows = store.rows(split)
    return rows if number >= len(rows) else stratified_subset(store.labels, rows, number, seed, store.classes)


def some_jets(store: JetStore, split: str, number: int, seed: int = 0) -> Jets:
    """A number of jets with all classes alike, at most what the split has, mixed."""
    jets = store.read(some_rows(store, split, number, seed))
    order = torch.randperm(len(jets), generator=torch.Generator().manual_seed(seed))
    return jets.take(order[jets.counts[order] >= 2])


def _noted(stage: Stage, store: JetStore) -> JetStore:
    stage.depends(store.path)
    return store
