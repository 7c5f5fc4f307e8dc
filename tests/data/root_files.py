"""JetClass-like ROOT files for the tests, written by uproot from `Jets`."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from jepalib.jets import Jets
from jepalib.schema import CLASSES, JET_FIELDS, PARTICLE_FIELDS

LABEL_DTYPES = (np.float32, *[np.bool_] * 5, *[np.int32] * 4)  # as in the downloads


def branches_of(jets: Jets) -> dict[str, ak.Array | np.ndarray]:
    """Every branch that the reader needs, with the mixed number types of the downloads."""
    counts = jets.counts.numpy()
    branches: dict[str, ak.Array | np.ndarray] = {}
    for column, name in enumerate(PARTICLE_FIELDS):
        flat = jets.particles[:, column].numpy()
        if name.startswith("is"):
            flat = flat.astype(np.int32)
        branches[f"part_{name}"] = ak.unflatten(flat, counts)
    for column, name in enumerate(JET_FIELDS):
        branches[f"jet_{name}"] = jets.observables[:, column].numpy()
    for number, (name, dtype) in enumerate(zip(CLASSES, LABEL_DTYPES, strict=True)):
        branches[f"label_{name}"] = (jets.labels.numpy() == number).astype(dtype)
    branches["aux_truth_match"] = np.zeros(len(jets), np.int32)
    return branches


def write_tree(path: Path, branches: dict[str, ak.Array | np.ndarray], tree: str = "tree") -> Path:
    """A ROOT file with one tree, jagged branches with counters (``float[npart_px]``)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with uproot.recreate(path) as file:
        types = {
            name: ak.type(values).content if values.ndim > 1 else values.dtype
            for name, values in branches.items()
        }
        file.mktree(tree, types, counter_name=lambda name: f"n{name}")
        file[tree].extend(branches)
    return path


def write_jets(path: Path, jets: Jets) -> Path:
    """`jets` as a JetClass file."""
    return write_tree(path, branches_of(jets))
