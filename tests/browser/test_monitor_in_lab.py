"""The training monitor in JupyterLab follows a run that another process is writing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import nbformat.v4
import pytest
from lab import COPIES, HERE, SMOKE, Lab
from page import NotebookPage, blank
from playwright.sync_api import BrowserContext

pytestmark = pytest.mark.browser

RUN = HERE / "live" / "monitored"
SOURCE = f"""from jepalib.viz.monitor import TrainingMonitor
TrainingMonitor({str(RUN)!r}, every=0.5)"""
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def pretraining() -> subprocess.Popen[bytes]:
    """A small one, started as a user would start it elsewhere."""
    store = json.loads((SMOKE / "01_explore" / "result.json").read_text())["values"]["store"]
    command = [sys.executable, "-m", "jepalib.workbook.cli", "pretrain", "--method", "jp-jepa"]
    command += ["--size", "nano", "--data", store, "--run", str(RUN), "--set", "steps=30"]
    return subprocess.Popen([*command, "--set", "batch_size=64", "--set", "log_every=2"])


def test_the_monitor_follows_a_run_that_is_being_written(
    earlier: None, lab: Lab, browser: BrowserContext
) -> None:
    shutil.rmtree(RUN, ignore_errors=True)
    cell = nbformat.v4.new_code_cell(SOURCE)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell], metadata=KERNEL), COPIES / "monitor.ipynb")
    page = NotebookPage(browser.new_page(), "monitor")
    page.open(lab.url("monitor.ipynb"))
    page.run_all()
    area = page.show("TrainingMonitor(")
    picture, said = area.locator(".widget-image"), area.get_by_role("status")
    waiting = page.picture(picture)
    with pretraining() as process:
        page.until(lambda: page.picture(picture).size != waiting.size, "no curves instead of a sentence")
        page.check(process.poll() is None, "the curves come only after the training")
        begun = page.picture(picture)
        page.shot("begun")
        page.until(lambda: "finished" in said.inner_text(), "the end of the training is not told")
    assert process.returncode == 0
    page.shot("finished")
    page.check(page.picture(picture).tobytes() != begun.tobytes(), "the curves did not go on")
    page.check(not blank(page.picture(picture)), "blank curves")
    page.check(picture.count() == 1, f"{picture.count()} pictures, not one")
    page.check(not (told := page.alerts(area)), f"the monitor says: {told}")
    page.check(not (found := page.errors()), f"errors: {found}")
    page.close()
