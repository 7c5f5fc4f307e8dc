"""Sweeps: one small notebook run once for every point, each by itself, kept, and gone on with.

A point is a set of parameters for the point notebook. Its result lies in
``NOTEBOOK/points/POINT`` of the run folder, beside the executed ``POINT.ipynb``, and is booked
as that of any notebook is (`runner.Job`). So the collecting notebook and any number of
cluster jobs can make points of one sweep at the same time: whoever makes a point holds a
lock on it, which ends with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import torch

from jepalib.errors import JepalibError
from jepalib.processes import die_with_parent
from jepalib.progress import Progress
from jepalib.workbook.notebook import RESULT, Stage, project_root
from jepalib.workbook.parameters import read_parameters
from jepalib.workbook.runner import Job, run_job

BUSY, KEPT, MADE = "busy", "kept", "made"  # what became of a point, if it did not fail


@dataclass(frozen=True)
class Point:
    """One point: its name, which is that of its folder, and the parameters of the point notebook."""

    name: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Sweep:
    """All points of a collecting notebook.

    Attributes:
        name: of the collecting notebook, such as "07_ablations".
        notebook: of the points, a name in ``notebooks/points``. It gets `run_dir` and `point`,
            the name for `notebook.start`, beside the parameters of the point.
        points: in the order in which they are made.
        needs: notebooks whose results the points read.
    """

    name: str
    notebook: str
    points: tuple[Point, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class PointJob(Job):
    """A point as the runner executes it."""

    @property
    def short(self) -> str:
        """The point's own name."""
        return Path(self.name).name

    @contextmanager
    def claimed(self, patient: bool) -> Iterator[bool]:
        """Hold this point alone, waiting for it if `patient`; False while another process holds it.

        The lock is the system's (flock): it goes with the process that holds it, so that a
        killed one blocks nobody.
        """
        place = (self.run_dir / self.name).parent
        place.mkdir(parents=True, exist_ok=True)
        with open(place / f".{self.short}.lock", "w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if patient else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError as error:
                raise JepalibError(
                    f"{place}: this file system cannot lock files ({error.strerror}), which points need; "
                    "give --out on another one (Lustre: mounted with the option flock)"
                ) from None
            yield True


def point_jobs(sweep: Sweep, run_dir: Path) -> list[PointJob]:
    """The points of a sweep with all their parameters, checked.

    Raises:
        JepalibError: the point notebook is not there, or has no such parameter, or a value
            is of the wrong type; two points have one name; a notebook that the points
            read has not run.
    """
    source = project_root() / "notebooks" / "points" / f"{sweep.notebook}.ipynb"
    if not source.is_file():
        raise JepalibError(f"{sweep.name}: no point notebook {source}; run this in a checkout of jepalib")
    names = [point.name for point in sweep.points]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise JepalibError(f"{sweep.name}: several points are called {', '.join(twice)}")
    for needed in sweep.needs:
        Stage(sweep.name, run_dir).earlier(needed)
    known = read_parameters(nbformat.read(source, as_version=4), source.name)
    jobs = []
    for point in sweep.points:
        place = f"{sweep.name}/points/{point.name}"
        values = {**point.parameters, "run_dir": str(run_dir), "point": place}
        for name, value in values.items():
            if name not in known or not known[name].accepts(value):
                wanted = known[name].kind if name in known else f"one of {', '.join(known)}"
                raise JepalibError(f"{place}: {name}={value!r}, but {source.name} takes {wanted}")
        jobs.append(PointJob(source, values, run_dir, place))
    return jobs


def run_points(stage: Stage, sweep: Sweep, workers: int = 0, quiet: bool = False) -> pd.DataFrame:
    """The results of all points, after making those that are missing.

    Called by the collecting notebook, which from then on depends on every point and on
    the point notebook.

    Args:
        workers: processes; 0 for one per GPU, or per core where there is none.

    Returns:
        a row per point, in order: `point` and what it handed to ``stage.finish``.

    Raises:
        JepalibError: see `point_jobs` and `make_points`.
    """
    jobs = point_jobs(sweep, stage.run_dir)
    make_points(jobs, workers, quiet=quiet)
    stage.depends(jobs[0].source)
    results = [json.loads(stage.depends(job.manifest.with_name(RESULT)).read_text()) for job in jobs]
    return pd.DataFrame([{"point": job.short, **result["values"]} for job, result in zip(jobs, results)])


def make_points(
    jobs: Sequence[PointJob], workers: int = 0, force: bool = False, quiet: bool = False
) -> dict[str, str]:
    """Make the points that are not there or no longer hold; what became of each by name.

    A point that another process is making is left until all others are done, then waited
    for, and made here if that process did not.

    Args:
        workers: as for `run_points`.
        force: make again what is there.

    Raises:
        JepalibError: some points failed; the others are kept, and a further call makes the rest.
    """
    became = {} if force else _kept(jobs)
    missing = [job for job in jobs if job.short not in became]
    if not quiet and became:
        print(f"{len(became)} of {len(jobs)} points are done already", file=sys.stderr, flush=True)
    if missing:
        with Progress(len(missing), jobs[0].name.split("/")[0], unit="points", quiet=quiet) as bar:
            became |= _make_all(missing, min(workers or default_workers(), len(missing)), force, bar)
    failed = {name: text for name, text in became.items() if text not in (KEPT, MADE)}
    if failed:
        name, reason = next(iter(failed.items()))
        place = (jobs[0].run_dir / jobs[0].name).with_name(f"{name}.ipynb")
        raise JepalibError(
            f"{len(failed)} of {len(jobs)} points failed ({', '.join(failed)}). {name}: {reason}. What it "
            f"did up to there: {place}. The others are kept; call again to make those that are missing"
        )
    return became


def default_workers() -> int:
    """One process per GPU; without a GPU one per core, each on one thread."""
    return torch.cuda.device_count() or len(os.sched_getaffinity(0))


def _kept(jobs: Sequence[PointJob]) -> dict[str, str]:
    """The points whose results still hold."""
    kept = {}
    for job in jobs:
        with job.claimed(patient=False) as ours:
            if ours and job.done():
                kept[job.short] = KEPT
    return kept


def _make_all(jobs: list[PointJob], workers: int, force: bool, bar: Progress) -> dict[str, str]:
    """Every point in one of the workers; busy ones once more at the end, with patience."""
    context = multiprocessing.get_context("spawn")
    devices, stop = context.SimpleQueue(), context.Event()
    for device in _devices(workers):
        devices.put(device)
    became, busy = {}, []
    with ProcessPoolExecutor(workers, context, _begin, (devices, stop)) as pool:
        try:
            for patient in (False, True):
                made = {pool.submit(_make, job, patient, force): job for job in (busy if patient else jobs)}
                busy = [job for job, outcome in _outcomes(made) if _noted(job, outcome, became, bar)]
                if busy and not patient:
                    bar.add(0, note=f"waiting for {', '.join(job.short for job in busy)}, made elsewhere")
        except BrokenProcessPool:
            raise JepalibError(
                "a worker was killed, perhaps for want of memory; the points so far are kept: call again, "
                "perhaps with fewer workers"
            ) from None
        except BaseException:
            stop.set()  # an interrupt: the points in hand are given up, their checkpoints kept
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return became


def _outcomes(made: dict[Future[str], PointJob]) -> Iterator[tuple[PointJob, str]]:
    """Points with what became of them, as they end."""
    waiting = set(made)
    while waiting:
        ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from ((made[future], future.result()) for future in ended)


def _noted(job: PointJob, outcome: str, became: dict[str, str], bar: Progress) -> bool:
    """Books an outcome; True where the point is to be tried again."""
    if outcome != BUSY:
        became[job.short] = outcome
        bar.add(1, note=job.short)
    return outcome == BUSY


def _devices(workers: int) -> list[str]:
    """The GPU of each worker, as CUDA_VISIBLE_DEVICES names them; empty texts without one."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    known = given.split(",") if given else [str(number) for number in range(torch.cuda.device_count())]
    return [known[i % len(known)] if torch.cuda.device_count() else "" for i in range(workers)]


def _begin(devices: Any, stop: Any) -> None:
    """A worker: ends with its parent or when told to, leaves interrupts to the parent, takes a GPU."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if device := devices.get():
        os.environ["CUDA_VISIBLE_DEVICES"] = device

    def follow() -> None:
        stop.wait()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=follow, name="jepalib stop", daemon=True).start()


def _make(job: PointJob, patient: bool, force: bool) -> str:
    """One point: what became of it, or why it failed."""
    with job.claimed(patient) as ours:
        if not ours:
            return BUSY
        if not force and job.done():
            return KEPT
        failure = run_job(job, job.short, quiet=True)
        return failure.reason if failure else MADE
