"""What a notebook uses to keep its results: figures, tables, computed sentences, values.

    stage = notebook.start("02_masks", run_dir)
    stage.show(fig, "ratios", "Share of constituents in context and target.")
    stage.finding(f"On average {share:.0%} of a jet's constituents are hidden.")
    stage.finish(share=share)

Works the same in JupyterLab and under the runner; `result.json`, written by `finish`
in the last cell, is how the runner knows that a notebook reached its end.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from jepalib.errors import JepalibError

RESULT = "result.json"
KEY = "JEPALIB_NOTEBOOK_KEY"  # set by the runner: what it runs, so that it knows its own result
LARGE_FILE = 64 << 20  # bytes; beyond it a file's size and time stand for its content


def project_root() -> Path:
    """The nearest folder upwards that holds the notebooks; else the current one."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "notebooks" / "text").is_dir():
            return folder
    return here


def under_root(path: str | Path) -> Path:
    """A path as given when absolute, else seen from the project's root."""
    return project_root() / Path(path).expanduser()


def fingerprint(path: Path) -> str:
    """A short hash that changes when a file, a store or a run folder does."""
    if path.is_dir():
        manifest = path / "manifest.json"
        if manifest.is_file():
            return fingerprint(manifest)
        listing = "\n".join(f"{p.relative_to(path)} {p.stat().st_size}" for p in sorted(path.rglob("*")))
        return hashlib.sha256(listing.encode()).hexdigest()[:16]
    if not path.is_file():
        return "missing"
    status = path.stat()
    if status.st_size > LARGE_FILE:
        return f"{status.st_size}-{status.st_mtime_ns}"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def write_json(path: Path, content: object) -> None:
    """Writes JSON under a temporary name, then renames: a reader never sees half a file."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1, default=_plain) + "\n")
    temporary.replace(path)


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"a result must be a number, text, list or dict, not {type(value).__name__}")


@dataclass
class Stage:
    """The results of one notebook, gathered while it runs."""

    name: str
    run_dir: Path
    figures: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    headlines: list[str] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)

    @property
    def folder(self) -> Path:
        """Where this notebook's results lie."""
        return self.run_dir / self.name

    def show(self, figure: Figure, name: str, caption: str, main: bool = False) -> None:
        """Displays a figure and keeps it as PNG and PDF with its caption.

        The `main` one of a notebook is on the report's front page; its first where none is.
        """
        from IPython.display import display

        from jepalib.viz.style import save_figure

        saved = save_figure(figure, name, self.folder / "figures")
        self.figures.append(self._record(saved, caption, main))
        display(figure, metadata={"image/png": {"alt": caption, "caption": caption}})

    def table(self, frame: pd.DataFrame, name: str, caption: str, main: bool = False) -> None:
        """Displays a table and keeps it as CSV with its caption; `main` as in `show`."""
        from IPython.display import display

        target = self.folder / f"{name}.csv"
        frame.to_csv(target, index=False)
        self.tables.append(self._record(target, caption, main))
        display(frame.style.format(precision=3).hide(axis="index"))

    def _remove_figures_of_before(self) -> None:
        """Figures that a run with other parameters made and this one did not."""
        own = {(self.run_dir / figure["file"]).stem for figure in self.figures}
        for file in (self.folder / "figures").iterdir() if own else ():
            if file.suffix in (".png", ".pdf") and file.stem not in own:
                file.unlink()

    def _record(self, file: Path, caption: str, main: bool) -> dict[str, Any]:
        record = {"file": file.relative_to(self.run_dir).as_posix(), "caption": caption}
        return record | {"main": True} if main else record

    def finding(self, text: str, main: bool = False) -> None:
        """Prints a computed sentence and puts it into the report.

        The `main` ones of a notebook are on its front page; its first two where none is.
        """
        self.findings.append(text)
        if main:
            self.headlines.append(text)
        print(text)

    def depends(self, path: str | Path) -> Path:
        """Notes a file or folder that this notebook reads or makes; returns its full path.

        When it changes or vanishes, the runner executes the notebook again.
        """
        full = under_root(path)
        self.paths.append(full)
        return full

    def keyed(self, name: str, *settings: object) -> Path:
        """A folder of this notebook that belongs to the given settings alone: others get another."""
        key = hashlib.sha256(repr(settings).encode()).hexdigest()[:8]
        return self.folder / f"{name}-{key}"

    def earlier(self, name: str) -> dict[str, Any]:
        """The values that another notebook of this run handed to `finish`.

        Raises:
            JepalibError: that notebook has not finished yet.
        """
        result = self.depends(self.run_dir / name / RESULT)
        if not result.is_file():
            raise JepalibError(
                f"{self.name} goes on from {name}, which has not run in {self.run_dir}: run it first"
            )
        return json.loads(result.read_text())["values"]

    def finish(self, **values: object) -> None:
        """The last line of a notebook: writes what it found, and that it reached its end."""
        record = {
            "values": values,
            "findings": self.findings,
            "headlines": self.headlines,
            "figures": self.figures,
            "tables": self.tables,
            "key": os.environ.get(KEY),
            "paths": {str(path): fingerprint(path) for path in self.paths},
        }
        write_json(self.folder / RESULT, record)
        self._remove_figures_of_before()
        print(f"{self.name} finished in {time.monotonic() - self.began:.0f} s; results in {self.folder}")


def start(name: str, run_dir: str | Path) -> Stage:
    """Begins a notebook: sets the plotting style and clears its earlier result.

    `run_dir` is the folder of the whole run, seen from the project's root.
    """
    from jepalib.viz.style import use_style

    use_style()
    stage = Stage(name, under_root(run_dir))
    (stage.folder / "figures").mkdir(parents=True, exist_ok=True)
    (stage.folder / RESULT).unlink(missing_ok=True)
    return stage
