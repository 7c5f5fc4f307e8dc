"""The public data sets that are read, by name; one call reads the files of all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jepalib.data.accounts import ReadJets
from jepalib.data.lhc_olympics import entries_of_lhco, is_lhco, iterate_lhco
from jepalib.data.quark_gluon import entries_of_quark_gluon, iterate_quark_gluon
from jepalib.data.readers import entries_of, iterate_jetclass
from jepalib.data.top_tagging import entries_of_top, iterate_top
from jepalib.errors import JepalibError
from jepalib.schema import DATASET_CLASSES


@dataclass(frozen=True)
class Dataset:
    """What a data set has, and how its files are read.

    Attributes:
        name: key in `DATASETS`.
        classes: names in the order of the labels.
        suffix: of its files.
        groups: those of `schema.INPUT_GROUPS` that are not zero.
        iterate: `readers.iterate_jetclass` for its files.
        entries: `readers.entries_of` for its files.
    """

    name: str
    classes: tuple[str, ...]
    suffix: str
    groups: tuple[str, ...]
    iterate: Callable[..., Iterator[ReadJets]]
    entries: Callable[..., int]

    @property
    def inputs(self) -> str:
        """All its inputs, as one of `schema.INPUT_SETS`: kin, kinpid or full."""
        return {1: "kin", 2: "kinpid", 3: "full"}[len(self.groups)]


DATASETS = {
    name: Dataset(name, DATASET_CLASSES[name], *rest)
    for name, rest in {
        "jetclass": (".root", ("kin", "pid", "td"), iterate_jetclass, entries_of),
        "top": (".h5", ("kin",), iterate_top, entries_of_top),
        "quark-gluon": (".npz", ("kin", "pid"), iterate_quark_gluon, entries_of_quark_gluon),
        "lhco": (".h5", ("kin",), iterate_lhco, entries_of_lhco),
    }.items()
}


def dataset_named(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        JepalibError: there is none; the message lists them.
    """
    if name not in DATASETS:
        raise JepalibError(f"no data set {name!r}; there are: {', '.join(DATASETS)}")
    return DATASETS[name]


def dataset_of(path: Path) -> Dataset:
    """The data set that a file's suffix tells, and of HDF5 its table; JetClass where it tells none."""
    if Path(path).suffix.lower() == DATASETS["lhco"].suffix and is_lhco(path):
        return DATASETS["lhco"]
    fitting = (one for one in DATASETS.values() if one.suffix == Path(path).suffix.lower())
    return next(fitting, DATASETS["jetclass"])


def iterate_files(
    path: Path, allow_unlabelled: bool = False, dataset: str | None = None
) -> Iterator[ReadJets]:
    """Jets of one file of any data set, in chunks, in the order of the file.

    Args:
        allow_unlabelled: for embedding and predicting on files of one's own: labels need
            not be there, `ReadJets.kept` tells which rows of the file have a jet.
        dataset: name of the data set; told by the suffix when None.

    Raises:
        JepalibError: no such data set, or the file cannot be read.
    """
    reader = dataset_of(path) if dataset is None else dataset_named(dataset)
    yield from reader.iterate(path, allow_unlabelled=allow_unlabelled)


def entries_of_file(path: Path, allow_unlabelled: bool = False, dataset: str | None = None) -> int:
    """Number of jets that a file of any data set says it holds, after checking it.

    Raises:
        JepalibError: no such data set, or the file cannot be read.
    """
    reader = dataset_of(path) if dataset is None else dataset_named(dataset)
    return reader.entries(path, allow_unlabelled)
