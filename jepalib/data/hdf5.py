"""Opening an HDF5 file that pandas wrote; every way it can be unusable."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import tables

from jepalib.errors import JepalibError


@contextmanager
def opened(path: Path, title: str) -> Iterator[pd.HDFStore]:
    """The file as pandas sees it, closed afterwards.

    Args:
        title: what kind of file it should be, for messages.

    Raises:
        JepalibError: missing, empty, truncated, or not HDF5.
    """
    if not path.is_file():
        raise JepalibError(f"{path}: {'is not a file' if path.exists() else 'no such file'}")
    if path.stat().st_size == 0:
        raise JepalibError(f"{path}: is empty (0 bytes); download or simulate it again")
    with path.open("rb") as raw:
        if raw.read(8) != b"\x89HDF\r\n\x1a\n":
            raise JepalibError(f"{path}: is not an HDF5 file; {title} files are HDF5 (.h5)")
    try:
        store = pd.HDFStore(path, mode="r")
    except (OSError, tables.HDF5ExtError) as error:
        raise damaged(path, error) from error
    try:
        yield store
    finally:
        store.close()


def damaged(path: Path, error: Exception) -> JepalibError:
    """What to say of a file that cannot be read to its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return JepalibError(
        f"{path}: cannot be read, truncated or damaged ({lines[-1]}); download or simulate it again"
    )
