"""Files that are whole or not there: written under a name of one's own, then renamed."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jepalib.errors import JepalibError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A temporary path to write to, renamed to `path` when the block ends well.

    The temporary name is this process's own; where several write one file, the last wins.

    Raises:
        JepalibError: the file cannot be written (no room, no permission).
    """
    temporary = path.with_name(f"{path.name}.{here()}-{os.getpid()}.part")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise JepalibError(f"{path}: cannot be written ({error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files of processes of this machine that have ended."""
    for path in folder.glob(f"*.{here()}-*.part"):
        process = path.name.removesuffix(".part").rpartition("-")[2]
        if process.isdecimal() and not _runs(int(process)):
            path.unlink(missing_ok=True)


def here() -> str:
    """This machine's name, as it may stand in a file's."""
    return "".join(c for c in platform.node() if c.isalnum() or c in "-_")


def not_whole(path: Path, error: Exception) -> JepalibError:
    """What to say of a file that lies where one of the simulation's should."""
    return JepalibError(
        f"{path} is there, but is not a whole file of the simulation ({type(error).__name__}); "
        "delete it or choose another folder"
    )


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        pass
    return True
