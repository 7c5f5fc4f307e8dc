"""How a pre-training is doing, from the files of its run folder alone.

Whoever writes the folder may be another process, on another machine: nothing here asks it, and
nothing is written. `training.runs` says what the files are.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

METRICS, MANIFEST, CONFIG, FAILURE = "metrics.jsonl", "manifest.json", "config.json", "failure.txt"
RECENT = 10  # lines that rates are taken from
QUIET = 60.0  # seconds without a line, and
QUIET_LINES = 10  # times the usual distance of lines, after which a run counts as stalled
FIRST_LINE = 900.0  # seconds that the first line may take
ENDED = ("finished", "failed")


@dataclass(frozen=True)
class RunStatus:
    """What a run folder says.

    Attributes:
        state: "waiting" (nothing there yet), "running", "stalled" (no line for long: stopped, killed or
            waiting for a machine), "failed" or "finished".
        metrics: the lines of metrics.jsonl so far, a row each.
        step, steps: reached, and asked for (0 where not known).
        jets_per_second: of the last lines; NaN before the first.
        seconds_left: at this rate; NaN where not known, 0 when finished.
        quiet: seconds since something was written last; NaN where nothing is there.
        reason: of a failure, as its process wrote it.
    """

    state: str
    metrics: pd.DataFrame
    step: int = 0
    steps: int = 0
    jets_per_second: float = math.nan
    seconds_left: float = math.nan
    quiet: float = math.nan
    reason: str = ""

    @property
    def sentence(self) -> str:
        """All of it in words."""
        if self.state == "waiting":
            return "not there yet"
        at = f"step {self.step} of {self.steps}" if self.steps else f"step {self.step}"
        if self.state == "finished":
            return f"finished, {at}"
        if self.state == "failed":
            return f"failed at {at}: {self.reason}"
        if self.state == "stalled":
            return f"stalled at {at}: nothing written for {_duration(self.quiet)}; stopped, killed or queued"
        if not math.isfinite(self.jets_per_second):
            return "started, no metrics yet"
        return f"{at}, {self.jets_per_second:.0f} jets/s, {_duration(self.seconds_left)} left"


def read_status(folder: Path, now: float | None = None) -> RunStatus:
    """What the run folder says at this moment; never an exception, whatever is or is not there.

    Args:
        now: the time of the clock that files are stamped by; that of this machine if None.
    """
    folder, now = Path(folder), time.time() if now is None else now
    metrics = read_metrics(folder / METRICS)
    stamps = [_stamp(folder / name) for name in (METRICS, CONFIG)]
    if not (folder / CONFIG).is_file():
        return RunStatus("waiting", metrics)
    steps = _steps(folder / CONFIG)
    step = int(metrics.step.iloc[-1]) if "step" in metrics else 0
    rate, each, between = _rates(metrics)
    quiet = max(0.0, now - max(stamps))
    known = {"metrics": metrics, "step": step, "steps": steps, "jets_per_second": rate, "quiet": quiet}
    if (folder / MANIFEST).is_file():
        return RunStatus("finished", **known | {"seconds_left": 0.0})
    if (folder / FAILURE).is_file():
        return RunStatus("failed", **known, reason=_text(folder / FAILURE))
    patience = max(QUIET, QUIET_LINES * between) if math.isfinite(between) else FIRST_LINE
    state = "stalled" if quiet > patience else "running"
    return RunStatus(state, **known, seconds_left=each * max(0, steps - step) if steps else math.nan)


def read_metrics(file: Path) -> pd.DataFrame:
    """The whole lines of a metrics.jsonl so far, a row each; a line in the making is left out."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return pd.DataFrame([json.loads(line) for line in lines if line.endswith("}")])


def _rates(metrics: pd.DataFrame) -> tuple[float, float, float]:
    """Jets a second, seconds a step and seconds a line over the last lines; only time at work counts."""
    if not {"step", "seconds", "jets_seen"} <= set(metrics.columns):
        return math.nan, math.nan, math.nan
    start = pd.DataFrame({"step": [0], "seconds": [0.0], "jets_seen": [0]})
    recent = pd.concat([start, metrics[list(start)]]).tail(RECENT + 1)
    steps, seconds, jets = (float(recent[name].iloc[-1] - recent[name].iloc[0]) for name in start)
    if seconds <= 0 or steps <= 0:
        return math.nan, math.nan, math.nan
    return jets / seconds, seconds / steps, seconds / (len(recent) - 1)


def _steps(file: Path) -> int:
    """Steps that the configuration asks for; 0 where it cannot be read."""
    try:
        return int(json.loads(_text(file)).get("steps", 0))
    except ValueError:
        return 0


def _stamp(file: Path) -> float:
    """When the file was written last; 0 where there is none."""
    return file.stat().st_mtime if file.is_file() else 0.0


def _text(file: Path) -> str:
    return file.read_text(errors="replace").strip()


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "an unknown time"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    return (
        f"{hours} h {minutes:02d} min"
        if hours
        else f"{minutes} min {whole % 60:02d} s"
        if minutes
        else f"{whole} s"
    )
