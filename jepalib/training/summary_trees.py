"""Boosted trees on the numbers of `jepalib.summary`: the bar for an encoder that was taught them.

Its gain over a network from scratch could come from those numbers alone. Then trees that are simply
given them, with the same few labels, would do as well.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier

from jepalib.data.store import JetStore, stratified_subset
from jepalib.evaluation.tagging import tagging_metrics
from jepalib.progress import Progress
from jepalib.summary import jet_summary

MODE = "trees on the numbers"  # how the few-shot table calls them
TREES = {"max_iter": 80, "learning_rate": 0.08, "max_leaf_nodes": 8}  # chosen once, not tuned
CHUNK = 2_000  # jets whose numbers are made at a time: the pairs of their constituents are many


def summary_trees(
    store: JetStore, labels: Sequence[int], seeds: int, test_jets: int = 0, quiet: bool = False
) -> pd.DataFrame:
    """A few-shot table of boosted trees, on the labelled jets and the test jets that `adapt` takes.

    Args:
        store: with training and test jets.
        labels: numbers of labelled jets.
        seeds: of the subset of labelled jets and of the trees.
        test_jets: to judge on, 0 for all.

    Returns:
        A row for each point: mode, labels, seed, jets_pretrained (0), the figures of `tagging_metrics`,
        test_jets and seconds.

    Raises:
        JepalibError: fewer jets with labels than asked for.
    """
    there = len(store.rows("test"))
    test = some_rows(store, "test", min(test_jets or there, there), 0)
    numbers, truth = numbers_of(store, test)
    rows = []
    with Progress(len(labels) * seeds, "trees on the numbers", unit="points", quiet=quiet) as bar:
        for count in labels:
            for seed in range(seeds):
                begun = time.perf_counter()
                known = numbers_of(store, some_rows(store, "train", count, seed))
                trees = HistGradientBoostingClassifier(**TREES, random_state=seed).fit(*known)
                scores = np.zeros((len(test), len(store.classes)))
                scores[:, trees.classes_] = trees.predict_proba(numbers)
                about = {"mode": MODE, "labels": count, "seed": seed, "jets_pretrained": 0}
                figures = tagging_metrics(scores, truth, store.classes)
                seconds = round(time.perf_counter() - begun, 2)
                rows.append({**about, **figures, "test_jets": len(test), "seconds": seconds})
                bar.add(1)
    return pd.DataFrame(rows)


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
