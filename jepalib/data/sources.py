"""The files to convert: where they are, and which split each belongs to."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jepalib.data.datasets import DATASETS, dataset_named, dataset_of
from jepalib.errors import JepalibError

# train_100M, val_5M, test_20M, Validation, train2 …; not "training" or "tests".
SPLIT_FOLDER = re.compile(r"(train|val|test|valid|validation)(?=[_\-\d]|$)", re.IGNORECASE)
NO_SPLIT = "all"


@dataclass(frozen=True)
class Source:
    """One file to convert: where it is, how the manifest calls it, what it is for."""

    path: Path
    name: str
    split: str
    dataset: str = "jetclass"


def find_sources(sources: Sequence[Path], dataset: str | None = None) -> list[Source]:
    """The files given, and those of the data set anywhere below directories given, in store order.

    Args:
        dataset: name in `datasets.DATASETS`; told by the suffixes of the files when None.

    Raises:
        JepalibError: no such data set, a path does not exist, there is no file at all, or
            there are files of several data sets.
    """
    wanted = [dataset_named(dataset)] if dataset else list(DATASETS.values())
    suffixes = tuple(dict.fromkeys(one.suffix for one in wanted))  # two data sets are HDF5
    splits: dict[Path, str] = {}
    for given in map(Path, sources):
        if not given.exists():
            raise JepalibError(f"{given}: no such file or directory")
        # Not resolved: a link counts where it lies, not where it leads.
        top = Path(os.path.abspath(given if given.is_dir() else given.parent))
        for path in _files(top, suffixes) if given.is_dir() else [top / given.name]:
            split = _split(path, top)
            if splits.get(path, NO_SPLIT) == NO_SPLIT:  # the same file may be given twice
                splits[path] = split
    if not splits:
        where = ", ".join(map(str, sources)) or "an empty list of sources"
        raise JepalibError(f"no {', '.join(suffixes)} files in {where}")
    kinds = sorted({dataset_of(path).name for path in splits}) if dataset is None else [dataset]
    if len(kinds) > 1:
        raise JepalibError(
            f"there are files of several data sets ({', '.join(kinds)}) in {', '.join(map(str, sources))}; "
            "name the one to convert (--dataset)"
        )
    base = os.path.commonpath([path.parent.parent for path in splits])
    files = [
        Source(path, path.relative_to(base).as_posix(), split, kinds[0]) for path, split in splits.items()
    ]
    return sorted(files, key=lambda file: (file.split, file.name))


def _files(top: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """All files of a suffix below a folder, also in linked folders (but no link back up is followed)."""
    for folder, below, files in os.walk(top, followlinks=True):
        here = os.path.realpath(folder)
        targets = {name: os.path.realpath(os.path.join(folder, name)) for name in below}
        below[:] = [name for name in below if os.path.commonpath([here, targets[name]]) != targets[name]]
        yield from (Path(folder) / name for name in files if name.endswith(suffixes))


def _split(path: Path, top: Path) -> str:
    """Split of a file, by the lowest of its folders within `top` that is named after one.

    The files of top tagging are named after their splits themselves (train.h5).
    """
    for folder in [path.with_suffix(""), *path.parents] if path.suffix == ".h5" else path.parents:
        found = SPLIT_FOLDER.match(folder.name)
        if found:
            split = found[1].lower()
            return "val" if split.startswith("val") else split
        if folder == top:
            break
    return NO_SPLIT
