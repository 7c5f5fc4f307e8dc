"""The monitor follows a folder that somebody else writes, and stops only its own watching."""

import asyncio
import json
from pathlib import Path

import pytest

from jepalib.errors import JepalibError
from jepalib.viz import monitor
from jepalib.viz.monitor import MonitorPanel, TrainingMonitor, run_folders

TICK = 0.02


def add_lines(folder: Path, first: int, last: int, steps: int = 100) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"steps": steps}))
    with (folder / "metrics.jsonl").open("a") as file:
        for i in range(first, last + 1):
            row = {"step": 10 * i, "loss": 3 / i, "loss_cls": 1 / i, "jets_seen": 500 * i, "seconds": 1.0 * i}
            file.write(json.dumps(row) + "\n")


@pytest.fixture
def drawn(monkeypatch) -> list[int]:
    """The number of lines of each drawing."""
    found = []
    real = monitor.curves_or_sentence

    def recorded(status):
        found.append(len(status.metrics))
        return real(status)

    monkeypatch.setattr(monitor, "curves_or_sentence", recorded)
    return found


def test_static_twin_is_the_curves_so_far_or_a_sentence(tmp_path):
    watched = TrainingMonitor(tmp_path / "run")
    assert [t.get_text() for t in watched.figure().texts] == ["no curves yet: not there yet"]
    add_lines(tmp_path / "run", 1, 4)
    loss = watched.figure().axes[0].lines[0]
    assert loss.get_xdata().tolist() == [10, 20, 30, 40]
    assert loss.get_ydata() == pytest.approx([3, 1.5, 1, 0.75])


def test_it_follows_between_other_work_until_the_run_has_finished(tmp_path, drawn):
    async def watch() -> None:
        panel = MonitorPanel(TrainingMonitor(tmp_path / "run", every=TICK))
        panel.follow()
        await asyncio.sleep(3 * TICK)
        assert "not there yet" in panel.sentence.value
        empty = panel.image.value
        add_lines(tmp_path / "run", 1, 3)
        await until(lambda: panel.progress.value == 30)
        assert (panel.progress.max, panel.progress.bar_style) == (100, "info")
        assert "step 30 of 100, 500 jets/s, 7 s left" in panel.sentence.value
        assert panel.image.value[:4] == b"\x89PNG"
        assert panel.image.value != empty
        assert panel.image.tooltip is None  # an Image with one is not drawn by ipywidgets 8.1 in JupyterLab
        await asyncio.sleep(3 * TICK)
        add_lines(tmp_path / "run", 4, 10)
        (tmp_path / "run" / "manifest.json").write_text("{}")
        await until(panel.task.done)
        assert "finished, step 100 of 100" in panel.sentence.value
        assert panel.progress.bar_style == "success"

    asyncio.run(watch())
    assert drawn[-1] == 10
    assert len(drawn) <= 4  # drawn anew only where something is new


async def until(true) -> None:
    for _ in range(500):
        if true():
            return
        await asyncio.sleep(TICK)
    raise AssertionError("nothing happened in 10 seconds")


def test_the_button_stops_the_watching_and_goes_on_with_it(tmp_path, drawn):
    async def watch() -> None:
        add_lines(tmp_path, 1, 3)
        panel = MonitorPanel(TrainingMonitor(tmp_path, every=TICK))
        panel.follow()
        panel.watching.value = False
        assert "(not followed)" in panel.sentence.value
        await asyncio.sleep(2 * TICK)
        assert panel.task.cancelled()
        add_lines(tmp_path, 4, 5)
        await asyncio.sleep(5 * TICK)
        assert panel.progress.value == 30
        panel.watching.value = True
        assert panel.progress.value == 50
        assert not panel.task.done()
        panel.task.cancel()

    asyncio.run(watch())
    assert not (tmp_path / "failure.txt").exists()


def test_failures_stalls_and_mistakes_are_told(tmp_path, monkeypatch):
    add_lines(tmp_path, 1, 3)
    panel = MonitorPanel(TrainingMonitor(tmp_path))
    (tmp_path / "failure.txt").write_text("the loss is <nan> at step 31\n")
    panel.refresh()
    assert "failed at step 30 of 100: the loss is &lt;nan&gt; at step 31" in panel.sentence.value
    assert panel.progress.bar_style == "danger"

    async def survive() -> None:
        (tmp_path / "failure.txt").unlink()
        panel.monitor.every = TICK
        panel.follow()
        good = panel.monitor.status
        monkeypatch.setattr(panel.monitor, "status", lambda number: 1 / 0)
        await until(lambda: "ZeroDivisionError" in panel.guard.line.value)
        assert not panel.task.done()
        monkeypatch.setattr(panel.monitor, "status", good)
        await until(lambda: panel.guard.line.value == "")
        panel.task.cancel()

    asyncio.run(survive())


def test_one_of_several_runs_is_chosen(tmp_path):
    add_lines(tmp_path / "jp-jepa" / "a", 1, 2)
    add_lines(tmp_path / "jp-jepa" / "b", 1, 6)
    add_lines(tmp_path / "jp-jepa" / "b" / "snapshots" / "500", 1, 1)  # no training of its own
    folders = run_folders(tmp_path)
    assert [folder.name for folder in folders] == ["a", "b"]
    panel = MonitorPanel(TrainingMonitor(tmp_path))
    assert panel.run.options == (("a", 0), ("b", 1))
    assert panel.progress.value == 20
    before = panel.image.value
    panel.run.value = 1
    assert panel.progress.value == 60
    assert panel.image.value != before
    assert run_folders(tmp_path / "not there") == [tmp_path / "not there"]
    several = TrainingMonitor([folders[1], tmp_path / "later", tmp_path]).folders
    assert [folder.name for folder in several] == ["b", "later", "a"]


def test_a_new_kernel_shows_what_the_old_one_did(tmp_path):
    add_lines(tmp_path, 1, 5)
    first, second = (MonitorPanel(TrainingMonitor(tmp_path)) for _ in range(2))
    assert first.image.value == second.image.value
    assert first.sentence.value == second.sentence.value


def test_controls_have_labels_and_no_folder_is_refused(tmp_path):
    panel = MonitorPanel(TrainingMonitor(tmp_path))
    assert all(control.description for control in (panel.run, panel.watching, panel.progress))
    with pytest.raises(JepalibError, match="0 folders"):
        TrainingMonitor([])
    with pytest.raises(JepalibError, match=r"every 0\.0 s"):
        TrainingMonitor(tmp_path, every=0.0)
