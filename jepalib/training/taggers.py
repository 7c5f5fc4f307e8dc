"""The classifiers that an adaptation left behind, by arm and seed, and their scores."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.models.heads import Classifier
from jepalib.training.classifiers import ClassifierConfig, load_classifier, probabilities
from jepalib.training.few_shot import TRIED, settings_of_before

ARMS = ("fine-tuned", "from-scratch")


@dataclass(frozen=True)
class Tagger:
    """One trained classifier of a few-shot table.

    Attributes:
        arm: how it came about, one of `adapt.MODES`.
        labels: number of labelled jets it was trained on.
        seed: of its label subset, initialisation and batches.
        classifier: in evaluation mode.
        config: what it is built from; `config.classes` names its scores.
        path: the folder that it was loaded from.
    """

    arm: str
    labels: int
    seed: int
    classifier: Classifier
    config: ClassifierConfig
    path: Path

    @property
    def name(self) -> str:
        """For legends: arm and seed."""
        return f"{self.arm}, seed {self.seed}"

    @property
    def identity(self) -> str:
        """A hash that changes when its architecture or its weights do."""
        weights = (self.path / "weights.safetensors").read_bytes()
        return hashlib.sha256(repr(self.config).encode() + weights).hexdigest()


def taggers(folder: Path, labels: int | None = None, arms: Sequence[str] = ARMS) -> list[Tagger]:
    """The classifiers in OUT/models of ``jepalib adapt --out OUT``, by arm as asked for, then seed.

    Args:
        folder: OUT.
        labels: number of labels that they were trained on; the largest number there is if None.
        arms: which of them.

    Raises:
        JepalibError: there are none, an arm has none for this number of labels, or an arm has
            classifiers with several heads.
    """
    notes = [(file.parent, json.loads(file.read_text())["notes"]) for file in _files(folder)]
    known = sorted({note["labels"] for _, note in notes if note["mode"] in arms})
    if not known or (labels is not None and labels not in known):
        there = f"it has those of {', '.join(map(str, known))} labels" if known else "it has none of them"
        raise JepalibError(f"{folder}: no classifiers ({', '.join(arms)}) of {labels} labels; {there}")
    labels = known[-1] if labels is None else labels
    chosen = [(path, note) for path, note in notes if note["labels"] == labels and note["mode"] in arms]
    if missing := set(arms) - {note["mode"] for _, note in chosen}:
        raise JepalibError(f"{folder}: no classifier {', '.join(sorted(missing))} of {labels} labels")
    heads = {note["head"] for _, note in chosen}
    if len(heads) > 1:
        raise JepalibError(
            f"{folder}: classifiers with heads {', '.join(sorted(heads))}; make a table with one head "
            "(jepalib adapt --heads) and give its folder"
        )
    chosen.sort(key=lambda pair: (arms.index(pair[1]["mode"]), pair[1]["seed"], pair[0].name))
    return [
        Tagger(note["mode"], labels, note["seed"], *load_classifier(path), path=path) for path, note in chosen
    ]


def trained_with(
    folder: Path, labels: int, arms: Sequence[str] = ARMS, tune: bool = False
) -> dict[str, object]:
    """The settings of `few_shot.AdaptConfig` that arms of a few-shot table were trained with.

    Args:
        folder: OUT of ``jepalib adapt --out OUT``.
        tune: keep its grid, to be tuned again; else the grid is what these arms were given
            on validation jets, a single setting where they agree.

    Raises:
        JepalibError: there is no such table, or an arm is not in it.
    """
    about, chosen = Path(folder) / "adapt.json", []
    for arm in arms:
        files = sorted((Path(folder) / "points").glob(f"{arm}_*_{labels}_seed*.json"))
        if not files or not about.is_file():
            raise JepalibError(
                f"{folder}: no table with {arm} of {labels} labels; make it with jepalib adapt"
            )
        chosen.append(json.loads(files[0].read_text()))
    settings = settings_of_before(json.loads(about.read_text())["settings"])
    if tune:
        return settings
    found = {many: {point.get(one, settings[many][0]) for point in chosen} for many, one in TRIED.items()}
    return settings | {many: tuple(sorted(values)) for many, values in found.items()}


def scores(
    taggers: Sequence[Tagger], store: JetStore, rows: np.ndarray | range, device: torch.device
) -> Float[np.ndarray, "taggers jets classes"]:
    """Class probabilities of the given rows, in their order, by each tagger."""
    return np.stack([probabilities(tagger.classifier.to(device), store, rows, device) for tagger in taggers])


def _files(folder: Path) -> list[Path]:
    """Descriptions of all whole classifiers below the folder."""
    files = sorted(Path(folder).glob("models/*/classifier.json"))
    if not files:
        raise JepalibError(f"{folder} holds no classifiers; make them with jepalib adapt --out {folder}")
    return [file for file in files if (file.parent / "weights.safetensors").is_file()]
