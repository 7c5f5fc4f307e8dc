"""Sweeps on a small point notebook: made once, kept, gone on with, never by two at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from jepalib.errors import JepalibError
from jepalib.workbook import job_array, sweeps
from jepalib.workbook.notebook import Stage
from jepalib.workbook.sweeps import Point, Sweep, make_points, point_jobs, run_points

PARAMETERS = (
    'run_dir: str = "runs/x"\npoint: str = "p"\nvalue: int = 0\nkills: bool = False\nseconds: float = 0.0'
)
# Counts to three in a file of its own, as a training does with its checkpoints; may be killed after two.
COUNT = """
import json, os, pathlib, signal, time
folder = pathlib.Path(run_dir) / point
folder.mkdir(parents=True, exist_ok=True)
with open("log", "a") as log:
    print(folder.name, file=log)
time.sleep(seconds)
steps = folder / "steps"
done = begun = int(steps.read_text()) if steps.is_file() else 0
while done < 3:
    if kills and done == 2 and begun == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    done += 1
    steps.write_text(str(done))
"""
FINISH = """
record = {"values": {"value": value, "begun": begun}, "paths": {}, "key": os.environ["JEPALIB_NOTEBOOK_KEY"]}
(folder / "result.json").write_text(json.dumps(record))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with one point notebook that is the current folder."""
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    (tmp_path / "notebooks" / "points").mkdir()
    notebook = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    notebook.cells = [
        new_markdown_cell("# A point"),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell(COUNT),
        new_code_cell(FINISH),
    ]
    nbformat.write(notebook, tmp_path / "notebooks" / "points" / "count.ipynb")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def sweep_of(**points: dict) -> Sweep:
    return Sweep("09_count", "count", tuple(Point(name, values) for name, values in points.items()))


def log(project: Path) -> list[str]:
    """The points that were executed so far."""
    file = project / "log"
    return sorted(file.read_text().split()) if file.is_file() else []


def test_made_once_kept_and_gone_on_with(project: Path) -> None:
    stage = Stage("09_count", project / "runs" / "smoke")
    sweep = sweep_of(a={"value": 1}, b={"value": 2, "kills": True}, c={"value": 3})
    with pytest.raises(JepalibError, match=r"1 of 3 points failed \(b\). b: the kernel was killed"):
        run_points(stage, sweep, workers=2, quiet=True)
    assert log(project) == ["a", "b", "c"]
    table = run_points(stage, sweep, workers=2, quiet=True)
    assert log(project) == ["a", "b", "b", "c"]  # a and c were kept
    assert table.to_dict("list") == {"point": ["a", "b", "c"], "value": [1, 2, 3], "begun": [0, 2, 0]}
    assert {path.name for path in stage.paths} == {"count.ipynb", "result.json"}
    place = stage.run_dir / "09_count" / "points"
    assert (place / "b.ipynb").is_file()
    assert json.loads((place / "b" / "manifest.json").read_text())["status"] == "done"


def test_made_again_only_where_something_changed(project: Path) -> None:
    run_dir = project / "runs"

    def made(**points: dict) -> list[str]:
        return [
            sweeps._make(job, patient=True, force=False) for job in point_jobs(sweep_of(**points), run_dir)
        ]

    assert made(a={"value": 1}, b={"value": 2}) == ["made", "made"]
    assert made(a={"value": 1}, b={"value": 5}) == ["kept", "made"]
    source = project / "notebooks" / "points" / "count.ipynb"
    source.write_text(source.read_text().replace("# A point", "# Another point"))
    assert made(a={"value": 1}) == ["made"]
    jobs = point_jobs(sweep_of(a={"value": 1}), run_dir)
    assert sweeps._make(jobs[0], patient=True, force=True) == "made"
    assert make_points(jobs, quiet=True) == {"a": "kept"}  # no worker is even started


def hold(job: sweeps.PointJob, ready: multiprocessing.Event) -> None:
    with job.claimed(patient=True):
        ready.set()
        time.sleep(60)


def test_a_claim_is_respected_and_ends_with_its_process(project: Path) -> None:
    (job,) = point_jobs(sweep_of(a={"value": 1}), project / "runs")
    context = multiprocessing.get_context("fork")
    ready = context.Event()
    holder = context.Process(target=hold, args=(job, ready))
    holder.start()
    assert ready.wait(20)
    assert sweeps._make(job, patient=False, force=False) == "busy"
    assert job_array.state(job) == "being made"
    assert not job.manifest.exists()
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    assert job_array.state(job) == "to do"
    assert sweeps._make(job, patient=False, force=False) == "made"
    assert job_array.state(job).startswith("done in ")


def test_a_busy_point_is_left_for_last_then_waited_for(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def make(job: sweeps.PointJob, patient: bool, force: bool) -> str:
        asked.append((job.short, patient))
        return "made" if job.short == "b" else "kept" if patient else "busy"

    @contextmanager
    def at_once(*_: object) -> Iterator[SimpleNamespace]:
        def submit(function, *arguments) -> Future:
            future = Future()
            future.set_result(function(*arguments))
            return future

        yield SimpleNamespace(submit=submit)

    monkeypatch.setattr(sweeps, "_make", make)
    monkeypatch.setattr(sweeps, "ProcessPoolExecutor", at_once)
    jobs = point_jobs(sweep_of(a={}, b={}), project / "runs")
    assert make_points(jobs, 1, quiet=True) == {"a": "kept", "b": "made"}
    assert asked == [("a", False), ("b", False), ("a", True)]


@pytest.mark.slow
def test_two_processes_share_the_work_and_never_a_point(project: Path) -> None:
    script = (
        "from pathlib import Path\nfrom jepalib.workbook.sweeps import *\n"
        "points = tuple(Point(name, {'seconds': 1.5}) for name in 'abc')\n"
        "jobs = point_jobs(Sweep('09_count', 'count', points), Path.cwd() / 'runs')\n"
        "if __name__ == '__main__':\n    print(sorted(set(make_points(jobs, 1, quiet=True).values())))\n"
    )
    (project / "both.py").write_text(script)
    command = [sys.executable, "both.py"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert log(project) == ["a", "b", "c"]


def test_what_is_wrong_with_a_sweep_is_said_before_it_starts(project: Path) -> None:
    run_dir = project / "runs"
    with pytest.raises(JepalibError, match=r"valu=1, but count.ipynb takes one of run_dir, point, value"):
        point_jobs(sweep_of(a={"valu": 1}), run_dir)
    with pytest.raises(JepalibError, match=r"value='1', but count.ipynb takes int"):
        point_jobs(sweep_of(a={"value": "1"}), run_dir)
    twice = Sweep("09_count", "count", (Point("a", {}), Point("a", {"value": 2})))
    with pytest.raises(JepalibError, match="several points are called a"):
        point_jobs(twice, run_dir)
    with pytest.raises(JepalibError, match="no point notebook"):
        point_jobs(Sweep("09_count", "other", ()), run_dir)
    with pytest.raises(JepalibError, match="09_count goes on from 01_explore, which has not run"):
        point_jobs(Sweep("09_count", "count", (), needs=("01_explore",)), run_dir)
    assert not run_dir.exists()


def test_every_worker_gets_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert sweeps.default_workers() == len(os.sched_getaffinity(0))
    assert sweeps._devices(3) == ["", "", ""]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert sweeps.default_workers() == 2
    assert sweeps._devices(3) == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert sweeps._devices(2) == ["4", "7"]
