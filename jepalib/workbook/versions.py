"""What a run of the workbook was made with."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from jepalib.training.runs import provenance

PACKAGES = ("awkward", "uproot", "numba", "scikit-learn", "pythia8mc", "fastjet", "papermill")


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, git revision, machine."""
    made = {name: str(value) for name, value in provenance().items() if name != "finished"}
    return made | {"processor": _processor()} | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    """The processor's name, as the system gives it."""
    listing = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:\s*(.+)$", listing.read_text(), re.M) if listing.is_file() else None
    return named[1] if named else platform.processor() or platform.machine()
