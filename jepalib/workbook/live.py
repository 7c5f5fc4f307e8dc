"""Pre-training started from a notebook, as a process of its own, with curves that move."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd
from matplotlib import pyplot
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.training.runs import Run
from jepalib.viz.widgets import is_live

DRAW_EVERY = 5.0  # seconds between two drawings of the curves


def pretrain_live(
    method: str,
    size: str,
    store: Path,
    run: Path,
    settings: Mapping[str, object],
    draw: Callable[[pd.DataFrame], Figure],
    processes: int = 1,
) -> Run:
    """Pre-train into a run folder; its curves are drawn anew every few seconds while someone watches.

    A process of its own, because it can then be one per GPU, and because stopping the
    cell stops it after a saved step: run the cell again to go on.

    Args:
        method, size, store, run: as for ``jepalib pretrain``.
        settings: what ``--set`` takes.
        draw: the figure for the metrics so far.
        processes: how many, one per GPU.

    Raises:
        JepalibError: the pre-training ended with an error; its last lines are in the message.
    """
    launch = (
        ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        if processes > 1
        else []
    )
    command = [sys.executable, *launch, "-m", "jepalib.workbook.cli", "pretrain"]
    command += ["--method", method, "--size", size, "--data", str(store), "--run", str(run)]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    said: deque[str] = deque(maxlen=5)
    curves = _Curves(run, draw)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            for line in process.stdout:
                said.append(line)
                print(line, end="", file=sys.stderr, flush=True)
                curves.refresh()
        except KeyboardInterrupt:
            process.terminate()  # the step in hand is finished and saved
            raise
    curves.close()
    if process.returncode:
        raise JepalibError(f"pre-training ended with status {process.returncode}: {''.join(said).strip()}")
    return Run.open(run)


class _Curves:
    """One display that is drawn over, where someone watches."""

    def __init__(self, run: Path, draw: Callable[[pd.DataFrame], Figure]) -> None:
        self.run, self.draw, self.handle, self.last = run, draw, None, 0.0

    def refresh(self) -> None:
        if (
            not is_live()
            or time.monotonic() - self.last < DRAW_EVERY
            or not (self.run / "config.json").is_file()
        ):
            return
        metrics = Run.open(self.run).metrics()
        if len(metrics) < 2:
            return
        from IPython.display import display

        figure = self.draw(metrics)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        pyplot.close(figure)
        self.last = time.monotonic()

    def close(self) -> None:
        """Leaves no second picture beside the final figure."""
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)
