"""`jepalib sweep`: the points of a sweep without its collecting notebook, all or a share of them.

This is what a cluster runs as a job array; the notebook, run afterwards, finds them done.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from jepalib.errors import JepalibError
from jepalib.workbook import ablations, scaling
from jepalib.workbook.runner import plan
from jepalib.workbook.sweeps import PointJob, Sweep, point_jobs

# By collecting notebook; the arguments are parameters of that notebook.
SWEEPS: dict[str, Callable[..., Sweep]] = {"07_ablations": ablations.sweep, "13_scaling": scaling.sweep}


def planned(name: str, profile: str, settings: Sequence[str], out: Path | None) -> list[PointJob]:
    """The points that the notebook `name` would make with the same profile and parameters.

    Raises:
        JepalibError: unknown sweep, profile or parameter; `sweeps.point_jobs` for the rest.
    """
    matches = [known for known in SWEEPS if name in (known, known.split("_")[0])]
    if not matches:
        raise JepalibError(f"no sweep '{name}'; there are: {', '.join(SWEEPS)}")
    (job,) = plan(matches, profile, list(settings), out)
    make = SWEEPS[job.name]
    return point_jobs(make(**{p: job.parameters[p] for p in inspect.signature(make).parameters}), job.run_dir)


def chosen(jobs: Sequence[PointJob], names: Sequence[str], share: str) -> list[PointJob]:
    """The points of the given names, or of a share I/N: every N-th from the I-th, counted from 0.

    Raises:
        JepalibError: no such point, or no such share.
    """
    if names and share:
        raise JepalibError("--point and --share: give one of them")
    known = {job.short: job for job in jobs}
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "--list shows all"
            raise JepalibError(f"no point '{name}' among the {len(known)} of this sweep; {hint}")
    if share:
        return list(jobs)[_share(share)]
    return [known[name] for name in names] if names else list(jobs)


def _share(text: str) -> slice:
    numbers = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    if not numbers:
        raise JepalibError(
            f"--share {text}: give I/N, such as $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT in a job array"
        )
    index, count = int(numbers[1]), int(numbers[2])
    if index >= count:
        raise JepalibError(f"--share {text}: I is counted from 0 (#SBATCH --array=0-{max(count - 1, 0)})")
    return slice(index, None, count)


def state(job: PointJob) -> str:
    """Whether a point is done, being made by some process, or still to do."""
    with job.claimed(patient=False) as ours:
        if not ours:
            return "being made"
        if earlier := job.done():
            return f"done in {earlier['seconds']:.0f} s"
        return "to do"
