"""Stores for the tests, written straight from `Jets` without ROOT files between."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from jepalib.data.store import DTYPES, FORMAT, VERSION, JetStore, array_path
from jepalib.jets import Jets
from jepalib.schema import CLASSES


def write_store(path: Path, jets: Jets, splits: dict[str, list[int]] | None = None) -> JetStore:
    """A store that holds `jets`, all in one split unless said otherwise."""
    path.mkdir(parents=True)
    arrays = {
        "particles": jets.particles,
        "offsets": jets.offsets,
        "observables": jets.observables,
        "labels": jets.labels,
        "counts": jets.counts,
    }
    for name, array in arrays.items():
        array_path(path, name).write_bytes(array.numpy().astype(DTYPES[name]).tobytes())
    write_manifest(path, len(jets), len(jets.particles), splits or {"train": [0, len(jets)]})
    return JetStore.open(path)


def write_sparse_store(path: Path, rows: int, count: int) -> None:
    """A store of `rows` jets of `count` particles whose particles are a hole: no disk is used."""
    path.mkdir(parents=True)
    for name, size in (("particles", 64 * rows * count), ("observables", 40 * rows), ("labels", rows)):
        with array_path(path, name).open("wb") as file:
            file.truncate(size)
    (np.arange(rows + 1, dtype=np.int64) * count).tofile(array_path(path, "offsets"))
    np.full(rows, count, np.uint8).tofile(array_path(path, "counts"))
    write_manifest(path, rows, rows * count, {"train": [0, rows]})


def write_manifest(path: Path, rows: int, particles: int, splits: dict[str, list[int]]) -> None:
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "classes": list(CLASSES),
        "rows": rows,
        "particles": particles,
        "splits": splits,
        "data_hash": "0" * 64,
        "files": [],
    }
    (path / "manifest.json").write_text(json.dumps(manifest))
