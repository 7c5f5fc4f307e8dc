"""How far labels go on the numbers of `jepalib.summary` alone: the bar for what learns to predict them.

    OMP_NUM_THREADS=1 python benchmarks/summary_trees.py STORE [--labels 500 2000] [--seeds 2]

Boosted trees and logistic regression on the numbers of the labelled jets, judged on all test jets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from jepalib.data.store import JetStore, stratified_subset
from jepalib.evaluation.representation import linear_probe
from jepalib.summary import jet_summary

TREES = {"max_iter": 80, "learning_rate": 0.08, "max_leaf_nodes": 8}  # chosen once, not tuned


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("store", type=Path)
    arguments.add_argument("--labels", type=int, nargs="+", default=[500, 2000])
    arguments.add_argument("--seeds", type=int, default=2)
    given = arguments.parse_args()
    store = JetStore.open(given.store)
    test, test_labels = numbers(store, np.asarray(store.rows("test")))
    print(f"{test.shape[1]} numbers, {len(test)} test jets")
    for labels in given.labels:
        for seed in range(given.seeds):
            rows = stratified_subset(store.labels, store.rows("train"), labels, seed, store.classes)
            x, y = numbers(store, rows)
            trees = HistGradientBoostingClassifier(**TREES, random_state=seed).fit(x, y)
            linear = linear_probe(x, y, test, test_labels, seed).accuracy
            best = trees.score(test, test_labels)
            print(f"{labels} labels, seed {seed}: trees {best:.3f}, linear {linear:.3f}")


def numbers(store: JetStore, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers of the given jets, and their labels."""
    return jet_summary(store.read(rows)).numpy(), np.asarray(store.labels[rows], np.int64)


if __name__ == "__main__":
    main()
