"""What pre-training saves, by jets seen: a few-shot table for every snapshot of a run, in one file.

    OMP_NUM_THREADS=1 python benchmarks/gain_by_views.py RUN STORE OUT [--labels 500 2000] [--seeds 5]

OUT holds a folder for each snapshot and one for training from scratch, which is made once, with the
same tuning grid; called again, only what is missing is made. OUT/few_shot.csv is all of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from jepalib.errors import JepalibError
from jepalib.methods.registry import find_method
from jepalib.training.adapt import adapt
from jepalib.training.runs import Run

MODES = ("linear-probe", "frozen", "fine-tuned")
COLUMNS = [
    "method", "size", "jets_pretrained", "mode", "head", "labels", "seed", "accuracy", "auc_ovo", "log_loss",
    "steps", "best_step", "rate", "encoder_scale", "val_jets", "test_jets", "seconds",
]  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path)
    arguments.add_argument("store", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--labels", type=int, nargs="+", default=[500, 2000])
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of AdaptConfig")
    arguments.add_argument("--workers", type=int)
    given = arguments.parse_args()
    run = Run.open(given.run)
    head = find_method(run.config.method).head
    settings = dict(item.split("=", 1) for item in given.set)
    settings = {"size": run.config.size, "inputs": run.config.inputs, "test_jets": 0, **settings}
    common = (given.seeds, (head,), settings, given.workers)
    tables = [adapt(None, given.store, given.out / "from-scratch", given.labels, ("from-scratch",), *common)]
    for stage in [*run.snapshots, run]:
        out = given.out / str(stage.manifest["jets_seen"])
        tables.append(adapt(stage.path, given.store, out, given.labels, MODES, *common))
    table = pd.concat(tables, ignore_index=True)
    table.reindex(columns=COLUMNS).to_csv(given.out / "few_shot.csv", index=False)
    grouped = table.groupby(["labels", "mode", "jets_pretrained"], dropna=False)
    print(grouped.accuracy.agg(["mean", "std", "count"]).round(4).to_string())


if __name__ == "__main__":
    try:
        main()
    except JepalibError as error:
        raise SystemExit(f"gain_by_views: {error}") from None
