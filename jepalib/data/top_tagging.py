"""The top tagging data set (Zenodo 2603256; arXiv:1902.09914): pandas tables in HDF5.

Key ``table``; columns E_0, PX_0, PY_0, PZ_0, E_1 … in GeV, zero padded, and is_signal_new
(1 top, 0 QCD). Both of pandas' layouts are read ("table" and "fixed"), some thousand jets
at a time. Only four-vectors: identity and displacement are zero.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from jepalib.data.accounts import Account, Chunk, ReadJets, first_bad, span, whole_file
from jepalib.data.constituents import SUBSTRUCTURE, jet_columns
from jepalib.data.hdf5 import damaged, opened
from jepalib.errors import JepalibError

TITLE = "top tagging"
KEY = "table"
LABEL = "is_signal_new"
COMPONENTS = ("PX", "PY", "PZ", "E")
CHUNK = 4000  # jets decoded together: about 60 MB
RADIUS = 0.8


def entries_of_top(path: Path, allow_unlabelled: bool = False) -> int:
    """Number of jets that a file holds, after checking its columns.

    Raises:
        JepalibError: as `iterate_top`.
    """
    with opened(Path(path), TITLE) as store:
        _columns(store, Path(path), allow_unlabelled)
        return _rows(store, Path(path))


def iterate_top(
    path: Path,
    start: int | None = None,
    stop: int | None = None,
    allow_unlabelled: bool = False,
    chunk: int = CHUNK,
) -> Iterator[ReadJets]:
    """Jets of a top tagging file (labels: 0 QCD, 1 top), in chunks of at most `chunk`.

    Jet observables are computed from all constituents, soft-drop mass and tau_1 … tau_4
    among them (FastJet, about 1 ms a jet). Jets without constituents are dropped and
    counted.

    Args:
        allow_unlabelled: for embedding and predicting: the label may be missing (-1),
            jets that are not finite are dropped and counted, and the substructure, which
            no model takes as input, is left at zero.

    Raises:
        JepalibError: the file is missing, damaged, not HDF5, without the table or a
            column, holds a value that is not finite or no label of 0 or 1, or no jets.
    """
    path = Path(path)
    with opened(path, TITLE) as store:
        columns = _columns(store, path, allow_unlabelled)
        account: Account | None = None
        for first, last in span(path, _rows(store, path), (start, stop, chunk)):
            try:
                frame = store.select(KEY, start=first, stop=last)
            except Exception as error:  # PyTables raises many kinds for damaged data
                raise damaged(path, error) from error
            part = _chunk(frame, columns, path, first, allow_unlabelled)
            account = part.account if account is None else account + part.account
            yield part
        whole_file(path, account)


def _chunk(
    frame: pd.DataFrame, columns: list[str], path: Path, entry: int, allow_unlabelled: bool
) -> ReadJets:
    labels = _labels(frame, path, entry, allow_unlabelled)
    try:
        values = frame[columns].to_numpy(np.float64)
    except (TypeError, ValueError) as error:
        raise JepalibError(f"{path}: a column of {columns[0]} … {columns[-1]} holds no numbers") from error
    if not allow_unlabelled:
        first_bad(~np.isfinite(values), columns, path, entry, "is not a finite number")
    p4 = values.reshape(len(frame), -1, 4)
    energy = np.where(np.isnan(p4[..., 3]), np.inf, p4[..., 3])  # a NaN is a particle, and its jet is dropped
    wrong = (energy < 0) | ((energy == 0) & p4[..., :3].any(axis=-1))
    first_bad(wrong, columns[3::4], path, entry, "is no energy of a particle with that momentum")
    real = energy > 0
    counts = real.sum(axis=1)
    particles, observables = jet_columns(p4[real], None, counts, None if allow_unlabelled else RADIUS)
    absent = SUBSTRUCTURE if allow_unlabelled else ()
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return Chunk(particles, offsets, observables, labels, entry, absent).usable(allow_unlabelled)


def _labels(frame: pd.DataFrame, path: Path, entry: int, allow_unlabelled: bool) -> np.ndarray:
    if LABEL not in frame.columns:
        return np.full(len(frame), -1)
    values = frame[LABEL].to_numpy()
    known = np.isin(values, (0, 1))
    if not allow_unlabelled:
        first_bad(~known[:, None], [LABEL], path, entry, "is neither 0 (QCD) nor 1 (top)")
    return np.where(known, values == 1, -1).astype(np.int64)


def _storer(store: pd.HDFStore, path: Path) -> object:
    try:
        storer = store.get_storer(KEY)
    except (KeyError, TypeError, AttributeError) as error:
        names = [node._v_name for node in store.root]
        raise JepalibError(
            f"{path}: has no pandas table {KEY!r}, only {names}; not a top tagging file"
        ) from error
    if storer.pandas_type not in ("frame", "frame_table"):
        raise JepalibError(f"{path}: {KEY!r} is a pandas {storer.pandas_type}, not a table of jets")
    return storer


def _rows(store: pd.HDFStore, path: Path) -> int:
    storer = _storer(store, path)
    rows = int(storer.nrows if storer.is_table else storer.shape[0])
    if not rows:
        raise JepalibError(f"{path}: its table holds no jets (0 rows); leave the file out or make it again")
    return rows


def _columns(store: pd.HDFStore, path: Path, allow_unlabelled: bool) -> list[str]:
    """PX_0, PY_0, PZ_0, E_0, PX_1 … as many as the table has.

    Raises:
        JepalibError: one of them, or the label, is missing.
    """
    _storer(store, path)
    try:
        present = {str(name) for name in store.select(KEY, start=0, stop=1).columns}
    except Exception as error:
        raise damaged(path, error) from error
    numbers = [int(found[1]) for name in present if (found := re.fullmatch(r"(?:E|PX|PY|PZ)_(\d+)", name))]
    wanted = [f"{c}_{i}" for i in range(max(numbers, default=0) + 1) for c in COMPONENTS]
    missing = [name for name in wanted + [LABEL] * (not allow_unlabelled) if name not in present]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise JepalibError(f"{path}: column {', '.join(missing[:3])}{more} is missing from table {KEY!r}")
    return wanted
