"""Pre-training started from a notebook, as processes of their own, with curves that move."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import joblib
import pandas as pd
import torch
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.processes import side_by_side
from jepalib.training.config import PretrainConfig
from jepalib.training.presets import changes
from jepalib.training.pretrain import pretrain
from jepalib.training.runs import Run
from jepalib.viz.widgets import is_live

DRAW_EVERY = 5.0  # seconds between two drawings of the curves
ERROR = "jepalib: "  # how the command line begins the message of a mistake


def pretrain_settings(steps: int, batch_size: int, seed: int) -> dict[str, object]:
    """What a notebook sets of a pre-training: some 60 lines of metrics and 10 checkpoints a run."""
    return {
        "steps": steps,
        "batch_size": batch_size,
        "log_every": max(1, steps // 60),
        "checkpoint_every": max(1, steps // 10),
        "seed": seed,
    }


def doublings(jets: int, number: int) -> list[int]:
    """Where to keep snapshots of a run over so many jets: at half of it, a quarter, and so on, rising."""
    return [jets >> n for n in range(number, 0, -1) if jets >> n]


def pretrain_live(
    method: str,
    size: str,
    store: Path,
    run: Path,
    settings: Mapping[str, object],
    draw: Callable[[pd.DataFrame], Figure],
    processes: int = 0,
) -> Run:
    """Pre-train into a run folder; its curves are drawn anew every few seconds while someone watches.

    Processes of their own, because there can then be one per GPU, and because stopping
    the cell stops them after a saved step: run the cell again to go on.

    Args:
        method, size, store, run: as for ``jepalib pretrain``.
        settings: what ``--set`` takes.
        draw: the figure for the metrics so far.
        processes: how many; 0 for what `processes_here` says.

    Raises:
        JepalibError: the pre-training ended with an error, which is in the message.
    """
    processes = processes or processes_here()
    command = [sys.executable, "-m", "jepalib.workbook.cli", "pretrain", "--processes", str(processes)]
    command += ["--method", method, "--size", size, "--data", str(store), "--run", str(run)]
    command += [part for name, value in settings.items() for part in ("--set", f"{name}={value}")]
    said: deque[str] = deque(maxlen=100)
    curves = _Curves(run, draw)
    with _started(command) as process:
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
        reason = [line.removeprefix(ERROR) for line in said if line.startswith(ERROR)] or list(said)
        raise JepalibError(f"pre-training ended with status {process.returncode}: {reason[-1].strip()}")
    return Run.open(run)


def pretrain_several(
    store: Path, runs: Mapping[Path, PretrainConfig], draw: Callable[[pd.DataFrame], Figure]
) -> list[Run]:
    """Several pre-trainings: side by side on the cores, or one after another where each takes all GPUs.

    Args:
        runs: configurations by run folder; what is there already is kept, or gone on with.
        draw: as in `pretrain_live`, for those that have all GPUs.

    Raises:
        JepalibError: one of them cannot be made, see `training.pretrain.pretrain`.
    """
    if torch.cuda.is_available():
        return [pretrain_live(c.method, c.size, store, path, changes(c), draw) for path, c in runs.items()]
    jobs = [joblib.delayed(pretrain)(config, store, path, quiet=True) for path, config in runs.items()]
    return list(side_by_side(jobs, min(len(jobs), len(os.sched_getaffinity(0)))))


def processes_here() -> int:
    """One process per GPU; without a GPU one per core, at most four.

    On a CPU the micro-batches of jets are too small for threads to share: one thread is
    as fast as two, and does not stall when another program takes a core.
    """
    return torch.cuda.device_count() or min(len(os.sched_getaffinity(0)), 4)


def _started(command: list[str]) -> subprocess.Popen[str]:
    """The processes, in a session of their own: an interrupt of the notebook must not kill them unsaved."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


class _Curves:
    """One display that is drawn over, where someone watches."""

    def __init__(self, run: Path, draw: Callable[[pd.DataFrame], Figure]) -> None:
        self.run, self.draw, self.handle, self.last = run, draw, None, 0.0

    def refresh(self) -> None:
        """Draws what there is, at most every `DRAW_EVERY` seconds."""
        if not is_live() or time.monotonic() - self.last < DRAW_EVERY:
            return
        if not (self.run / "config.json").is_file() or len(metrics := Run.open(self.run).metrics()) < 2:
            return
        from IPython.display import display

        figure = self.draw(metrics)
        if self.handle is None:
            self.handle = display(figure, display_id=True)
        else:
            self.handle.update(figure)
        self.last = time.monotonic()

    def close(self) -> None:
        """Leaves no second picture beside the final figure."""
        if self.handle is not None:
            self.handle.update({"text/plain": ""}, raw=True)
