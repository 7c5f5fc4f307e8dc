"""Scores of several taggers on the same jets, made once and kept in a file."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.evaluation.calibration import average, disagreement
from jepalib.progress import Progress
from jepalib.training.classifiers import probabilities
from jepalib.training.dropout import dropping_layers, plain_and_dropped
from jepalib.training.taggers import Tagger


@dataclass(frozen=True)
class Scored:
    """What taggers say of validation and of test jets. Axis 0 of all scores are the taggers.

    Attributes:
        rows, labels: store rows and classes of the test jets.
        probabilities: of the test jets.
        names, arms, seeds: of the taggers.
        val_rows, val_labels, val_probabilities: the same of the validation jets.
        dropout: mean of the passes of Monte-Carlo dropout over the test jets; no taggers (length
            0 of axis 0) where one of them has no dropout or no passes were asked for.
        dropout_disagreement: of these passes (`evaluation.calibration.disagreement`), in nats.
    """

    rows: Int[np.ndarray, " jets"]
    labels: Int[np.ndarray, " jets"]
    probabilities: Float[np.ndarray, "taggers jets classes"]
    names: np.ndarray
    arms: np.ndarray
    seeds: Int[np.ndarray, " taggers"]
    val_rows: Int[np.ndarray, " val_jets"]
    val_labels: Int[np.ndarray, " val_jets"]
    val_probabilities: Float[np.ndarray, "taggers val_jets classes"]
    dropout: Float[np.ndarray, "some jets classes"]
    dropout_disagreement: Float[np.ndarray, "some jets"]

    @classmethod
    def load(cls, path: Path) -> Scored:
        """The scores in a file that `save` wrote.

        Raises:
            JepalibError: there are none in it.
        """
        try:
            with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(**{field.name: arrays[field.name] for field in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise JepalibError(f"{path}: no scores here ({error}); remove it and make them again") from error

    def of_arm(self, arm: str) -> Scored:
        """The same jets, and of the taggers those of one arm alone."""
        chosen = self.arms == arm
        taggers = ("probabilities", "names", "arms", "seeds", "val_probabilities")
        dropped = ("dropout", "dropout_disagreement")
        kept = {name: getattr(self, name)[chosen] for name in taggers}
        return replace(
            self, **kept, **{name: getattr(self, name)[chosen[: len(self.dropout)]] for name in dropped}
        )

    def save(self, path: Path) -> None:
        """All arrays by their names into one .npz file, there whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.savez(file, **{field.name: getattr(self, field.name) for field in fields(self)})
        temporary.replace(path)


def score(
    taggers: Sequence[Tagger],
    store: JetStore,
    rows: np.ndarray | range,
    val_rows: np.ndarray | range,
    device: torch.device,
    passes: int,
    seed: int,
) -> Scored:
    """Run the taggers over test and validation jets.

    Args:
        rows, val_rows: store rows of the test and of the validation jets.
        passes: of Monte-Carlo dropout over the test jets; 0 for none.
        seed: of what is dropped.
    """
    with_dropout = passes > 0 and all(dropping_layers(tagger.classifier) for tagger in taggers)
    plain, validation, means, spreads = [], [], [], []
    with Progress(len(taggers), "scores", unit="taggers") as progress:
        for tagger in taggers:
            classifier = tagger.classifier.to(device)
            validation.append(probabilities(classifier, store, val_rows, device))
            if with_dropout:
                scores, samples = plain_and_dropped(classifier, store, rows, device, passes, seed)
                plain.append(scores)
                means.append(average(samples).astype(np.float32))
                spreads.append(disagreement(samples))
            else:
                plain.append(probabilities(classifier, store, rows, device))
            progress.add(1, note=tagger.name)
    rows, val_rows = np.asarray(rows), np.asarray(val_rows)
    return Scored(
        rows=rows,
        labels=np.asarray(store.labels[rows], np.int64),
        probabilities=np.stack(plain),
        names=np.array([tagger.name for tagger in taggers]),
        arms=np.array([tagger.arm for tagger in taggers]),
        seeds=np.array([tagger.seed for tagger in taggers]),
        val_rows=val_rows,
        val_labels=np.asarray(store.labels[val_rows], np.int64),
        val_probabilities=np.stack(validation),
        dropout=np.stack(means) if means else np.empty((0, *plain[0].shape), np.float32),
        dropout_disagreement=np.stack(spreads) if spreads else np.empty((0, len(rows))),
    )
