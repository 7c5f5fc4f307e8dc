"""JetClass ROOT files, as downloaded or as simulated, read into packed `Jets`.

Both kinds of jagged branch are taken: `std::vector<float>` (the downloads) and `float[]`
with a counter branch (what uproot writes). Labels may be of any number type, and are of
three in the downloads. What cannot be used is dropped, counted by reason and reported.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import awkward as ak
import numpy as np
from jaxtyping import Float, Int

from jepalib.data.accounts import Account, Chunk, ReadJets, span, whole_file
from jepalib.data.rootfile import (
    JET_BRANCHES,
    LABEL_BRANCHES,
    PARTICLE_BRANCHES,
    decoded,
    open_tree,
    planned_branches,
)
from jepalib.errors import JepalibError
from jepalib.jets import concatenate

CHUNK = 10_000  # jets decoded together: about 50 MB
BLOCK = 4096  # particles interleaved together, so that they stay in the cache


def entries_of(path: Path, allow_unlabelled: bool = False) -> int:
    """Number of jets that a file says it holds, after checking that it can be read.

    Raises:
        JepalibError: as `read_jetclass`.
    """
    with open_tree(path) as tree:
        planned_branches(tree, path, allow_unlabelled)
        return tree.num_entries


def read_jetclass(
    path: Path, start: int | None = None, stop: int | None = None, allow_unlabelled: bool = False
) -> ReadJets:
    """One file, or entries `start` to `stop` of it, as packed jets.

    Args:
        allow_unlabelled: for embedding and predicting on files of one's own. Only the
            `part_*` branches and the jet's pt, eta, phi and energy are required; without
            labels (or where they are no single one) the label is -1, observables that the
            file lacks are zero, and the report says so. `ReadJets.kept` tells which
            entries have a jet, so that results can be given for every one in order.

    Raises:
        JepalibError: the file is missing, truncated, empty, not ROOT, without the tree or
            a branch, its jagged branches disagree in length, or no jet is left.
    """
    parts = list(iterate_jetclass(path, start, stop, allow_unlabelled))
    account = reduce(operator.add, (part.account for part in parts))
    return ReadJets(concatenate([part.jets for part in parts]), parts[0].start, parts[-1].stop, account)


def iterate_jetclass(
    path: Path,
    start: int | None = None,
    stop: int | None = None,
    allow_unlabelled: bool = False,
    chunk: int = CHUNK,
) -> Iterator[ReadJets]:
    """`read_jetclass` in chunks of at most `chunk` jets, whatever the size of the file."""
    path = Path(path)
    with open_tree(path) as tree:
        branches = planned_branches(tree, path, allow_unlabelled)
        parts = list(span(path, tree.num_entries, (start, stop, chunk)))
        account: Account | None = None
        for entry, arrays in decoded(tree, path, branches, (parts[0][0], parts[-1][1], chunk)):
            part = _chunk(arrays, path, entry, allow_unlabelled)
            account = part.account if account is None else account + part.account
            yield part
        whole_file(path, account)


def _chunk(arrays: dict[str, ak.Array], path: Path, entry: int, allow_unlabelled: bool) -> ReadJets:
    """Checks, drops, sorts and cuts the jets of one chunk that starts at `entry`."""
    particles, offsets = _particles(arrays, path, entry)
    jets = len(offsets) - 1
    observables = np.zeros((jets, len(JET_BRANCHES)), np.float32)
    for column, name in enumerate(JET_BRANCHES):
        if name in arrays:
            observables[:, column] = _flat(arrays[name], path, name)
    absent = [name for name in JET_BRANCHES if name not in arrays]
    absent += [] if LABEL_BRANCHES[0] in arrays else ["label_*"]
    chunk = Chunk(particles, offsets, observables, _labels(arrays, path, jets), entry, tuple(absent))
    return chunk.usable(allow_unlabelled)


def _particles(
    arrays: dict[str, ak.Array], path: Path, entry: int
) -> tuple[Float[np.ndarray, "particles 16"], Int[np.ndarray, " edges"]]:
    """The particle branches as columns of one array, and the offsets that they share."""
    counts: np.ndarray | None = None
    columns = []
    for name in PARTICLE_BRANCHES:
        lists = arrays[name].layout
        if not isinstance(lists, ak.contents.ListOffsetArray):
            raise JepalibError(f"{path}: branch {name} holds no list of particles for each jet")
        own = np.diff(lists.offsets.data).astype(np.int64)
        if counts is None:
            counts = own
        elif not np.array_equal(own, counts):
            bad = int(np.flatnonzero(own != counts)[0])
            raise JepalibError(
                f"{path}: entry {entry + bad} has {own[bad]} values of {name} but {counts[bad]} of "
                f"{PARTICLE_BRANCHES[0]}; the file is damaged"
            )
        inside = lists.content[int(lists.offsets[0]) : int(lists.offsets[-1])]
        columns.append(_flat(ak.Array(inside), path, name))
    particles = np.empty((len(columns[0]), len(columns)), np.float32)
    for first in range(0, len(particles), BLOCK):
        block = slice(first, first + BLOCK)
        for column, values in enumerate(columns):
            particles[block, column] = values[block]
    return particles, np.concatenate([[0], np.cumsum(counts)])


def _flat(values: ak.Array, path: Path, name: str) -> np.ndarray:
    """One number per entry, of whatever number type the file has."""
    array = ak.to_numpy(values) if values.ndim == 1 else None
    if array is None or array.dtype.kind not in "biuf":
        raise JepalibError(f"{path}: branch {name} holds {values.type.content}, not one number")
    return array


def _labels(arrays: dict[str, ak.Array], path: Path, jets: int) -> Int[np.ndarray, " jets"]:
    """Class of each jet; -1 unless exactly one label is 1 and the rest are 0."""
    if LABEL_BRANCHES[0] not in arrays:
        return np.full(jets, -1)
    table = np.stack([_flat(arrays[name], path, name).astype(np.float32) for name in LABEL_BRANCHES], 1)
    single = ((table == 0) | (table == 1)).all(1) & (table.sum(1) == 1)
    return np.where(single, table.argmax(1), -1)
