"""Short pre-trainings with one thing changed each, and what they are worth: a sweep that can go on.

    OMP_NUM_THREADS=1 python benchmarks/pretraining_trials.py STORE OUT [--only jet-targets jp-jepa …]
        [--views 76800] [--labels 500 2000] [--modes linear-probe fine-tuned]
        [--seeds 0] [--list]

A trial is a method at size Nano, STORE's training jets seen `--views` times in all, steps of 64. It is
judged on 5,000 test jets by a linear probe and by fine-tuning with few labels (3 subsets, one setting for
all trials), beside a network from scratch (particles, all inputs). That setting ranks trials; it is not tuned
from scratch, so that its row is no bar: `gain_by_views.py` makes that. What is chosen here is chosen on the
test jets of STORE: report it on those of another. OUT/trials.csv has a row for each trial so far. OUT keeps
the runs and tables too, and what is there is not made again. Two calls may share it, for other trials and
as long as both judge by the probe alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import pandas as pd

from jepalib.errors import JepalibError
from jepalib.training.adapt import adapt
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import pretrain
from jepalib.training.runs import Run, write_atomically
from jepalib.training.start import jets_in_all, seconds_in_all

BATCH = 64
COMMON = {"batch_size": BATCH, "micro_batch": BATCH, "log_every": 50, "checkpoint_every": 200}
STILL = {"steps": 100, "lr": 1e-12, "lr_start": 1e-12, "lr_final": 1e-12}  # learns how inputs lie, no more
# Name of a trial: method and the settings in which it differs from its preset at 64 jets a step.
TRIALS: dict[str, tuple[str, dict[str, object]]] = {
    "random weights": ("jp-jepa", STILL),
    "jet-targets": ("jet-targets", {}),
    "jet-targets, rate 2e-3": ("jet-targets", {"lr": 2e-3}),
    "jet-targets, rate 5e-4": ("jet-targets", {"lr": 5e-4}),
    "jet-targets, constant rate": ("jet-targets", {"lr_final": 1e-3}),
    "jet-targets, steps of 32": ("jet-targets", {"batch_size": 32, "micro_batch": 32}),
    "jet-targets, steps of 256": ("jet-targets", {"batch_size": 256}),
    "jet-targets, hide 1 to 10 %": ("jet-targets", {"target_ratio": (0.01, 0.1)}),
    "jet-targets, hide 30 to 70 %": ("jet-targets", {"target_ratio": (0.3, 0.7)}),
    "jet-targets, hide 60 to 90 %": ("jet-targets", {"target_ratio": (0.6, 0.9)}),
    "jet-targets, hide a stretch": ("jet-targets", {"target_kind": "contiguous"}),
    "jet-targets, no weight decay": ("jet-targets", {"weight_decay": 0.0, "predictor_weight_decay": 0.0}),
    "jet-targets, slower teacher": ("jet-targets", {"ema_start": 0.999}),
    "jp-jepa": ("jp-jepa", {}),
    "jp-jepa, half the jet hidden": ("jp-jepa", {"target_ratio": (0.4, 0.6), "context_ratio": None}),
    "jp-jepa, random targets": ("jp-jepa", {"target_kind": "random", "context_ratio": None}),
    "jp-jepa, KoLeo 1": ("jp-jepa", {"lambda_regulariser": 1.0}),
    "jp-jepa, SIGReg": ("jp-jepa", {"regulariser": "sigreg"}),
    "jp-jepa, [CLS] of the context": ("jp-jepa", {"cls_from_context": True}),
    "jp-jepa, no feature dropout": ("jp-jepa", {"pid_dropout": 0.0, "td_dropout": 0.0}),
    "jp-jepa, probes with gradient": ("jp-jepa", {"probes_with_gradient": ("pid", "td", "lmv")}),
    "jp-jepa, quicker teacher": ("jp-jepa", {"ema_start": 0.95, "ema_end": 0.999}),
    "jp-jepa, steps of 256": ("jp-jepa", {"batch_size": 256}),
    "p-jepa": ("p-jepa", {}),
    "hep-jepa": ("hep-jepa", {}),
    "hep-jepa, all inputs": ("hep-jepa", {"inputs": "full"}),
}
# Name of a trial: the methods that follow each other, each with an equal part of the views.
STAGES = {
    "jp-jepa, then jet-targets": ("jp-jepa", "jet-targets"),
    "jet-targets, then jp-jepa": ("jet-targets", "jp-jepa"),
    "jet-targets, then jet-targets": ("jet-targets", "jet-targets"),  # what a second warm-up alone does
}
MODES = ("linear-probe", "fine-tuned")
SUBSETS = 3
ADAPT = {
    "rates": (1e-3,),
    "encoder_scales": (0.6,),
    "steps": 150,
    "test_jets": 5000,
    "val_jets": 2000,
    "checks": 3,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("store", type=Path, nargs="?")
    arguments.add_argument("out", type=Path, nargs="?")
    arguments.add_argument("--only", nargs="+", default=[*TRIALS, *STAGES], metavar="TRIAL")
    arguments.add_argument("--views", type=int, default=76_800)
    arguments.add_argument("--labels", type=int, nargs="+", default=[500, 2000])
    arguments.add_argument("--modes", nargs="+", default=list(MODES), choices=MODES)
    arguments.add_argument("--seeds", type=int, nargs="+", default=[0])
    arguments.add_argument("--list", action="store_true", help="the names of all trials")
    given = arguments.parse_args()
    if given.list or not (given.store and given.out):
        print("\n".join([*TRIALS, *STAGES]))
        return
    if unknown := [name for name in given.only if name not in {**TRIALS, **STAGES}]:
        raise JepalibError(f"no trial {unknown[0]!r}; --list has the names")
    if "fine-tuned" in given.modes:
        folder = given.out / "from-scratch"
        table = adapt(
            None, given.store, folder, given.labels, ("from-scratch",), SUBSETS, overrides=ADAPT, workers=1
        )
        note(given.out, folder.name, {"trial": "from scratch", **judged(table)})
    for seed, name in itertools.product(given.seeds, given.only):
        run = trained(name, given.store, given.out, given.views, seed)
        folder = run.path.with_name(f"{run.path.name}-few-shot")
        table = adapt(
            run.path, given.store, folder, given.labels, given.modes, SUBSETS, heads(run), ADAPT, workers=1
        )
        about = {"views": jets_in_all(run), "seconds": seconds_in_all(run)}
        note(given.out, run.path.name, {"trial": name, "seed": seed, **about, **judged(table)})
    print(pd.read_csv(given.out / "trials.csv").round(4).to_string(index=False))


def note(out: Path, name: str, row: dict[str, object]) -> None:
    """A trial's row, and the table of all so far; two calls may work side by side on other trials."""
    (out / "rows").mkdir(parents=True, exist_ok=True)
    write_atomically(out / "rows" / f"{name}.json", json.dumps(row) + "\n")
    rows = [json.loads(file.read_text()) for file in sorted((out / "rows").glob("*.json"))]
    write_atomically(out / "trials.csv", pd.DataFrame(rows).to_csv(index=False))


def trained(name: str, store: Path, out: Path, views: int, seed: int) -> Run:
    """The last pre-training of a trial, made or gone on with."""
    folder = out / f"{name.replace(', ', '-').replace(' ', '-').replace('%', 'percent')}-seed{seed}"
    stages = STAGES.get(name)
    if stages is None:
        method, changed = TRIALS[name]
        return stage(method, changed, store, folder, views, seed)
    run = None
    for place, method in enumerate(stages):
        last = place == len(stages) - 1
        own = folder if last else folder.with_name(f"{folder.name}-stage{place}")
        # Another seed: with the same the second stage would see the first one's batches again.
        run = stage(method, {}, store, own, views // len(stages), seed + 1000 * place, run and run.path)
    return run


def stage(
    method: str, changed: dict, store: Path, folder: Path, views: int, seed: int, start: Path | None = None
) -> Run:
    """One pre-training."""
    settings = {**COMMON, **changed, "seed": seed}
    settings.setdefault("steps", max(1, views // int(settings["batch_size"])))
    config = pretrain_config(method, "nano", settings)
    if (folder / "config.json").is_file() and Run.open(folder).config != config:
        raise JepalibError(
            f"{folder}: a trial of other --views or settings; choose another OUT, or remove it"
        )
    return pretrain(config, store, folder, quiet=True, start=start)


def heads(run: Run) -> tuple[str, ...]:
    """The small network where there is a class token; patches have none."""
    return ("class-attention",) if run.config.method == "hep-jepa" else ("mlp",)


def judged(table: pd.DataFrame) -> dict[str, float]:
    """Mean and deviation over the label subsets of each mode and number of labels."""
    grouped = table.groupby(["mode", "labels"]).accuracy
    figures = {}
    for (mode, labels), values in grouped:
        figures[f"{mode}_{labels}"] = values.mean()
        figures[f"{mode}_{labels}_spread"] = values.std()
    return figures


if __name__ == "__main__":
    try:
        main()
    except JepalibError as error:
        raise SystemExit(f"pretraining_trials: {error}") from None
