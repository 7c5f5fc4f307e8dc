"""Files of any data set into a store: streamed in chunks, counted, hashed, renamed when whole."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import IO

import numpy as np

from jepalib.data.accounts import Account
from jepalib.data.datasets import DATASETS, entries_of_file, iterate_files
from jepalib.data.sources import Source, find_sources
from jepalib.data.store import DTYPES, FORMAT, MANIFEST, VERSION, JetStore, array_path
from jepalib.errors import JepalibError
from jepalib.processes import die_with_parent
from jepalib.progress import Progress
from jepalib.schema import JET_FIELDS, MAX_PARTICLES, PARTICLE_FIELDS

HASHED = ("particles", "observables", "labels", "counts")  # the offsets follow from the counts
LOCK = "lock"
COPY_BYTES = 1 << 24


def convert(
    sources: Sequence[Path],
    store: Path,
    workers: int = 1,
    quiet: bool = False,
    dataset: str | None = None,
) -> JetStore:
    """Converts files of one data set, or directory trees of them, into the store `store`.

    Rows lie in the order of (split, file), and of the file within it. The split of a file
    is told by the name of its folder, or of one above it up to the directory given
    (train_100M, val_5M, test_20M, validation …), for top tagging also by its own name
    (train.h5); "all" without such a name. Memory is that
    of one chunk per worker. The store is written beside under the name ``STORE.partial``
    and renamed when it is whole; called again on a finished store of the same files it
    says so and returns it.

    Args:
        sources: ROOT (JetClass), HDF5 (top tagging) or npz (quark–gluon) files, or folders.
        store: directory to make.
        workers: processes, one file at a time each.
        quiet: no progress and no summary.
        dataset: name in `datasets.DATASETS`; told by the suffixes of the files when None.

    Raises:
        JepalibError: no files, files of several data sets, a file that cannot be read
            (checked before anything is written), a store of other files in the way, or no
            room on the disk.
    """
    store = Path(store)
    files = find_sources(sources, dataset)
    if store.exists():
        return _existing(store, files, quiet)
    entries = [entries_of_file(file.path, dataset=file.dataset) for file in files]
    try:
        with _partial(store) as partial, Progress(sum(entries), "convert", quiet=quiet) as bar:
            records = list(_converted(files, partial, workers, bar))
            _write_offsets(partial)
            _write_manifest(partial, records, files[0].dataset)
            os.rename(partial, store)  # still locked: nobody else can come between
            (store / LOCK).unlink()
    except OSError as error:
        raise JepalibError(f"{store}: cannot be written ({error})") from error
    done = JetStore.open(store)
    if not quiet:
        _print_summary(done)
    return done


def _existing(store: Path, files: list[Source], quiet: bool) -> JetStore:
    """The store that is already there, if it was made of the same files."""
    done = JetStore.open(store)
    known = {record["path"]: record for record in done.manifest["files"]}
    changed = [file.name for file in files if not _same(file, known.pop(file.name, None))]
    if changed or known:
        names = ", ".join([*changed, *known][:3])
        raise JepalibError(
            f"{store}: holds a store of other files than these (differing: {names}); remove it or choose "
            "another path"
        )
    if not quiet:
        print(f"{store}: is done already, {len(done)} jets of the same {len(files)} files")
    return done


def _same(file: Source, record: dict | None) -> bool:
    """True if the file is the one recorded: same size, and same time or same content."""
    if record is None:
        return False
    stat = file.path.stat()
    if stat.st_size != record["bytes"]:
        return False
    return stat.st_mtime_ns == record["mtime_ns"] or _sha256(file.path) == record["sha256"]


@contextmanager
def _partial(store: Path) -> Iterator[Path]:
    """The directory to write into, locked; what an interrupted conversion left is removed."""
    partial = store.with_name(store.name + ".partial")
    partial.mkdir(parents=True, exist_ok=True)
    with (partial / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise JepalibError(f"{store}: another conversion is writing it; wait for it") from error
        if store.exists() or not _is_at(lock, partial / LOCK):  # one ended while this one began
            if _is_at(lock, partial / LOCK):
                shutil.rmtree(partial)
            raise JepalibError(f"{store}: another conversion has just ended; call again")
        for left in partial.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            elif left.name != LOCK:
                left.unlink()
        try:
            yield partial
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise


def _is_at(file: IO, path: Path) -> bool:
    """Whether an open file is still the one at `path`."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _converted(files: list[Source], partial: Path, workers: int, bar: Progress) -> Iterator[dict]:
    """Writes the arrays of all files, in order; yields the record of each."""
    if workers <= 1:
        for file in files:
            yield _convert_file(file, partial, lambda jets, file=file: bar.add(jets, file.name))
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), die_with_parent) as pool:
        try:
            yield from _in_order(pool, files, partial, workers, bar)
        except BrokenProcessPool as error:
            raise JepalibError("convert: a worker died (out of memory?); try fewer workers") from error
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _in_order(
    pool: ProcessPoolExecutor, files: list[Source], partial: Path, workers: int, bar: Progress
) -> Iterator[dict]:
    """Each file becomes a part of its own; parts are appended in the order of the files.

    Only a few parts wait on disk at a time. Their names are new ones in every call, so that
    a worker left by a killed call cannot write into them.
    """
    ahead = 2 * workers
    waiting = []
    for number, file in enumerate(files):
        for following in files[number + len(waiting) : number + ahead]:
            part = Path(tempfile.mkdtemp(prefix="part_", dir=partial))
            waiting.append((part, pool.submit(_convert_file, following, part)))
        part, job = waiting.pop(0)
        record = job.result()
        bar.add(record["entries"], file.name)
        _append_part(partial, part)
        yield record


def _convert_file(file: Source, directory: Path, tell: Callable[[int], None] | None = None) -> dict:
    """Appends one file to the arrays in `directory`; returns its record for the manifest."""
    stat = file.path.stat()
    sums = {name: hashlib.sha256() for name in HASHED}
    outs = {name: array_path(directory, name).open("ab") for name in HASHED}
    account: Account | None = None
    particles = 0
    try:
        for part in iterate_files(file.path, dataset=file.dataset):
            jets = part.jets
            arrays = {
                "particles": jets.particles,
                "observables": jets.observables,
                "labels": jets.labels,
                "counts": jets.counts,
            }
            for name, array in arrays.items():
                data = np.ascontiguousarray(array.numpy(), dtype=DTYPES[name]).data
                outs[name].write(data)
                sums[name].update(data)
            particles += len(jets.particles)
            account = part.account if account is None else account + part.account
            if tell is not None:
                tell(part.stop - part.start)
    finally:
        for out in outs.values():
            out.close()
    assert account is not None  # an empty file is an error of the reader
    return {
        "path": file.name,
        "split": file.split,
        "rows": account.kept,
        "particles": particles,
        "entries": account.entries,
        "dropped": {reason: count for reason, count in account.dropped.items() if count},
        "dropped_entries": {reason: rows for reason, rows in account.examples.items() if rows},
        f"particles beyond {MAX_PARTICLES}": account.cut_particles,
        "bytes": stat.st_size,
        "mtime_ns": stat.st_mtime_ns,
        "sha256": _sha256(file.path),
        "data_sha256": hashlib.sha256(b"".join(sums[name].digest() for name in HASHED)).hexdigest(),
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _append_part(partial: Path, part: Path) -> None:
    """Moves the arrays of one part to the end of the store's."""
    for name in HASHED:
        with array_path(part, name).open("rb") as source, array_path(partial, name).open("ab") as out:
            shutil.copyfileobj(source, out, COPY_BYTES)
    shutil.rmtree(part)


def _write_offsets(partial: Path) -> None:
    """The offsets, from the counts, a stretch at a time."""
    counts = np.memmap(array_path(partial, "counts"), DTYPES["counts"], "r")
    edge = np.zeros(1, np.int64)
    with array_path(partial, "offsets").open("wb") as out:
        out.write(edge.astype(DTYPES["offsets"]).data)
        for first in range(0, len(counts), COPY_BYTES):
            edges = edge[-1] + np.cumsum(counts[first : first + COPY_BYTES], dtype=np.int64)
            out.write(edges.astype(DTYPES["offsets"]).data)
            edge = edges[-1:]


def _write_manifest(partial: Path, records: list[dict], dataset: str) -> None:
    """The manifest, last of all: a directory without it is no store."""
    splits: dict[str, list[int]] = {}
    rows = 0
    for record in records:
        splits.setdefault(record["split"], [rows, rows])
        rows += record["rows"]
        splits[record["split"]][1] = rows
    whole = hashlib.sha256("".join(record["data_sha256"] for record in records).encode())
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "rows": rows,
        "particles": sum(record["particles"] for record in records),
        "splits": splits,
        "data_hash": whole.hexdigest(),
        "dataset": dataset,
        "classes": list(DATASETS[dataset].classes),
        "particle_fields": list(PARTICLE_FIELDS),
        "jet_fields": list(JET_FIELDS),
        "dtypes": DTYPES,
        "dropped": _total_dropped(records),
        f"particles beyond {MAX_PARTICLES}": sum(r[f"particles beyond {MAX_PARTICLES}"] for r in records),
        "files": records,
    }
    with (partial / f"{MANIFEST}.new").open("w") as out:
        json.dump(manifest, out, indent=1)
        out.flush()
        os.fsync(out.fileno())
    os.rename(partial / f"{MANIFEST}.new", partial / MANIFEST)


def _total_dropped(records: list[dict]) -> dict[str, int]:
    total: dict[str, int] = {}
    for record in records:
        for reason, count in record["dropped"].items():
            total[reason] = total.get(reason, 0) + count
    return total


def _print_summary(store: JetStore) -> None:
    manifest = store.manifest
    entries = sum(record["entries"] for record in manifest["files"])
    splits = ", ".join(f"{name} {len(rows)}" for name, rows in store.splits().items())
    print(f"{store.path}: {len(store)} of {entries} jets from {len(manifest['files'])} files ({splits})")
    for reason, count in manifest["dropped"].items():
        where = next(r for r in manifest["files"] if reason in r["dropped"])
        rows = ", ".join(map(str, where["dropped_entries"][reason]))
        print(f"  dropped {count}: {reason} (first in {where['path']}, entries {rows})")
    cut = manifest[f"particles beyond {MAX_PARTICLES}"]
    if cut:
        print(f"  cut {cut} particles beyond {MAX_PARTICLES} in a jet")
