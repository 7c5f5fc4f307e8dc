"""The quark–gluon data set (Zenodo 3164691; arXiv:1810.05165): npz files of X and y.

X (jets, M, 4) holds pT (GeV), rapidity, phi (radians) and PDG id of every particle, zero
padded, in no order; M differs from file to file. y is 1 for quark, 0 for gluon jets.
X is inflated some thousand jets at a time, never whole. No displacement.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from jaxtyping import Float

from jepalib.data.accounts import Account, Chunk, ReadJets, first_bad, span, whole_file
from jepalib.data.constituents import SUBSTRUCTURE, jet_columns
from jepalib.errors import JepalibError

COLUMNS = ("pT", "rapidity", "phi", "pdgid")
CHUNK = 5000  # jets decoded together: about 50 MB
RADIUS = 0.4
BROKEN = (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error, NotImplementedError)

# PDG id: mass in GeV, charge. The data set holds the first eight and their antiparticles
# (Pythia's stable particles); K0S and hyperons are for files of one's own.
PARTICLES = {
    22: (0.0, 0),
    11: (0.000511, -1),
    13: (0.105658, -1),
    211: (0.139570, 1),
    321: (0.493677, 1),
    130: (0.497611, 0),
    2212: (0.938272, 1),
    2112: (0.939565, 0),
    310: (0.497611, 0),
    3122: (1.115683, 0),
    3222: (1.189370, 1),
    3112: (1.197449, -1),
    3322: (1.314860, 0),
    3312: (1.321710, -1),
    3334: (1.672450, -1),
}
# isChargedHadron, isNeutralHadron, isPhoton, isElectron, isMuon: the weights of the "full"
# scenario of ParT (arXiv:2202.03772), which make up for what a detector cannot tell apart.
# JP-JEPA's footnote prints 2212 for the neutral hadron too; the neutron, 2112, is meant.
FLAGS = {
    211: (1.0, 0, 0, 0, 0),
    321: (0.5, 0, 0, 0, 0),
    2212: (0.2, 0, 0, 0, 0),
    130: (0, 1.0, 0, 0, 0),
    2112: (0, 0.2, 0, 0, 0),
    22: (0, 0, 1.0, 0, 0),
    11: (0, 0, 0, 1.0, 0),
    13: (0, 0, 0, 0, 1.0),
}


def entries_of_quark_gluon(path: Path, allow_unlabelled: bool = False) -> int:
    """Number of jets that a file holds, after checking its arrays.

    Raises:
        JepalibError: as `iterate_quark_gluon`.
    """
    with _open(Path(path)) as file:
        _labels(file, Path(path), allow_unlabelled)
        return _Rows(file, Path(path)).jets


def iterate_quark_gluon(
    path: Path,
    start: int | None = None,
    stop: int | None = None,
    allow_unlabelled: bool = False,
    chunk: int = CHUNK,
) -> Iterator[ReadJets]:
    """Jets of a quark–gluon file (labels: 0 gluon, 1 quark), in chunks of at most `chunk`.

    Particles get the mass, charge and flags of their PDG id (`PARTICLES`, `FLAGS`). Jet
    observables and `allow_unlabelled` are as in `top_tagging.iterate_top`.

    Raises:
        JepalibError: the file is missing, damaged, not npz, without X or y or with another
            shape, holds a value that is not finite, an unknown PDG id or no label of 0 or
            1, or no jets.
    """
    path = Path(path)
    with _open(path) as file:
        labels = _labels(file, path, allow_unlabelled)
        rows = _Rows(file, path)
        if labels is not None and len(labels) != rows.jets:
            raise JepalibError(f"{path}: X holds {rows.jets} jets but y {len(labels)} labels")
        account: Account | None = None
        for first, last in span(path, rows.jets, (start, stop, chunk)):
            own = np.full(last - first, -1) if labels is None else labels[first:last]
            part = _chunk(rows.read(first, last), own, path, first, allow_unlabelled)
            account = part.account if account is None else account + part.account
            yield part
        whole_file(path, account)


def _chunk(
    values: Float[np.ndarray, "jets length 4"],
    labels: np.ndarray,
    path: Path,
    entry: int,
    allow_unlabelled: bool,
) -> ReadJets:
    if not allow_unlabelled:
        for column, name in enumerate(COLUMNS):
            bad = ~np.isfinite(values[..., column])
            first_bad(bad, (f"X {name}",), path, entry, "is not a finite number")
        known = np.isin(labels, (0, 1))
        first_bad(~known[:, None], ("y",), path, entry, "is neither 0 (gluon) nor 1 (quark)")
    pt = np.where(np.isnan(values[..., 0]), np.inf, values[..., 0])  # a NaN is a particle, its jet is dropped
    first_bad(pt < 0, ("X pT",), path, entry, "is negative")
    real = pt > 0
    counts = real.sum(axis=1)
    code = np.where(real, values[..., 3], 22)
    first_bad(
        np.isfinite(code) & ~np.isin(np.abs(code), list(PARTICLES)),
        ("X pdgid",),
        path,
        entry,
        "is no particle known here",
    )
    mass, pid = identity(code[real])
    p4 = _four_vectors(pt[real], values[real, 1], values[real, 2], mass)
    particles, observables = jet_columns(p4, pid, counts, None if allow_unlabelled else RADIUS)
    absent = SUBSTRUCTURE if allow_unlabelled else ()
    offsets = np.concatenate([[0], np.cumsum(counts)])
    labels = np.where(np.isin(labels, (0, 1)), labels, -1).astype(np.int64)
    return Chunk(particles, offsets, observables, labels, entry, absent).usable(allow_unlabelled)


def _four_vectors(
    pt: np.ndarray, rapidity: np.ndarray, phi: np.ndarray, mass: np.ndarray
) -> Float[np.ndarray, "particles 4"]:
    """(px, py, pz, E) in GeV."""
    transverse = np.hypot(pt, mass)
    with np.errstate(over="ignore", invalid="ignore"):  # the jet of what is not finite is dropped
        pz, energy = transverse * np.sinh(rapidity), transverse * np.cosh(rapidity)
        return np.stack([pt * np.cos(phi), pt * np.sin(phi), pz, energy], axis=1)


def identity(
    code: Float[np.ndarray, " particles"],
) -> tuple[Float[np.ndarray, " particles"], Float[np.ndarray, "particles 6"]]:
    """Mass in GeV, and charge and the five flags (`schema.PID_FIELDS`), of PDG ids in `PARTICLES`.

    A code that is not a number has mass NaN.
    """
    kinds, which = np.unique(code, return_inverse=True)
    unknown = (np.nan, 0)
    mass = np.array([PARTICLES.get(abs(kind), unknown)[0] for kind in kinds], np.float64)
    charge = [np.sign(kind) * PARTICLES.get(abs(kind), unknown)[1] for kind in kinds]
    flags = [FLAGS.get(abs(kind), (0, 0, 0, 0, 0)) for kind in kinds]
    table = np.column_stack([np.nan_to_num(charge), np.reshape(flags, (-1, 5))]).astype(np.float64)
    return mass[which], table[which]


@contextmanager
def _open(path: Path) -> Iterator[zipfile.ZipFile]:
    """The npz as the zip file that it is, closed afterwards.

    Raises:
        JepalibError: missing, truncated, or not npz.
    """
    if not path.is_file():
        raise JepalibError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    try:
        file = zipfile.ZipFile(path)
    except BROKEN as error:
        raise JepalibError(
            f"{path}: is no whole npz file ({error}), as quark–gluon files are; download or simulate it again"
        ) from error
    with file:
        yield file


def _damaged(path: Path, name: str, error: Exception) -> JepalibError:
    return JepalibError(
        f"{path}: {name} cannot be read, truncated or damaged ({error}); download or simulate it again"
    )


def _member(
    file: zipfile.ZipFile, path: Path, name: str
) -> tuple[zipfile.ZipExtFile, tuple[int, ...], np.dtype]:
    """An array of the npz, opened behind its header; its shape and type.

    Raises:
        JepalibError: not there, damaged, or holding anything but numbers in rows.
    """
    if f"{name}.npy" not in file.namelist():
        held = [entry.removesuffix(".npy") for entry in file.namelist()]
        raise JepalibError(f"{path}: has no array {name!r}, only {held}; not a quark–gluon file")
    try:
        member = file.open(f"{name}.npy")
        version = np.lib.format.read_magic(member)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, columns_first, kind = read(member)
    except BROKEN as error:
        raise _damaged(path, name, error) from error
    if columns_first or kind.kind not in "biuf":
        raise JepalibError(
            f"{path}: {name} does not hold numbers in rows, but {kind} (save it with np.savez)"
        )
    return member, shape, kind


def _labels(file: zipfile.ZipFile, path: Path, allow_unlabelled: bool) -> np.ndarray | None:
    """y, or None where it may be missing and is."""
    if allow_unlabelled and "y.npy" not in file.namelist():
        return None
    member, shape, kind = _member(file, path, "y")
    if len(shape) != 1:
        raise JepalibError(f"{path}: y has shape {shape}, not one label for each jet")
    try:
        return np.frombuffer(member.read(), kind, shape[0])
    except BROKEN as error:
        raise _damaged(path, "y", error) from error


class _Rows:
    """X, read forward, a stretch of jets at a time."""

    def __init__(self, file: zipfile.ZipFile, path: Path) -> None:
        self.path = path
        self.member, shape, self.kind = _member(file, path, "X")
        if len(shape) != 3 or shape[2] != 4 or shape[1] < 1:
            raise JepalibError(f"{path}: X has shape {shape}, not (jets, particles, 4): {', '.join(COLUMNS)}")
        self.jets, self.length = shape[0], shape[1]
        if not self.jets:
            raise JepalibError(
                f"{path}: X holds no jets (shape {shape}); leave the file out or make it again"
            )
        self.begin = self.member.tell()

    def read(self, first: int, last: int) -> Float[np.ndarray, "jets length 4"]:
        size = self.length * 4 * self.kind.itemsize
        try:
            self.member.seek(self.begin + first * size)
            data = self.member.read((last - first) * size)
        except BROKEN as error:
            raise _damaged(self.path, "X", error) from error
        if len(data) < (last - first) * size:
            raise _damaged(self.path, "X", EOFError("it ends too early"))
        return np.frombuffer(data, self.kind).reshape(-1, self.length, 4).astype(np.float64)
