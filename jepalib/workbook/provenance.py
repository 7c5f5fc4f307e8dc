"""Where the results of a run come from: settings, data, versions, command, and what does not agree."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jepalib.errors import JepalibError
from jepalib.workbook.notebook import fingerprint, project_root
from jepalib.workbook.parameters import read_parameters
from jepalib.workbook.profiles import profile_values
from jepalib.workbook.reported import DONE, FAILED, UNFINISHED, Reported

STORE = "jepalib store"  # the format that a store's manifest names


@dataclass(frozen=True)
class Shared:
    """A value that some notebooks have in common, with their numbers."""

    name: str
    value: str
    notebooks: str
    note: str = ""


@dataclass(frozen=True)
class DataSet:
    """A store of jets that notebooks read."""

    path: str
    dataset: str
    classes: int
    splits: dict[str, int]
    data_hash: str
    notebooks: str

    @property
    def jets(self) -> str:
        """Jets by split, in the order of their use."""
        if list(self.splits) == ["all"]:
            return f"{self.splits['all']:,}, not split"
        order = [s for s in ("train", "val", "test") if s in self.splits]
        order += [s for s in self.splits if s not in order]
        return ", ".join(f"{self.splits[s]:,} {s}" for s in order)


def facts(stages: Sequence[Reported], data: Sequence[DataSet]) -> dict[str, str]:
    """When, how long, on which data and machine, from which revision: the head of a report."""
    ran = [stage for stage in stages if stage.started]
    done = sum(stage.status == DONE for stage in stages)
    found = {"State": f"{done} of {len(stages)} notebooks done"}
    if ran:
        first, last = min(s.started for s in ran), max(ran, key=lambda s: s.started)
        ended = _time(last.started) + last.seconds
        found["When"] = f"{first[:16].replace('T', ' ')} to {_clock(ended, first)} UTC"
        found["Time taken"] = duration(sum(stage.seconds for stage in stages))
    if data:
        largest = max(data, key=lambda d: (len(d.notebooks.split()), sum(d.splits.values())))
        kind = "simulated " if "simulated" in largest.path else ""
        found["Jets"] = f"{largest.jets} ({kind}{largest.dataset}, {largest.classes} classes)"
    for label, keys in {"Machine": ("processor", "machine", "device"), "Revision": ("git",)}.items():
        values = _distinct(", ".join(filter(None, (s.environment.get(k) for k in keys))) for s in ran)
        if values:
            found[label] = "; ".join(values)
    return found


def duration(seconds: float) -> str:
    """``41 s``, ``12.5 min`` or ``3.2 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _time(stamp: str) -> float:
    return datetime.fromisoformat(stamp).timestamp()


def _clock(seconds: float, first: str) -> str:
    """A moment as time of day, with its date where that is not the one of `first`."""
    moment = datetime.fromtimestamp(seconds, UTC).isoformat()
    return moment[11:16] if moment[:10] == first[:10] else moment[:16].replace("T", " ")


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(value for value in values if value))


def text(value: object) -> str:
    """A parameter's value as it would be given on the command line; a dash for nothing."""
    listed = ", ".join(str(v) for v in value) if isinstance(value, list) else str(value)
    return listed or "–"


def settings(stages: Sequence[Reported], profile: str) -> list[Shared]:
    """Every parameter with its values, the notebooks that had each, and where it was set by hand."""
    paper = profile_values("paper")
    changed = {stage.name: by_hand(stage, profile) for stage in stages}

    def note(stage: Reported, name: str) -> str:
        hand = "not the profile's" if name in changed[stage.name] else ""
        other = paper.get(name) not in (None, 0, [], stage.parameters[name])  # 0, []: no simulation, all rows
        return "; ".join(filter(None, (hand, f"paper: {text(paper[name])}" if other else "")))

    return _shared(stages, lambda s: {n: v for n, v in s.parameters.items() if n != "run_dir"}, note)


def versions(stages: Sequence[Reported]) -> list[Shared]:
    """What the notebooks ran with, each value once with the notebooks that had it."""
    return _shared(stages, lambda stage: stage.environment, lambda *_: "")


def _shared(
    stages: Sequence[Reported],
    values: Callable[[Reported], dict[str, Any]],
    note: Callable[[Reported, str], str],
) -> list[Shared]:
    users: dict[str, dict[tuple[str, str], list[str]]] = {}
    for stage in stages:
        for name, value in values(stage).items():
            key = (text(value), note(stage, name))
            users.setdefault(name, {}).setdefault(key, []).append(stage.number)
    everyone = [stage.number for stage in stages if values(stage)]
    return [
        Shared(name, value, "all" if numbers == everyone else " ".join(numbers), remark)
        for name, found in users.items()
        for (value, remark), numbers in found.items()
    ]


def by_hand(stage: Reported, profile: str) -> dict[str, Any]:
    """The parameters of a notebook that its profile, as it is now, would have set otherwise."""
    if stage.notebook is None:
        return {}
    try:
        known, values = read_parameters(stage.notebook, stage.name), profile_values(profile)
    except JepalibError:  # an older form of the cell, or a profile that is no more
        return {}
    usual = {name: values.get(name, parameter.default) for name, parameter in known.items()}
    return {n: v for n, v in stage.parameters.items() if n in usual and n != "run_dir" and v != usual[n]}


def commands(stages: Sequence[Reported], profile: str) -> list[str]:
    """The command lines that make the run again: one, or one per notebook where settings disagree."""
    changed = {stage.name: by_hand(stage, profile) for stage in stages if stage.parameters}
    together = {name: value for values in changed.values() for name, value in values.items()}
    agree = all(
        stage.parameters.get(name, value) == value
        for stage in stages
        for name, value in together.items()
        if stage.parameters
    )
    groups = [(list(changed), together)] if agree else [([name], changed[name]) for name in changed]
    return [
        f"jepalib run {' '.join(n.split('_')[0] for n in names)} --profile {profile}{_options(values)}"
        for names, values in groups
        if names
    ]


def _options(values: dict[str, Any]) -> str:
    def given(value: object) -> str:
        return ",".join(str(v) for v in value) if isinstance(value, list) else str(value)

    return "".join(" -p " + shlex.quote(f"{name}={given(value)}") for name, value in values.items())


def data_sets(stages: Sequence[Reported], run_dir: Path) -> list[DataSet]:
    """The stores that the notebooks read, as their manifests describe them."""
    users: dict[Path, list[str]] = {}
    for stage in stages:
        for path, _ in _inputs(stage, run_dir):
            users.setdefault(path, []).append(stage.number)
    found = []
    for path, numbers in users.items():
        manifest = path / "manifest.json"
        content = json.loads(manifest.read_text()) if manifest.is_file() else {}
        if content.get("format") == STORE:
            splits = {name: last - first for name, (first, last) in content["splits"].items()}
            kind, classes = content.get("dataset", "jetclass"), len(content["classes"])
            place = shown_path(path, run_dir, stages)
            found.append(DataSet(place, kind, classes, splits, content["data_hash"][:16], " ".join(numbers)))
    return found


def inputs(stages: Sequence[Reported], run_dir: Path) -> list[Shared]:
    """Every file and folder that a notebook read or made, with its fingerprint at that time."""
    found = []
    for stage in stages:
        for path, mark in _inputs(stage, run_dir):
            found.append(Shared(shown_path(path, run_dir, stages), mark, stage.number))
    return found


def _inputs(stage: Reported, run_dir: Path) -> list[tuple[Path, str]]:
    """Paths and fingerprints that a notebook noted; those of a moved run folder where they are now."""
    noted = [(Path(path), mark) for path, mark in (stage.result.get("paths") or {}).items()]
    then = Path(stage.parameters.get("run_dir") or run_dir)
    moved = [(run_dir / p.relative_to(then) if p.is_relative_to(then) else p, p, m) for p, m in noted]
    return [(here if here.exists() else there, mark) for here, there, mark in moved]


def shown_path(path: Path, run_dir: Path, stages: Sequence[Reported]) -> str:
    """A path seen from the run folder or the project where it lies in one of them."""
    once = {Path(s.parameters["run_dir"]) for s in stages if s.parameters.get("run_dir")}
    for folder in (run_dir, *sorted(once), project_root()):
        if path.is_relative_to(folder):
            return path.relative_to(folder).as_posix()
    return str(path)


def remarks(stages: Sequence[Reported], run_dir: Path) -> list[str]:
    """What a reader must know: parts made at other revisions, or from what has changed since."""
    found = []
    ran = [stage for stage in stages if stage.environment]
    for label, key in {"git revision": "git", "version of jepalib": "jepalib", "machine": "machine"}.items():
        users = [(v.value, v.notebooks) for v in versions(ran) if v.name == key]
        if len(users) > 1:
            found.append(f"More than one {label}: " + "; ".join(f"{v} ({n})" for v, n in users) + ".")
    dirty = [s.number for s in ran if str(s.environment.get("git") or "").endswith("-dirty")]
    if dirty:
        which = "all" if len(dirty) == len(ran) else " ".join(dirty)
        found.append(f"Run with changes that are in no revision: {which}.")
    return found + _older(stages) + _overwritten(stages) + _changed(stages, run_dir)


def _older(stages: Sequence[Reported]) -> list[str]:
    """Notebooks behind one that failed or did not end, if not made since: they show an earlier run."""
    broken, older = [], []
    for stage in stages:
        if stage.status in (FAILED, UNFINISHED):
            broken.append(_began(stage))
        elif stage.status == DONE and any(not began or stage.started <= began for began in broken):
            older.append(stage.name)
    return [f"Of an earlier run: {', '.join(older)}."] if older else []


def _began(stage: Reported) -> str:
    """When a notebook began; one that was killed has no manifest, but a page that papermill stamped."""
    stamped = stage.notebook.metadata.get("papermill", {}) if stage.notebook else {}
    return stage.started or stamped.get("start_time") or ""


def _overwritten(stages: Sequence[Reported]) -> list[str]:
    """Notebooks whose results are of another run than their page."""
    by_hand = []
    for stage in stages:
        key = stage.manifest.get("key")
        if stage.status == DONE and stage.result.get("key", key) != key:
            by_hand.append(stage.name)
    return [f"Run by hand since its page was made, so that they may differ: {n}." for n in by_hand]


def _changed(stages: Sequence[Reported], run_dir: Path) -> list[str]:
    """Inputs that are no longer what notebooks were made from."""
    now = cache(fingerprint)
    users: dict[str, list[str]] = {}
    for stage in stages:
        for path, mark in _inputs(stage, run_dir):
            if stage.status == DONE and path.exists() and now(path) != mark:
                users.setdefault(shown_path(path, run_dir, stages), []).append(stage.number)
    return [f"{path} has changed since {' '.join(numbers)} read it." for path, numbers in users.items()]
