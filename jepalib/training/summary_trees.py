"""Boosted trees on the numbers of `jepalib.summary`: the bar for an encoder that was taught them.

Its gain over a network from scratch could come from those numbers alone. Then trees that are simply
given them, with the same few labels, would do as well. They are tuned as `adapt` tunes a network: the
setting on validation jets with the first seed, the number of trees on them with each.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier

from jepalib.data.store import JetStore, stratified_subset
from jepalib.evaluation.label_savings import TREES
from jepalib.evaluation.tagging import tagging_metrics
from jepalib.progress import Progress
from jepalib.summary import jet_summary

GRID = {"learning_rate": (0.1, 0.2), "max_leaf_nodes": (4, 8, 16)}
MOST = 150  # rounds of boosting, a tree for each class; the best moment is kept
CHUNK = 2_000  # jets whose numbers are made at a time: the pairs of their constituents are many


def summary_trees(
    store: JetStore,
    labels: Sequence[int],
    seeds: int,
    test_jets: int = 0,
    val_jets: int = 5000,
    quiet: bool = False,
) -> pd.DataFrame:
    """A few-shot table of boosted trees, on the labelled, validation and test jets that `adapt` takes.

    Args:
        store: with training, validation and test jets.
        labels: numbers of labelled jets.
        seeds: of the subset of labelled jets and of the trees.
        test_jets: to judge on, 0 for all.
        val_jets: to choose on, 0 for all.

    Returns:
        A row for each point: mode, labels, seed, jets_pretrained (0), the figures of `tagging_metrics`,
        settings, rounds, val_accuracy, val_jets, test_jets and seconds.

    Raises:
        JepalibError: fewer jets with labels than asked for.
    """
    test, val = (_numbers_of_some(store, split, n) for split, n in (("test", test_jets), ("val", val_jets)))
    settings = [dict(zip(GRID, values)) for values in itertools.product(*GRID.values())]
    rows = []
    with Progress(len(labels) * seeds, "trees on the numbers", unit="points", quiet=quiet) as bar:
        for count in labels:
            tried = settings
            for seed in range(seeds):
                begun = time.perf_counter()
                known = numbers_of(store, some_rows(store, "train", count, seed))
                best = max((_boosted(known, val, s, seed) for s in tried), key=lambda b: b.val_accuracy)
                tried = [best.setting]  # of the first seed, for the others
                figures = tagging_metrics(best.scores(test[0], len(store.classes)), test[1], store.classes)
                row = {"mode": TREES, "labels": count, "seed": seed, "jets_pretrained": 0, **figures}
                row |= {**best.setting, "rounds": best.rounds, "val_accuracy": best.val_accuracy}
                row |= {"val_jets": len(val[1]), "test_jets": len(test[1])}
                rows.append({**row, "seconds": round(time.perf_counter() - begun, 2)})
                bar.add(1)
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Boosted:
    """Trees of one setting, at the moment that is best on validation jets."""

    trees: HistGradientBoostingClassifier
    setting: dict[str, float]
    rounds: int
    val_accuracy: float

    def scores(
        self, numbers: Float[np.ndarray, "jets numbers"], classes: int
    ) -> Float[np.ndarray, "jets classes"]:
        """Probabilities of all classes; 0 for those without a labelled jet."""
        scores = np.zeros((len(numbers), classes))
        stages = itertools.islice(self.trees.staged_predict_proba(numbers), self.rounds)
        for stage in stages:  # the last one counts
            scores[:, self.trees.classes_] = stage
        return scores


def _boosted(known: tuple, val: tuple, setting: dict[str, float], seed: int) -> Boosted:
    trees = HistGradientBoostingClassifier(
        max_iter=MOST, early_stopping=False, random_state=seed, **setting
    ).fit(*known)
    accuracies = [float((found == val[1]).mean()) for found in trees.staged_predict(val[0])]
    best = int(np.argmax(accuracies))
    return Boosted(trees, setting, best + 1, accuracies[best])


def _numbers_of_some(store: JetStore, split: str, number: int) -> tuple:
    there = len(store.rows(split))
    return numbers_of(store, some_rows(store, split, min(number or there, there), 0))


def some_rows(store: JetStore, split: str, number: int, seed: int) -> np.ndarray | range:
    """The rows that `adapt` takes: all of a split where it has no more, else a stratified choice.

    Raises:
        JepalibError: it has fewer.
    """
    rows = store.rows(split)
    return rows if number == len(rows) else stratified_subset(store.labels, rows, number, seed, store.classes)


def numbers_of(
    store: JetStore, rows: np.ndarray | range
) -> tuple[Float[np.ndarray, "jets numbers"], Int[np.ndarray, " jets"]]:
    """`summary.NUMBERS` of the given jets, and their labels."""
    rows = np.asarray(rows)
    parts = np.array_split(rows, -(-len(rows) // CHUNK))
    numbers = [jet_summary(jets).numpy() for jets in map(store.read, parts)]
    return np.concatenate(numbers), np.asarray(store.labels[rows], np.int64)
