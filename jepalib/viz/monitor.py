"""A pre-training followed from its run folder, while another process writes it."""

from __future__ import annotations

import asyncio
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.run_status import CONFIG, ENDED, RunStatus, read_status
from jepalib.viz.results import training_curves
from jepalib.viz.style import PAGE, new_figure
from jepalib.viz.widgets import Guard, png, show, wide

EVERY = 3.0  # seconds between two looks at the folder
BARS = {"finished": "success", "failed": "danger", "stalled": "warning"}  # of ipywidgets


class TrainingMonitor:
    """Curves and progress of runs that are being written; it reads their folders and nothing else.

    Shown as the last line of a cell, it is a panel that draws anew while someone watches, and the
    curves so far where no one does. The kernel stays free: the panel looks at the folder between
    cells. After a restart of the kernel, or in another notebook, it goes on where the run is.

    Args:
        folders: one or several, each a run folder or one below which there are some; the first is
            shown first. They need not be there yet.
        every: seconds between two looks.

    Raises:
        JepalibError: no folder is given.
    """

    def __init__(self, folders: Path | str | Sequence[Path | str], every: float = EVERY) -> None:
        given = [folders] if isinstance(folders, Path | str) else folders
        if not given or every <= 0:
            raise JepalibError(f"TrainingMonitor: {len(given)} folders every {every} s; give a run folder")
        found = [run for folder in given for run in run_folders(Path(folder))]
        self.folders, self.every = list(dict.fromkeys(found)), every

    def status(self, number: int = 0) -> RunStatus:
        """What the run says at this moment."""
        return read_status(self.folders[number])

    def figure(self, number: int = 0) -> Figure:
        """The static twin: the curves so far, or a sentence where there are none."""
        return curves_or_sentence(self.status(number))

    def controls(self) -> Any:
        """The live panel (an ipywidgets box), which follows the run."""
        panel = MonitorPanel(self)
        panel.follow()
        return panel.box

    def _ipython_display_(self) -> None:
        show(self)


def run_folders(folder: Path) -> list[Path]:
    """The folder if it is a run's or has no runs up to two levels below (it may become one), else those."""
    if (folder / CONFIG).is_file():
        return [folder]
    below = [file.parent for pattern in ("*", "*/*") for file in folder.glob(f"{pattern}/{CONFIG}")]
    return sorted(below) or [folder]


def curves_or_sentence(status: RunStatus) -> Figure:
    """`training_curves` of the lines so far; before the second line what can be said instead."""
    if {"step", "loss"} <= set(status.metrics.columns) and len(status.metrics) > 1:
        return training_curves(status.metrics)
    figure = new_figure(PAGE, 0.8)
    figure.text(0.5, 0.5, f"no curves yet: {status.sentence}", ha="center", va="center")
    return figure


class MonitorPanel:
    """Choice of the run, progress, sentence, curves, and a button that stops the watching only."""

    def __init__(self, monitor: TrainingMonitor) -> None:
        import ipywidgets as widgets

        self.monitor, self.task, self.drawn = monitor, None, None
        names = _short([str(folder) for folder in monitor.folders])
        self.run = widgets.Dropdown(
            options=[(name, i) for i, name in enumerate(names)], value=0, description="run", **wide()
        )
        self.watching = widgets.ToggleButton(
            True,
            description="follow",
            tooltip="Follow this run; the training itself is not touched",
            icon="eye",
        )
        self.progress = widgets.IntProgress(0, 0, 1, description="steps", **wide())
        self.sentence = widgets.HTML()
        self.image = widgets.Image(format="png", width=720)
        self.guard = Guard()
        self.run.observe(self.guard(self.choose), "value")
        self.watching.observe(self.guard(self.toggle), "value")
        controls = widgets.HBox([self.run, self.watching])
        self.box = widgets.VBox([controls, self.progress, self.sentence, self.image, self.guard.line])
        self.guard(self.refresh)()

    def refresh(self) -> RunStatus:
        """Look at the folder; draw anew if there is another line or another state."""
        number = self.run.value
        status = self.monitor.status(number)
        self.progress.max, self.progress.value = max(1, status.steps), min(status.step, max(1, status.steps))
        self.progress.bar_style = BARS.get(status.state, "info")
        followed = "" if self.watching.value or status.state in ENDED else " (not followed)"
        self.sentence.value = f'<p role="status">{html.escape(status.sentence + followed)}</p>'
        state = (number, len(status.metrics), status.step, status.state == "waiting")
        if state != self.drawn:
            self.image.value = png(curves_or_sentence(status))
            self.drawn = state
        return status

    def choose(self, _: dict[str, Any]) -> None:
        """Another run: show it, and follow it if it goes on."""
        self.refresh()
        self.follow()

    def toggle(self, _: dict[str, Any]) -> None:
        """Stop or go on watching."""
        if self.watching.value:
            self.follow()
        elif self.task is not None:
            self.task.cancel()
        self.refresh()

    def follow(self) -> None:
        """Look again and again between the cells of the kernel, until the run has ended."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # no kernel: whoever wants to see more calls `refresh`
            return
        if self.watching.value:
            self.task = loop.create_task(self._look())

    async def _look(self) -> None:
        """Until the run has finished or failed, or the task is cancelled; mistakes are told and survived."""
        while True:
            try:
                if self.refresh().state in ENDED:
                    return
                self.guard.line.value = ""
            except Exception as error:
                self.guard.tell(error)
            await asyncio.sleep(self.monitor.every)


def _short(names: list[str]) -> list[str]:
    """Names of folders without what all of them begin with."""
    parts = [Path(name).parts for name in names]
    depth = 0
    while len({part[: depth + 1] for part in parts}) == 1 and depth < min(map(len, parts)) - 1:
        depth += 1
    return [str(Path(*part[depth:])) for part in parts]
