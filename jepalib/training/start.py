"""Where a pre-training begins: at random weights, or at the encoder of another run.

The second for schedules of two stages, other methods after each other, and for going on with an
encoder on other data. Predictor and heads begin anew.
"""

from __future__ import annotations

import json
from dataclasses import asdict

from torch import nn

from jepalib.errors import JepalibError
from jepalib.training.runs import Run, differences, write_atomically

START = "start.json"


def note_start(run: Run, start: Run | None) -> None:
    """Write into the run's folder what it begins with, or check that it began with the same.

    Raises:
        JepalibError: the run is of another architecture than `start`, or began with something else.
    """
    asked = None if start is None else _about(start)
    if start is not None:
        theirs, ours = asdict(start.architecture), asdict(run.architecture)
        if differing := differences(theirs, ours):
            raise JepalibError(
                f"--start {start.path}: another encoder than this run's ({'; '.join(differing)}); "
                "ask for the same, or begin with random weights"
            )
    file = run.path / START
    if run.finished or (run.path / "resume.pt").is_file():
        if started_from(run) != asked:
            raise JepalibError(
                f"{run.path} began with {_words(started_from(run))}, not with {_words(asked)}; ask for the "
                "same --start to go on, or choose another --run folder"
            )
    elif asked is None:
        file.unlink(missing_ok=True)
    else:
        write_atomically(file, json.dumps(asked, indent=2) + "\n")


def started_from(run: Run) -> dict[str, object] | None:
    """Name, method, jets seen and hash of what a run began with; None for random weights."""
    file = run.path / START
    return json.loads(file.read_text()) if file.is_file() else None


def begin_at(start: Run, method: nn.Module) -> None:
    """Give student and teacher the encoder of a finished run or snapshot."""
    weights = start.encoder().state_dict()
    for network in (method.student, method.encoder):
        network.load_state_dict(weights)


def _about(start: Run) -> dict[str, object]:
    return {
        "run": start.path.name,
        "method": start.config.method,
        "jets_seen": start.manifest["jets_seen"],
        "teacher": start.identity()["teacher"],
    }


def _words(about: dict[str, object] | None) -> str:
    if about is None:
        return "random weights"
    return f"{about['run']} ({about['method']}, {about['jets_seen']:,} jets, {about['teacher'][:8]})"
