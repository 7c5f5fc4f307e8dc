"""Opening a JetClass ROOT file: every way in which it can be unusable, said plainly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import awkward as ak
import isal.isal_zlib  # noqa: F401 - uproot expects it to be imported
import uproot

from jepalib.errors import JepalibError
from jepalib.schema import JET_FIELDS, LABEL_BRANCHES, PARTICLE_FIELDS, TREE

# ISA-L inflates ZLIB baskets about twice as fast as zlib. uproot knows it, but looks for the
# name of the library in a class that it does not export.
if hasattr(uproot.compression, "_DecompressZLIB"):
    uproot.compression._DecompressZLIB.library = "isal"

PARTICLE_BRANCHES = tuple(f"part_{name}" for name in PARTICLE_FIELDS)
JET_BRANCHES = tuple(f"jet_{name}" for name in JET_FIELDS)
AXIS_BRANCHES = JET_BRANCHES[:4]  # all that `allow_unlabelled` asks of the jet


@contextmanager
def open_tree(path: Path) -> Iterator[uproot.TTree]:
    """The tree of jets of a file, which is closed afterwards.

    Raises:
        JepalibError: the file is missing, truncated, damaged, not ROOT, or without jets.
    """
    with _open(path) as file:
        yield _tree(file, path)


def _open(path: Path) -> uproot.ReadOnlyDirectory:
    path = Path(path)
    if not path.is_file():
        raise JepalibError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    size = path.stat().st_size
    if size == 0:
        raise JepalibError(f"{path}: is empty (0 bytes); download or simulate it again")
    with path.open("rb") as raw:
        if raw.read(4) != b"root":
            raise JepalibError(f"{path}: is not a ROOT file; jepalib reads JetClass ROOT files")
    try:
        file = uproot.open(path)
    except Exception as error:  # uproot raises a dozen types on damaged files
        raise _damaged(path, error) from error
    if size < file.file.fEND:
        file.close()
        raise JepalibError(
            f"{path}: is truncated ({size} of {file.file.fEND} bytes); download or simulate it again"
        )
    return file


def _damaged(path: Path, error: Exception) -> JepalibError:
    first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return JepalibError(
        f"{path}: cannot be read, truncated or damaged ({first_line}); download or simulate it again"
    )


def _tree(file: uproot.ReadOnlyDirectory, path: Path) -> uproot.TTree:
    if TREE not in file.keys(cycle=False):
        raise JepalibError(
            f"{path}: has no tree {TREE!r}, only {file.keys(cycle=False)}; not a JetClass file"
        )
    try:
        tree = file[TREE]
    except Exception as error:
        raise _damaged(path, error) from error
    if not isinstance(tree, uproot.TTree):
        raise JepalibError(f"{path}: {TREE!r} is a {type(tree).__name__}, not a tree of jets")
    if not tree.num_entries:
        raise JepalibError(f"{path}: its tree holds no jets (0 entries); leave the file out or make it again")
    return tree


def planned_branches(tree: uproot.TTree, path: Path, allow_unlabelled: bool) -> list[str]:
    """The branches to read.

    Raises:
        JepalibError: a branch is missing.
    """
    present = set(tree.keys(recursive=False))
    required = PARTICLE_BRANCHES + (AXIS_BRANCHES if allow_unlabelled else JET_BRANCHES + LABEL_BRANCHES)
    missing = [name for name in required if name not in present]
    if missing:
        hint = "" if allow_unlabelled else "; jets of one's own without labels can be embedded and predicted"
        raise JepalibError(f"{path}: branch {', '.join(missing)} is missing{hint}")
    optional = [name for name in JET_BRANCHES if name in present and name not in required]
    labels = LABEL_BRANCHES if present.issuperset(LABEL_BRANCHES) else ()
    return [*dict.fromkeys((*required, *optional, *labels))]


def decoded(
    tree: uproot.TTree, path: Path, branches: list[str], span: tuple[int, int, int]
) -> Iterator[tuple[int, dict[str, ak.Array]]]:
    """(first entry, arrays by branch) of each chunk of (first, last, step)."""
    first, last, step = span
    chunks = tree.iterate(
        branches, entry_start=first, entry_stop=last, step_size=step, library="ak", how=dict
    )
    for entry in range(first, last, step):
        try:
            arrays = next(chunks)
        except Exception as error:  # bad compressed data, short baskets, wrong headers …
            raise _damaged(path, error) from error
        yield entry, arrays
