"""How far labels go on the numbers of `jepalib.summary` alone: the bar for what learns to predict them.

    OMP_NUM_THREADS=1 python benchmarks/summary_trees.py STORE [--labels 500 2000] [--seeds 2]

Boosted trees and logistic regression on the numbers of the labelled jets, judged on all test jets.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from jepalib.data.store import JetStore
from jepalib.evaluation.representation import linear_probe
from jepalib.summary import NUMBERS
from jepalib.training.summary_trees import numbers_of, some_rows, summary_trees


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("store", type=Path)
    arguments.add_argument("--labels", type=int, nargs="+", default=[500, 2000])
    arguments.add_argument("--seeds", type=int, default=2)
    given = arguments.parse_args()
    store = JetStore.open(given.store)
    test, truth = numbers_of(store, store.rows("test"))
    print(f"{len(NUMBERS)} numbers, {len(test)} test jets")
    for row in summary_trees(store, given.labels, given.seeds, quiet=True).itertuples():
        known, labels = numbers_of(store, some_rows(store, "train", row.labels, row.seed))
        linear = linear_probe(known, labels, test, truth, row.seed).accuracy
        print(f"{row.labels} labels, seed {row.seed}: trees {row.accuracy:.3f}, linear {linear:.3f}")


if __name__ == "__main__":
    main()
