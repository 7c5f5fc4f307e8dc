"""What a run of the workbook was made with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from jepalib.training.runs import provenance

PACKAGES = ("awkward", "uproot", "numba", "scikit-learn", "pythia8mc", "fastjet", "papermill")


def environment() -> dict[str, str]:
    """Versions of Python and of the packages that results depend on, git revision, machine."""
    made = {name: str(value) for name, value in provenance().items() if name != "finished"}
    return made | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
