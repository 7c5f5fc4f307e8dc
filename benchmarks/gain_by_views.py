"""What pre-training saves, by jets seen: a few-shot table for every snapshot of a run, in one file.

    OMP_NUM_THREADS=1 python benchmarks/gain_by_views.py RUN STORE OUT [--labels 500 2000 10000] [--seeds 5]

OUT holds a folder for each snapshot and one for training from scratch. Both arms get the same grid (`GRID`,
and the heads), chosen on validation jets with the first seed, where there are at most `--tuned` labels; with
more labels the setting of the most tuned is kept but for the length, which is tuned again for the first
number above (`LENGTHS`: the usual one is fewer passes the more labels there are). Numbers above that get as
many passes and `--seeds-between` seeds. Snapshots on the way take the settings of the end and as many seeds,
and leave these largest numbers out. Called again, no training is repeated; OUT/few_shot.csv is all of it,
OUT/about.json says how it was made, and OUT/trees.csv what boosted trees, tuned on the same
validation jets, make of the same labelled jets in numbers (`jepalib.summary`).
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.training.adapt import adapt
from jepalib.training.config import override
from jepalib.training.few_shot import TRIED, AdaptConfig
from jepalib.training.runs import Run, write_atomically
from jepalib.training.summary_trees import summary_trees

PROBE = "linear-probe"
HEADS = ("mlp", "class-attention")
GRID = {
    "steps": 200,
    "rates": (1e-3, 3e-3),
    "encoder_scales": (0.3, 1.0),
    "lengths": (1.0,),  # longer is no better from scratch with 500 and 2,000 labels: LOG.md
    "weight_decays": (0.01, 0.1),
    "val_jets": 3000,
    "test_jets": 20_000,
}
LENGTHS = (1.0, 3.0)  # tried beyond the labels that the whole grid is tuned at
COLUMNS = [
    "method", "size", "jets_pretrained", "mode", "head", "labels", "seed", "accuracy", "auc_ovo", "log_loss",
    "steps", "best_step", "rate", "encoder_scale", "length", "weight_decay", "val_accuracy", "val_jets",
    "test_jets", "seconds",
]  # fmt: skip


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path, help="a pre-training, or none to train from scratch alone")
    arguments.add_argument("store", type=Path)
    arguments.add_argument("out", type=Path)
    arguments.add_argument("--labels", type=int, nargs="+", default=[500, 2000, 10_000])
    arguments.add_argument("--tuned", type=int, default=2000, help="largest number of labels to tune at")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--seeds-between", type=int, default=3, help="of stages, and of most labels")
    arguments.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="of AdaptConfig")
    arguments.add_argument("--workers", type=int)
    given = arguments.parse_args()
    if min(given.labels) > given.tuned:
        raise JepalibError(f"labels {given.labels}: none to tune at, --tuned is {given.tuned}")
    if wrong := [item for item in given.set if "=" not in item]:
        raise JepalibError(f"--set {wrong[0]}: give NAME=VALUE")
    run = None if str(given.run) == "none" else Run.open(given.run)
    settings = {**GRID, **dict(item.split("=", 1) for item in given.set)}
    if run is not None:
        a = run.architecture
        settings |= {"encoder": a.kind, "size": a.size, "inputs": a.inputs}
    bench = Bench(given.store, given.out, settings, given.seeds_between, given.workers)
    tables = [bench.tuned(None, "from-scratch", HEADS, given.labels, given.tuned, given.seeds)]
    if run is not None:
        beyond = sorted(count for count in given.labels if count > given.tuned)[1:]
        modes = {"linear-probe": HEADS[:1], "frozen": HEADS[1:], "fine-tuned": HEADS}
        for mode, heads in modes.items():
            end = bench.tuned(run, mode, heads, given.labels, given.tuned, given.seeds)
            tables.append(end)
            before = [s for s in run.snapshots if s.manifest["jets_seen"] < run.manifest["jets_seen"]]
            tables += [bench.kept(stage, mode, end[~end.labels.isin(beyond)]) for stage in before]
    seeds = {"seeds": given.seeds, "seeds_between": given.seeds_between}
    about = {
        "tuned": given.tuned,
        "lengths_beyond": LENGTHS,
        "heads": HEADS,
        **seeds,
        **asdict(override(AdaptConfig(), bench.settings)),
    }
    write_atomically(given.out / "about.json", json.dumps(about, indent=1) + "\n")
    judged = (int(settings[name]) for name in ("test_jets", "val_jets"))
    trees = summary_trees(JetStore.open(given.store), given.labels, given.seeds, *judged)
    trees.to_csv(given.out / "trees.csv", index=False)
    whole = pd.concat(tables, ignore_index=True)
    whole.reindex(columns=COLUMNS).to_csv(given.out / "few_shot.csv", index=False)
    grouped = whole.groupby(["labels", "mode", "jets_pretrained"], dropna=False)
    print(grouped.accuracy.agg(["mean", "std", "count"]).round(4).to_string())


@dataclass
class Bench:
    """Tables of stages of a run, each in a folder below `out`."""

    store: Path
    out: Path
    settings: dict[str, object]
    seeds_between: int
    workers: int | None

    def tuned(
        self, stage: Run | None, mode: str, heads: tuple[str, ...], labels: list[int], tuned: int, seeds: int
    ) -> pd.DataFrame:
        """A mode at its best head and setting on validation jets, for each number of labels."""
        few = [count for count in labels if count <= tuned]
        folder = self.out / (str(stage.manifest["jets_seen"]) if stage else "from-scratch")
        first = self.made(stage, folder, mode, heads, few, 1, {})
        best = first.loc[first.groupby("labels").val_accuracy.idxmax()] if mode != PROBE else first
        parts = []
        for row in best.itertuples():
            chosen = heads if mode == PROBE else (row.head,)
            parts.append(self.made(stage, folder, mode, chosen, [row.labels], seeds, {}))
        more = sorted(count for count in labels if count > tuned)
        for place, count in enumerate(more):
            row, lengths = (best if place == 0 else parts[-1]).iloc[-1].copy(), LENGTHS
            if place > 0 and mode != PROBE:  # steps grow with the square root of the labels: as many passes
                row["length"], lengths = round(row.length * (count / more[place - 1]) ** 0.5, 2), ()
            repeats = seeds if place == 0 else min(seeds, self.seeds_between)
            parts.append(self.as_tuned(stage, mode, row, [count], repeats, lengths))
        return pd.concat(parts)

    def kept(self, stage: Run, mode: str, end: pd.DataFrame) -> pd.DataFrame:
        """A mode of a snapshot, with the head and the settings of the end."""
        rows = end[end.seed == 0]
        parts = [
            self.as_tuned(stage, mode, row, [int(row.labels)], self.seeds_between)
            for _, row in rows.iterrows()
        ]
        return pd.concat(parts)

    def as_tuned(
        self,
        stage: Run | None,
        mode: str,
        row: pd.Series,
        labels: list[int],
        seeds: int,
        lengths: tuple[float, ...] = (),
    ) -> pd.DataFrame:
        """A mode with the setting of a row of another table, or with the best of these lengths."""
        name = str(stage.manifest["jets_seen"]) if stage else "from-scratch"
        if mode == PROBE:
            return self.made(stage, self.out / name, mode, HEADS[:1], labels, seeds, {})
        one = {many: (float(row[single]),) for many, single in TRIED.items()}
        if lengths:
            one["lengths"] = lengths
        kept = "-".join("+".join(f"{value:g}" for value in values) for values in one.values())
        return self.made(stage, self.out / f"{name}-{kept}", mode, (row["head"],), labels, seeds, one)

    def made(
        self,
        stage: Run | None,
        folder: Path,
        mode: str,
        heads: tuple[str, ...],
        labels,
        seeds: int,
        one: dict,
    ) -> pd.DataFrame:
        """What was asked for, of all that is in the folder afterwards."""
        path, settings = stage.path if stage else None, {**self.settings, **one}
        table = adapt(path, self.store, folder, labels, (mode,), seeds, heads, settings, self.workers)
        asked = table["head"].isin(("logistic",) if mode == PROBE else heads) & table.labels.isin(labels)
        return table[(table["mode"] == mode) & asked & (table.seed < seeds)]


if __name__ == "__main__":
    try:
        main()
    except JepalibError as error:
        raise SystemExit(f"gain_by_views: {error}") from None
