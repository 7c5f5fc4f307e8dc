"""What pre-training saves, by jets seen: a few-shot table for every snapshot of a run, in one file.

    OMP_NUM_THREADS=1 python benchmarks/gain_by_views.py RUN STORE OUT [--labels 500 2000 10000] [--seeds 5]

OUT holds a folder for each snapshot and one for training from scratch, which is made once. Both arms get
the same grid (`GRID`, and the heads), chosen on validation jets with the first seed. Snapshots on the way get
`--seeds-between` seeds. Called again, only what is missing is made; OUT/few_shot.csv is all of them, and
OUT/trees.csv what boosted trees make of the same labelled jets in numbers (`jepalib.summary`).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.training.adapt import adapt
from jepalib.training.runs import Run
from jepalib.training.summary_trees import summary_trees

HEADS = ("mlp", "class-attention")
GRID = {
    "steps": 200,
    "rates": (1e-3,),
    "encoder_scales": (0.3, 1.0),
    "lengths": (1.0, 3.0),
    "weight_decays": (0.01, 0.1),
    "val_jets": 3000,
    "test_jets": 20_000,
}
COLUMNS = [
    "method", "size", "jets_pretrained", "mode", "head", "labels", "seed", "accuracy", "auc_ovo", "log_loss",
    "steps", "best_step", "rate", "encoder_scale", "length", "weight_decay", "val_accuracy", "val_jets",
    "test_jets", "seconds",
]  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path)
    arguments.add_argument("store", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--labels", type=int, nargs="+", default=[500, 2000, 10_000])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--seeds-between", type=int, default=3)
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of AdaptConfig")
    arguments.add_argument("--workers", type=int)
    given = arguments.parse_args()
    run = Run.open(given.run)
    settings = dict(item.split("=", 1) for item in given.set)
    settings = {**GRID, "size": run.config.size, "inputs": run.config.inputs, **settings}

    def table(stage: Run | None, out: Path, mode: str, heads: tuple[str, ...], seeds: int) -> pd.DataFrame:
        path = stage.path if stage else None
        return adapt(path, given.store, out, given.labels, (mode,), seeds, heads, settings, given.workers)

    tables = [with_best_head(table, None, given.out / "from-scratch", "from-scratch", given.seeds)]
    stages = [*run.snapshots, *([run] if run.finished else [])]
    for stage in stages:
        out = given.out / str(stage.manifest["jets_seen"])
        seeds = given.seeds if stage is stages[-1] else given.seeds_between
        tables.append(
            only(table(stage, out, "linear-probe", HEADS[:1], seeds), "linear-probe", ("logistic",), seeds)
        )
        tables.append(only(table(stage, out, "frozen", HEADS[1:], seeds), "frozen", HEADS[1:], seeds))
        tables.append(with_best_head(table, stage, out, "fine-tuned", seeds))
    trees = summary_trees(JetStore.open(given.store), given.labels, given.seeds, int(settings["test_jets"]))
    trees.to_csv(given.out / "trees.csv", index=False)
    whole = pd.concat(tables, ignore_index=True)
    whole.reindex(columns=COLUMNS).to_csv(given.out / "few_shot.csv", index=False)
    grouped = whole.groupby(["labels", "mode", "jets_pretrained"], dropna=False)
    print(grouped.accuracy.agg(["mean", "std", "count"]).round(4).to_string())


def with_best_head(table: Callable, stage: Run | None, out: Path, mode: str, seeds: int) -> pd.DataFrame:
    """A mode with the head that is best on validation jets with the first seed, for each number of labels."""
    first = only(table(stage, out, mode, HEADS, 1), mode, HEADS, 1)
    best = first.loc[first.groupby("labels").val_accuracy.idxmax()]
    parts = []
    for head, rows in best.groupby("head"):
        found = only(table(stage, out, mode, (head,), seeds), mode, (head,), seeds)
        parts.append(found[found.labels.isin(rows.labels)])
    return pd.concat(parts)


def only(table: pd.DataFrame, mode: str, heads: tuple[str, ...], seeds: int) -> pd.DataFrame:
    """The rows that were asked for: a folder's table has all that was made there."""
    return table[(table["mode"] == mode) & table["head"].isin(heads) & (table.seed < seeds)]


if __name__ == "__main__":
    try:
        main()
    except JepalibError as error:
        raise SystemExit(f"gain_by_views: {error}") from None
