"""The store: jets as flat arrays on disk, read at memory speed and bounded by the batch.

A store is a directory of raw little-endian arrays and `manifest.json`:

    particles     float32 (particles, 16)   columns `schema.PARTICLE_FIELDS`
    offsets       int64   (jets + 1)        particles of jet i: offsets[i] .. offsets[i + 1]
    observables   float32 (jets, 10)        columns `schema.JET_FIELDS`
    labels        int8    (jets)            index in `JetStore.classes`, -1 without
    counts        uint8   (jets)            particles of each jet

`convert.convert` writes it. Everything of the size of the data is read by `pread` at the
rows asked for; only labels and counts (two bytes a jet) are memory-mapped.
"""

from __future__ import annotations

import json
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int

from jepalib.data.permutation import Permutation
from jepalib.data.pread import read_pieces
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.schema import CLASSES, DATASET_CLASSES, JET_FIELDS, PARTICLE_FIELDS

FORMAT = "jepalib store"
VERSION = 1
MANIFEST = "manifest.json"
DTYPES = {"particles": "<f4", "offsets": "<i8", "observables": "<f4", "labels": "<i1", "counts": "<u1"}
PARTICLE_BYTES = 4 * len(PARTICLE_FIELDS)
JET_BYTES = 4 * len(JET_FIELDS)
REQUIRED = ("version", "classes", "rows", "particles", "splits", "data_hash", "files")  # of the manifest
PARTS = ("train", "val", "test")
DIVISION = (0.6, 0.8)  # of a store without splits: where train and val end
DIVISIONS = {"quark-gluon": (0.8, 0.9)}  # its files name no splits; 1.6 M / 0.2 M / 0.2 M is usual


def array_path(store: Path, name: str) -> Path:
    """File of one array of a store."""
    return store / f"{name}.bin"


def array_sizes(rows: int, particles: int) -> dict[str, int]:
    """Bytes of every array of a store of so many jets and particles."""
    return {
        "particles": particles * PARTICLE_BYTES,
        "offsets": 8 * (rows + 1),
        "observables": rows * JET_BYTES,
        "labels": rows,
        "counts": rows,
    }


class JetStore:
    """Jets on disk, read by row. Open with `JetStore.open`, write with `convert.convert`.

    Attributes:
        path: directory of the store.
        manifest: what it was made of: sorted files with split, rows, drops by reason and
            sha256, sizes, and the hash of the data.
        data_hash: sha256 of the data, the same wherever and however it was converted.
        dataset: name of the data set (`schema.DATASET_CLASSES`).
        classes: names in the order of the labels.
        labels: int8 (jets), memory-mapped.
        counts: uint8 (jets), particles of each jet, memory-mapped.
    """

    def __init__(self, path: Path, manifest: dict) -> None:
        self.path, self.manifest = path, manifest
        self.data_hash: str = manifest["data_hash"]
        self.dataset: str = manifest.get("dataset", "jetclass")
        self.classes: tuple[str, ...] = tuple(manifest["classes"])
        self.labels = np.memmap(array_path(path, "labels"), DTYPES["labels"], "r")
        self.counts = np.memmap(array_path(path, "counts"), DTYPES["counts"], "r")
        names = ("particles", "offsets", "observables")
        self._files = {name: os.open(array_path(path, name), os.O_RDONLY) for name in names}
        weakref.finalize(self, _close, tuple(self._files.values()))
        self._told_division = False

    @classmethod
    def open(cls, path: Path) -> JetStore:
        """Opens the store in directory `path`.

        Raises:
            JepalibError: there is none, it is half-written, or its arrays do not have the
                sizes that the manifest gives.
        """
        return cls(Path(path), _checked_manifest(Path(path)))

    def __len__(self) -> int:
        return self.manifest["rows"]

    def splits(self) -> dict[str, range]:
        """Rows of every split that the store holds (train, val, test, or all)."""
        return {name: range(first, last) for name, (first, last) in self.manifest["splits"].items()}

    def rows(self, split: str, seed: int = 0) -> np.ndarray | range:
        """Rows of one split, in rising order.

        A store whose sources named no split ("all") is divided 60/20/20 (quark–gluon:
        80/10/10) into train, val and test, the same share of every class, by `seed` alone;
        it says so once.

        Raises:
            JepalibError: the store has no such split.
        """
        splits = self.splits()
        if split in splits:
            return splits[split]
        if set(splits) != {"all"} or split not in PARTS:
            held = ", ".join(splits)
            raise JepalibError(
                f"{self.path}: no split {split!r} (it holds: {held}); convert files whose folder is named "
                f"{split}…, or ask for one that is there"
            )
        ends = DIVISIONS.get(self.dataset, DIVISION)
        if not self._told_division:
            self._told_division = True
            shares = "/".join(f"{100 * share:.0f}" for share in np.diff([0, *ends, 1]))
            note = f"its files lie in no train, val or test folder; divided {shares} by class"
            print(f"{self.path}: {note} (seed {seed})", file=sys.stderr)
        return divided(self.labels, split, seed, ends)

    def read(self, rows: Int[np.ndarray, " chosen"] | range) -> Jets:
        """The jets of the given rows, packed, in that order (rows may repeat).

        `Jets.index` are the store rows. Memory: that of the jets returned.

        Raises:
            JepalibError: a row outside the store, or the disk gave less than it holds.
        """
        rows = np.ascontiguousarray(rows, dtype=np.int64)
        if len(rows) and (rows.min() < 0 or rows.max() >= len(self)):
            bad = rows[(rows < 0) | (rows >= len(self))][0]
            raise JepalibError(f"{self.path}: row {bad} does not exist (rows 0 to {len(self) - 1})")
        edges = np.empty((len(rows), 2), np.int64)
        self._fill("offsets", rows * 8, np.full(len(rows), 16), edges)
        counts = edges[:, 1] - edges[:, 0]
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(counts, out=offsets[1:])
        particles = np.empty((int(offsets[-1]), len(PARTICLE_FIELDS)), np.float32)
        self._fill("particles", edges[:, 0] * PARTICLE_BYTES, counts * PARTICLE_BYTES, particles)
        observables = np.empty((len(rows), len(JET_FIELDS)), np.float32)
        self._fill("observables", rows * JET_BYTES, np.full(len(rows), JET_BYTES), observables)
        return Jets(
            particles=torch.from_numpy(particles),
            offsets=torch.from_numpy(offsets),
            observables=torch.from_numpy(observables),
            labels=torch.from_numpy(self.labels[rows].astype(np.int64)),
            index=torch.from_numpy(rows.copy()),
        )

    def _fill(self, name: str, starts: np.ndarray, sizes: np.ndarray, out: np.ndarray) -> None:
        if read_pieces(self._files[name], starts, sizes, out) >= 0:
            raise JepalibError(
                f"{array_path(self.path, name)}: cannot be read to its end (disk error, or the file was "
                "cut while open); convert the sources again"
            )


def _close(files: tuple[int, ...]) -> None:
    for file in files:
        os.close(file)


def _checked_manifest(path: Path) -> dict:
    """The manifest of a store, after checking it against the files.

    Raises:
        JepalibError: not a store, half-written, of another version, or of wrong size.
    """
    if not path.is_dir():
        what = "is a file, not a store" if path.exists() else "does not exist"
        raise JepalibError(f"{path}: {what}; make a store with `jepalib convert SRC STORE`")
    if not (path / MANIFEST).is_file():
        half = path.suffix == ".partial" or array_path(path, "particles").exists()
        what = "a half-written store" if half else "not a store"
        raise JepalibError(f"{path}: {what} (no {MANIFEST}); make one with `jepalib convert SRC STORE`")
    try:
        manifest = json.loads((path / MANIFEST).read_text())
    except ValueError as error:
        raise JepalibError(f"{path / MANIFEST}: damaged ({error}); convert the sources again") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise JepalibError(f"{path / MANIFEST}: not the manifest of a {FORMAT}")
    missing = [key for key in REQUIRED if key not in manifest]
    if missing:
        raise JepalibError(f"{path / MANIFEST}: lacks {', '.join(missing)}; convert the sources again")
    classes = DATASET_CLASSES.get(manifest.get("dataset", "jetclass"), ())
    if manifest["version"] != VERSION or manifest["classes"] != list(classes):
        raise JepalibError(f"{path}: written by another version of jepalib; convert the sources again")
    for name, size in array_sizes(manifest["rows"], manifest["particles"]).items():
        file = array_path(path, name)
        found = file.stat().st_size if file.exists() else 0
        if found != size:
            raise JepalibError(
                f"{file}: {found} bytes where the manifest says {size}; the store is damaged, convert again"
            )
    return manifest


def pick(rows: np.ndarray | range, positions: Int[np.ndarray, " chosen"]) -> Int[np.ndarray, " chosen"]:
    """``rows[positions]``; a range of step 1 is never written out."""
    return rows.start + positions if isinstance(rows, range) else rows[positions]


def divided(
    labels: np.ndarray, split: str, seed: int, ends: tuple[float, float] = DIVISION
) -> Int[np.ndarray, " rows"]:
    """Rows of one part of a division that takes the same share of every class.

    `ends` are the shares of all rows at which train and val end.
    """
    low, high = dict(zip(PARTS, zip((0.0, *ends), (*ends, 1.0))))[split]
    parts = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        places = np.arange(round(low * len(rows)), round(high * len(rows)))
        parts.append(rows[Permutation(len(rows), seed, int(label) + 1)(places)])
    return np.sort(np.concatenate(parts))


def stratified_subset(
    labels: np.ndarray,
    rows: np.ndarray | range,
    n: int,
    seed: int,
    names: tuple[str, ...] = CLASSES,
) -> Int[np.ndarray, " n"]:
    """`n` of the rows, equally many of every class there, sorted.

    Where n is no multiple of the number of classes, some classes (drawn by the seed) give
    one more. The subset of a smaller n with the same seed lies within that of a larger.

    Args:
        labels: of the whole store (`JetStore.labels`).
        rows: where to choose from, such as `JetStore.rows("train")`.
        names: of the classes, for messages (`JetStore.classes`).

    Raises:
        JepalibError: n is not positive, some row has no label, or a class has too few.
    """
    own = np.asarray(labels[rows.start : rows.stop] if isinstance(rows, range) else labels[rows])
    classes = np.unique(own)
    if n < 1 or not len(classes):
        raise JepalibError(f"stratified subset: n={n} of {len(own)} rows; ask for at least 1 of at least 1")
    if classes[0] < 0:
        raise JepalibError(
            f"stratified subset: row {pick(rows, np.flatnonzero(own < 0)[:1])[0]} has no label"
        )
    share, rest = divmod(n, len(classes))
    order = Permutation(len(classes), seed, 0)(np.arange(len(classes)))
    parts = []
    for place, label in enumerate(classes[order]):
        members = np.flatnonzero(own == label)
        wanted = share + (place < rest)
        if wanted > len(members):
            raise JepalibError(
                f"stratified subset: {n} labels need {wanted} jets of {names[label]}, there are "
                f"{len(members)}; ask for at most {len(classes) * min(np.bincount(own)[classes])}"
            )
        members = members[Permutation(len(members), seed, int(label) + 1)(np.arange(wanted))]
        parts.append(pick(rows, members))
    return np.sort(np.concatenate(parts))


def save_rows(path: Path, rows: np.ndarray | range) -> None:
    """Saves store rows (a label subset, a split) as a `.npy` file of int64."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.save(file, np.asarray(rows, dtype=np.int64))


def load_rows(path: Path) -> Int[np.ndarray, " rows"]:
    """Rows that `save_rows` saved.

    Raises:
        JepalibError: the file is missing or holds something else.
    """
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise JepalibError(f"{path}: no saved rows here ({error})") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or rows.dtype != np.int64:
        raise JepalibError(f"{path}: holds no list of rows (one axis of int64), but another array")
    return rows
