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


def check_start(run: Run, start: Run | None) -> None:
    """Refuse a start that this run cannot have.

    Raises:
        JepalibError: its encoder is another than the run's, or the run began with something else.
    """
    if start is not None:
        theirs, ours = asdict(start.architecture), asdict(run.architecture)
        if differing := differences(theirs, ours):
            raise JepalibError(
                f"--start {start.path}: another encoder than this run's ({'; '.join(differing)}); "
                "ask for the same, or begin with random weights"
            )
    asked = None if start is None else _about(start)
    if run.begun:
        known = started_from(run)
        if (known and known["teacher"]) != (asked and asked["teacher"]):
            raise JepalibError(
                f"{run.path} began with {_words(known)}, not with {_words(asked)}; ask for the "
                "same --start to go on, or choose another --run folder"
            )


def note_start(run: Run, start: Run | None) -> None:
    """Write into the folder of a run that has no checkpoint yet what it begins with."""
    if run.begun:
        return
    if start is None:
        (run.path / START).unlink(missing_ok=True)
    else:
        write_atomically(run.path / START, json.dumps(_about(start), indent=2) + "\n")


def started_from(run: Run) -> dict[str, object] | None:
    """Name, method, hash, jets and seconds of what a run began with; None for random weights."""
    file = run.path / START
    if file.is_file():
        return json.loads(file.read_text())
    return run.manifest.get("start") if run.finished else None  # a snapshot, or a folder that was copied


def jets_in_all(run: Run) -> int:
    """Jets that a finished run and those before it have seen."""
    return run.manifest["jets_seen"] + (started_from(run) or {"jets_seen": 0})["jets_seen"]


def seconds_in_all(run: Run) -> float:
    """Seconds that a finished run and those before it have trained."""
    return run.manifest["seconds"] + (started_from(run) or {"seconds": 0.0})["seconds"]


def begin_at(start: Run, method: nn.Module) -> None:
    """Give student and teacher the encoder of a finished run or snapshot."""
    weights = start.encoder().state_dict()
    for network in (method.student, method.encoder):
        network.load_state_dict(weights)


def _about(start: Run) -> dict[str, object]:
    return {
        "run": start.path.resolve().name,
        "method": start.config.method,
        "jets_seen": jets_in_all(start),
        "seconds": seconds_in_all(start),
        "teacher": start.identity()["teacher"],
    }


def _words(about: dict[str, object] | None) -> str:
    if about is None:
        return "random weights"
    return f"{about['run']} ({about['method']}, {about['jets_seen']:,} jets, {about['teacher'][:8]})"
