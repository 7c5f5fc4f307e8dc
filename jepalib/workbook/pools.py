"""Jets of an anomaly search: background and signals that no pre-training has seen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int, Shaped

from jepalib.data.convert import convert
from jepalib.data.simulation import simulate
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.workbook.inputs import own_store
from jepalib.workbook.notebook import Stage

BACKGROUND = "QCD"
MOST_FILES, JETS_PER_FILE = 8, 500  # of a class: several files keep several cores busy


def signals_of(search_signals: Sequence[str], main_signal: str, **numbers: Sequence[int]) -> list[str]:
    """The signals to search for, all that are not background where none is named; parameters checked.

    Args:
        numbers: parameters that must hold at least one number each, of at least 1.

    Raises:
        JepalibError: a parameter with what is not a signal, or is no number to work with.
    """
    possible = [name for name in CLASSES if name != BACKGROUND]
    signals = list(dict.fromkeys(search_signals)) or possible
    for parameter, names in (("search_signals", signals), ("main_signal", [main_signal])):
        if wrong := [name for name in names if name not in possible]:
            why = "is the background" if wrong[0] == BACKGROUND else "is no class of JetClass"
            raise JepalibError(f"{parameter}: '{wrong[0]}' {why}; signals are {', '.join(possible)}")
    if main_signal not in signals:
        raise JepalibError(f"main_signal '{main_signal}' is not among search_signals: {', '.join(signals)}")
    for parameter, values in numbers.items():
        if not values or min(values) < 1:
            raise JepalibError(f"{parameter} {list(values)}: give at least one number, none below 1")
    return signals


def search_store(stage: Stage, data_dir: str, jets: Mapping[str, int], seed: int) -> JetStore:
    """Jets to search in: the user's own, or simulated test jets, made once and kept in the run folder.

    Args:
        data_dir: a store or JetClass files, whose test split is meant; empty to simulate.
        jets: how many of each class are simulated.
        seed: of the simulation.

    Raises:
        JepalibError: the jets are not those of JetClass, or a class is none of it.
    """
    if unknown := [name for name in jets if name not in CLASSES]:
        raise JepalibError(f"no class '{unknown[0]}' in JetClass; there are: {', '.join(CLASSES)}")
    if data_dir:
        store = own_store(stage, data_dir)
        if store.classes != CLASSES:
            raise JepalibError(
                f"{store.path} holds {store.dataset} jets; {stage.name} is about the ten classes of JetClass"
            )
        return store
    key = hashlib.sha256(repr(sorted(jets.items())).encode()).hexdigest()[:6]
    folder = stage.run_dir / "data" / f"search-{key}-seed{seed}"
    for number in sorted(set(jets.values())):
        alike = [name for name in CLASSES if jets.get(name) == number]
        files = min(max(1, number // JETS_PER_FILE), MOST_FILES)
        simulate(folder / "files", "test", number, classes=alike, files_per_class=files, seed=seed)
    store = convert([folder / "files"], folder / "store")
    stage.depends(store.path)
    return store


def class_rows(store: JetStore, name: str, number: int, seed: int) -> Int[np.ndarray, " rows"]:
    """Rows of so many test jets of a class, rising.

    Raises:
        JepalibError: there are fewer.
    """
    rows = np.asarray(store.rows("test"))
    rows = rows[store.labels[rows] == store.classes.index(name)]
    if len(rows) < number:
        raise JepalibError(
            f"{store.path}: {number} test jets of {name} are needed, there are {len(rows)}; give a larger "
            "data set, or ask for smaller samples"
        )
    return np.sort(np.random.default_rng(seed).choice(rows, number, replace=False))


def by_class(
    values: Shaped[np.ndarray, "jets *rest"], pools: Mapping[str, np.ndarray]
) -> dict[str, Shaped[np.ndarray, "some *rest"]]:
    """Values of the jets of all pools, one pool after another, by class."""
    ends = np.cumsum([len(rows) for rows in pools.values()])
    return dict(zip(pools, np.split(values, ends[:-1]), strict=True))
