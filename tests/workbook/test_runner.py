"""The runner on small notebooks of its own: success, failure, death, skipping, refusal."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from jepalib.errors import JepalibError
from jepalib.workbook import runner

PARAMETERS = 'run_dir: str = "runs/smoke"\nseed: int = 0  # of everything\nlabels: list[int] = [1, 2]'
FINISH = """
import json, os, pathlib
folder = pathlib.Path(run_dir) / NAME
folder.mkdir(exist_ok=True)
values = {"seed": seed, "labels": labels, "headless": os.environ["JEPALIB_HEADLESS"]}
record = {"values": values, "findings": ["seed < 7"], "figures": [], "tables": [], "paths": PATHS}
record["key"] = os.environ["JEPALIB_NOTEBOOK_KEY"]
(folder / "result.json").write_text(json.dumps(record))
"""


def write_notebook(root: Path, name: str, *cells: str) -> Path:
    """A notebook with a title, the parameters cell and the given code cells."""
    notebook = new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    opening = new_markdown_cell(f"# Title of {name}\n\nA question with *stress*?")
    notebook.cells = [opening, parameters, *[new_code_cell(cell) for cell in cells]]
    path = root / "notebooks" / f"{name}.ipynb"
    nbformat.write(notebook, path)
    return path


def finish(name: str, paths: dict[str, str] | None = None) -> str:
    return FINISH.replace("/ NAME", f"/ {name!r}").replace("PATHS", repr(paths or {}))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout that is the current folder."""
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def manifest(project: Path, name: str, profile: str = "smoke") -> dict:
    return json.loads((project / "runs" / profile / name / "manifest.json").read_text())


def test_runs_in_order_then_skips_and_runs_again_only_what_changed(project: Path) -> None:
    data = project / "data.txt"
    data.write_text("a")
    mark = runner.fingerprint(data)
    log = f"open({str(project / 'log')!r}, 'a').write('NAME ')"
    write_notebook(
        project, "02_second", log.replace("NAME", "second"), finish("02_second", {str(data): mark})
    )
    write_notebook(project, "01_first", log.replace("NAME", "first"), finish("01_first"))

    assert runner.run_notebooks([], "smoke", ["labels=5,6"], quiet=True)
    result = json.loads((project / "runs/smoke/02_second/result.json").read_text())
    assert result["values"] == {"seed": 0, "labels": [5, 6], "headless": "1"}
    assert manifest(project, "01_first")["status"] == "done"

    assert runner.run_notebooks([], "smoke", ["labels=5,6"], quiet=True)
    assert (project / "log").read_text() == "first second "  # nothing ran twice

    data.write_text("b")  # an input of the second
    with pytest.raises(AssertionError):
        assert runner.fingerprint(data) == mark
    assert runner.run_notebooks([], "smoke", ["labels=5,6"], quiet=True)
    assert (project / "log").read_text() == "first second second "

    assert runner.run_notebooks(["01"], "smoke", ["labels=5"], quiet=True)  # another parameter
    assert runner.run_notebooks(["01_first"], "smoke", ["labels=5"], force=True, quiet=True)
    assert (project / "log").read_text() == "first second second first first "


def test_a_failing_cell_is_reported_and_stops_the_rest(project: Path, capfd: pytest.CaptureFixture) -> None:
    write_notebook(project, "01_bad", "raise ValueError('the <b>reason</b>')", finish("01_bad"))
    write_notebook(project, "02_never", finish("02_never"))
    assert not runner.run_notebooks([], "smoke")
    assert "01_bad failed in cell" in capfd.readouterr().err
    failure = manifest(project, "01_bad")["failure"]
    assert failure["reason"] == "ValueError: the <b>reason</b>"
    assert "raise ValueError" in failure["traceback"]
    assert not (project / "runs/smoke/02_never").exists()
    page = (project / "runs/smoke/index.html").read_text()
    assert "the &lt;b&gt;reason&lt;/b&gt;" in page
    assert "Title of 01_bad" in page
    assert "A question with stress?" in page


def test_a_killed_kernel_is_a_failure_with_status_one(project: Path) -> None:
    write_notebook(
        project, "01_dies", finish("01_dies"), "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-m", "jepalib.workbook.cli", "run", "--profile", "smoke"]
    ended = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert "kernel was killed" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert manifest(project, "01_dies")["status"] == "failed"  # although its result was written


def test_a_notebook_that_never_finishes_is_a_failure(project: Path) -> None:
    write_notebook(project, "01_silent", "1 + 1")
    assert not runner.run_notebooks([], "smoke", quiet=True)
    assert "stage.finish" in manifest(project, "01_silent")["failure"]["reason"]


def test_kernel_talks_over_ipc_and_nothing_is_left(project: Path) -> None:
    look = "import ipykernel, json\nconnection = json.load(open(ipykernel.get_connection_file()))"
    look += (
        f"\nopen({str(project / 'transport')!r}, 'w').write(connection['transport'] + ' ' + connection['ip'])"
    )
    write_notebook(project, "01_look", look, finish("01_look"))
    assert runner.run_notebooks([], "smoke", quiet=True)
    transport, sockets = (project / "transport").read_text().split()
    assert transport == "ipc"
    assert not Path(sockets).parent.exists()


def test_progress_lines_in_a_log(project: Path, monkeypatch: pytest.MonkeyPatch, capfd) -> None:
    monkeypatch.setattr("jepalib.workbook.execution.LINE_EVERY", 0.2)
    write_notebook(
        project, "01_slow", "import time\nprint('halfway there')\ntime.sleep(1)", finish("01_slow")
    )
    assert runner.run_notebooks([], "smoke")
    lines = capfd.readouterr().err.splitlines()
    assert any(line.startswith("[1/1] 01_slow: cell 4/5, ") and "halfway there" in line for line in lines)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["sede=1"], "did you mean seed"),
        (["seed=one"], "takes int"),
        (["seed=1.5"], "takes int"),
        (["labels=1,x"], r"takes list\[int\]"),
        (["seed"], "name=value"),
    ],
)
def test_refuses_before_anything_starts(project: Path, settings: list[str], message: str) -> None:
    write_notebook(project, "01_first", finish("01_first"))
    began = time.monotonic()
    with pytest.raises(JepalibError, match=message):
        runner.run_notebooks([], "smoke", settings)
    assert time.monotonic() - began < 2
    assert not (project / "runs").exists()


def test_unknown_profile_and_notebook(project: Path) -> None:
    write_notebook(project, "01_first", finish("01_first"))
    with pytest.raises(JepalibError, match="smoke, laptop, paper"):
        runner.run_notebooks([], "huge")
    with pytest.raises(JepalibError, match="there are: 01_first"):
        runner.run_notebooks(["07"], "smoke")


def test_the_default_run_fills_the_gallery(project: Path) -> None:
    draw = "folder = __import__('pathlib').Path(run_dir) / '01_first' / 'figures'\nfolder.mkdir(parents=True)"
    write_notebook(
        project, "01_first", draw + "\n(folder / 'a.png').write_bytes(b'picture')", finish("01_first")
    )
    assert runner.run_notebooks([], "smoke", quiet=True)
    assert not (project / "figures").exists()
    assert runner.run_notebooks([], "laptop", quiet=True)
    assert (project / "figures" / "01_first_a.png").read_bytes() == b"picture"


def test_a_part_or_changed_default_run_leaves_the_gallery_alone(project: Path) -> None:
    draw = "folder = __import__('pathlib').Path(run_dir) / '01_first' / 'figures'\nfolder.mkdir(parents=True)"
    write_notebook(
        project, "01_first", draw + "\n(folder / 'a.png').write_bytes(b'picture')", finish("01_first")
    )
    assert runner.run_notebooks(["01"], "laptop", quiet=True)
    assert not (project / "figures").exists()


def test_a_result_written_by_hand_is_not_taken_for_the_runners(project: Path) -> None:
    write_notebook(project, "01_first", finish("01_first"))
    assert runner.run_notebooks([], "smoke", quiet=True)
    folder = project / "runs" / "smoke" / "01_first"
    result = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**result, "key": None}))
    before = (folder / "manifest.json").stat().st_mtime_ns
    assert runner.run_notebooks([], "smoke", quiet=True)
    assert (folder / "manifest.json").stat().st_mtime_ns > before


def test_the_run_folder_is_no_parameter(project: Path) -> None:
    write_notebook(project, "01_first", finish("01_first"))
    with pytest.raises(JepalibError, match="choose the folder with --out"):
        runner.run_notebooks([], "smoke", ["run_dir=elsewhere"])
