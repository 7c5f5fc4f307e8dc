"""Runs the numbered notebooks in order, skips what is done, and keeps the books.

For each notebook the run folder receives `<name>.ipynb` (executed), `<name>/result.json`
(written by the notebook's last cell), `<name>/manifest.json` (written here, last). A
notebook counts as done when no cell failed, its kernel lived to the end and its own
result is there; it is skipped while source, parameters and inputs stay what they were.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import nbformat

from jepalib.errors import JepalibError
from jepalib.workbook import report
from jepalib.workbook.execution import Failure, Watch, execute
from jepalib.workbook.notebook import KEY, RESULT, fingerprint, project_root, write_json
from jepalib.workbook.parameters import notebook_paths, read_parameters, resolve, split_settings
from jepalib.workbook.profiles import profile_values
from jepalib.workbook.versions import environment

MANIFEST = "manifest.json"
GALLERY_PROFILE = "laptop"  # the default run; its figures are the project's gallery


@dataclass(frozen=True)
class Job:
    """One notebook with the parameters it will get; `name` is the folder of its results in `run_dir`."""

    source: Path
    parameters: dict[str, Any]
    run_dir: Path
    name: str

    @property
    def key(self) -> str:
        """Hash of the notebook's source and its parameters."""
        notebook = nbformat.read(self.source, as_version=4)
        cells = [(c.cell_type, c.source) for c in notebook.cells]
        content = json.dumps([cells, self.parameters], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def manifest(self) -> Path:
        return self.run_dir / self.name / MANIFEST

    @property
    def output(self) -> Path:
        """The executed notebook, beside the folder of its results."""
        return self.run_dir / f"{self.name}.ipynb"

    def done(self) -> dict[str, Any] | None:
        """The manifest of an earlier run that still holds, else None."""
        result = self.manifest.with_name(RESULT)
        if not self.manifest.is_file() or not result.is_file():
            return None
        earlier = json.loads(self.manifest.read_text())
        same = earlier["status"] == "done" and earlier["key"] == self.key
        found = json.loads(result.read_text())
        ours = found.get("key") == self.key  # a notebook run by hand may have written over it
        unchanged = all(fingerprint(Path(path)) == mark for path, mark in found["paths"].items())
        return earlier if same and ours and unchanged else None


def plan(names: list[str], profile: str, settings: list[str], run_dir: Path | None) -> list[Job]:
    """The notebooks to run with their parameters; everything is checked before anything starts.

    Raises:
        JepalibError: unknown profile, notebook or parameter, or a value of the wrong type.
    """
    root = project_root()
    run_dir = (run_dir or root / "runs" / profile).expanduser().absolute()
    values = profile_values(profile) | {"run_dir": str(run_dir)}
    given = split_settings(settings)
    if "run_dir" in given:
        raise JepalibError("run_dir is not a parameter to set here; choose the folder with --out")
    sources = notebook_paths(root / "notebooks", names)
    parameters = {p.stem: read_parameters(nbformat.read(p, as_version=4), p.name) for p in sources}
    resolved = resolve(parameters, values, given)
    return [Job(path, resolved[path.stem], run_dir, path.stem) for path in sources]


def run(
    jobs: Sequence[Job], profile: str, force: bool = False, quiet: bool = False, gallery: bool = False
) -> bool:
    """Runs the jobs in order until one fails, writes the report, and says whether all are done.

    With `gallery`, the figures of a complete run become those of `figures/`.
    """
    run_dir = jobs[0].run_dir
    run_dir.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    failed = None
    for number, job in enumerate(jobs, 1):
        title = f"[{number}/{len(jobs)}] {job.name}"
        earlier = None if force else job.done()
        if earlier:
            _say(f"{title}: done already, in {earlier['seconds']:.0f} s on {earlier['started'][:16]}", quiet)
            continue
        failed = run_job(job, title, quiet)
        if failed:
            _say_failure(job, failed)
            break
    page = report.write(run_dir, profile, [job.name for job in jobs])
    if failed is None and gallery:
        _fill_gallery(run_dir)
    total = time.monotonic() - began
    _say(f"{'stopped' if failed else 'all done'} after {total:.0f} s; open {page}", quiet)
    return failed is None


def run_job(job: Job, title: str, quiet: bool) -> Failure | None:
    """Executes one notebook and writes its manifest, whatever it was before; the failure, or None."""
    folder = job.run_dir / job.name
    folder.mkdir(parents=True, exist_ok=True)
    for stale in (job.manifest, folder / RESULT):
        stale.unlink(missing_ok=True)
    notebook = nbformat.read(job.source, as_version=4)
    started, clock = datetime.now(UTC), time.monotonic()
    _say(f"{title}: starts", quiet)
    watch = Watch(title, len(notebook.cells) + 1, quiet)  # papermill adds a cell with the parameters
    os.environ[KEY] = job.key
    failure = execute(job.source, job.output, job.parameters, project_root(), watch)
    if failure is None and not (folder / RESULT).is_file():
        failure = Failure("the notebook ended without a result; its last cell must call stage.finish(…)")
    manifest = {
        "status": "failed" if failure else "done",
        "key": job.key,
        "parameters": job.parameters,
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(time.monotonic() - clock, 1),
        "failure": asdict(failure) if failure else None,
        "environment": environment(),
    }
    write_json(job.manifest, manifest)
    if failure is None:
        _say(f"{title}: done in {manifest['seconds']:.0f} s", quiet)
    return failure


def _fill_gallery(run_dir: Path) -> None:
    """Copies the figures of the default run to `figures/` of the project."""
    gallery = project_root() / "figures"
    gallery.mkdir(exist_ok=True)
    for figure in run_dir.glob("[0-9][0-9]_*/figures/*.png"):
        shutil.copyfile(figure, gallery / f"{figure.parents[1].name}_{figure.name}")


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def _say_failure(job: Job, failure: Failure) -> None:
    where = f" in {failure.cell}" if failure.cell else ""
    print(f"{job.name} failed{where}: {failure.reason}", file=sys.stderr)
    print(f"what it did up to there: {job.output}", file=sys.stderr, flush=True)


def run_notebooks(
    names: list[str],
    profile: str = "laptop",
    settings: Sequence[str] = (),
    run_dir: Path | None = None,
    force: bool = False,
    quiet: bool = False,
) -> bool:
    """`plan` and `run` in one; True when every notebook is done.

    Args:
        names: notebooks by name, number or path; empty for all.
        profile: `smoke`, `laptop` or `paper`.
        settings: parameters set by hand, as ``name=value``.
        run_dir: where results go; by default ``runs/<profile>`` of the project.
        force: run again what is done already.
        quiet: no progress lines.

    Raises:
        JepalibError: see `plan`.
    """
    jobs = plan(names, profile, list(settings), run_dir)
    if not jobs:
        raise JepalibError("nothing to run")
    gallery = profile == GALLERY_PROFILE and not (names or settings or run_dir)  # as it is shipped
    return run(jobs, profile, force, quiet, gallery)
