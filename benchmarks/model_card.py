"""A run folder made fit to be shipped: its encoder, what it was made with, and a card of what it is worth.

    python benchmarks/model_card.py RUN FEW_SHOT OUT

RUN is a finished pre-training or a snapshot of one, FEW_SHOT the table that benchmarks/gain_by_views.py
made of it, with training from scratch. All figures of the card are taken from these two.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from jepalib.errors import JepalibError
from jepalib.evaluation.differences import difference
from jepalib.evaluation.label_savings import TREES, catch_up, labels_needed
from jepalib.summary import NUMBERS
from jepalib.training.config import override
from jepalib.training.few_shot import TRIED, AdaptConfig
from jepalib.training.presets import changes
from jepalib.training.runs import Run, write_atomically

KEPT = ("config.json", "manifest.json", "metrics.jsonl", "teacher.safetensors")
NAMES = {
    "from-scratch": "from scratch",
    TREES: "boosted " + TREES,
    "linear-probe": "frozen, logistic regression",
    "frozen": "frozen, class attention on top",
    "fine-tuned": "fine-tuned",
}
TABLES = ("few_shot.csv", "trees.csv", "about.json")
CARD = Path(__file__).with_suffix(".md")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path)
    arguments.add_argument("few_shot", type=Path)
    arguments.add_argument("out", type=Path)
    given = arguments.parse_args()
    run = Run.open(given.run)
    files = [*(run.path / name for name in KEPT), *(given.few_shot / name for name in TABLES)]
    if missing := [str(file) for file in files if not file.is_file()]:
        raise JepalibError(f"no {', '.join(missing)}: give a finished run and a folder of gain_by_views.py")
    if run.config.method != "jet-targets":
        raise JepalibError(f"{run.path} was made by {run.config.method}: the card is written for jet-targets")
    if run.manifest.get("start"):
        raise JepalibError(f"{run.path} began with another run: the card is written for one stage")
    table, trees = (pd.read_csv(given.few_shot / name) for name in TABLES[:2])
    about = json.loads((given.few_shot / "about.json").read_text())
    given.out.mkdir(parents=True, exist_ok=True)
    for file in files:
        shutil.copyfile(file, given.out / file.name)
    write_atomically(given.out / "README.md", card(run, table, trees, about, given.out.name))


def card(run: Run, table: pd.DataFrame, trees: pd.DataFrame, about: dict, name: str) -> str:
    """The text of the card.

    Args:
        run: what is shipped.
        table, trees: of `gain_by_views`.
        about: how these tables were made.
        name: of the folder.
    """
    config, manifest = run.config, run.manifest
    settings = {key: value for key, value in changes(config).items() if key not in ("snapshots", "log_every")}
    own = table[table.jets_pretrained.isin([0, manifest["jets_seen"]])]
    few_shot = _options(about, own)
    low, high = config.objective.masks.target_ratio
    whole = config.steps * config.batch_size
    seen = manifest["jets_seen"]
    stage = "" if seen > 0.99 * whole else f", as a stage of a training of about {whole:,}"
    return CARD.read_text().format(
        stage=stage,
        few_shot=few_shot,
        title=name,
        name=name,
        parameters=sum(p.numel() for p in run.encoder().parameters()),
        numbers=len(NUMBERS),
        method=config.method,
        size=config.size,
        inputs=config.inputs,
        low=low,
        high=high,
        epochs=manifest["jets_seen"] / manifest["training_jets"],
        settings=", ".join(f"{key}={value}" for key, value in settings.items()),
        options=" ".join(f"--set {key}={_plain(value)}" for key, value in changes(config).items()),
        hours=manifest["seconds"] / 3600,
        processes=manifest.get("processes", 1),
        test_jets=int(table.test_jets.max()),
        val_jets=int(table.val_jets.max()),
        which=f"RUN/snapshots/{max(s for s in config.snapshots if s <= seen)}" if stage else "RUN",
        seeds=_seeds(own),
        grid=_grid(about),
        beyond=_beyond(about, own),
        width=run.encoder().jet_width,
        left_out=_left_out(table, config.snapshots, seen),
        table=_figures(pd.concat([own, trees])),
        gains="\n".join([*_gains(own, own, "from-scratch"), *_gains(own, trees, TREES), *_savings(own)]),
        per_class=(manifest["training_jets"] + manifest["left_out"]) // len(manifest["classes"]),
        classes=len(manifest["classes"]),
        **{key: manifest[key] for key in ("training_jets", "jets_seen", "seed", "machine", "jepalib", "git")},
        **{key: manifest[key] for key in ("torch", "finished", "data_hash")},
    )


def _plain(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def _seeds(table: pd.DataFrame) -> str:
    counts = table.groupby(["mode", "labels"]).seed.nunique()
    return f"{counts.min()} seeds" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()} seeds"


def _options(about: dict, own: pd.DataFrame) -> str:
    """What gain_by_views.py was called with."""
    labels = " ".join(str(n) for n in sorted(own.labels.unique()))
    options = f"--labels {labels} --tuned {about['tuned']} --seeds {own.seed.max() + 1}"
    options += f" --seeds-between {about['seeds_between']}"
    names = ("steps", *TRIED, "val_jets", "test_jets")
    values = {name: about[name] for name in names}
    return options + "".join(
        f" --set {name}={_plain(tuple(value) if isinstance(value, list) else value)}"
        for name, value in values.items()
    )


def _grid(about: dict) -> str:
    """What both arms were tuned over."""
    names = ("heads", *TRIED)
    parts = [f"{name.replace('_', ' ')} {_plain(tuple(about[name]))}" for name in names]
    return (
        f"{about['steps']} steps of {about['batch_size']} jets at 500 labels, growing as their root; "
        f"{'; '.join(parts)}; tuned at up to {about['tuned']:,} labels"
    )


def _beyond(about: dict, own: pd.DataFrame) -> str:
    """What is tuned with more labels than the grid, and how often each arm then sees a label."""
    rows = own[own.labels > about["tuned"]].dropna(subset="length")
    if rows.empty:
        return ""
    first, config = rows.labels.min(), override(AdaptConfig(), {n: about[n] for n in ("steps", "batch_size")})
    passes = [
        f"{NAMES[mode]} {config.passes(n, length):.0f} over {n:,}"
        for (mode, n), length in rows.groupby(["mode", "labels"]).length.first().items()
    ]
    lengths = " or ".join(f"{length:g}" for length in about["lengths_beyond"])
    return (
        " With more labels every arm keeps the setting of the most but for the length of its training, tuned "
        f"again at {first:,} labels ({lengths} times as long), and as many passes beyond. Passes: "
        f"{'; '.join(passes)}."
    )


def _left_out(table: pd.DataFrame, snapshots: tuple[int, ...], seen: int) -> str:
    """Snapshots that the run makes and the table does not have."""
    there = table[table.jets_pretrained > 0].jets_pretrained.unique()
    absent = [s for s in snapshots if s < seen and not any(s <= views < 1.05 * s for views in there)]
    which = " and ".join(f"{s:,}" for s in absent)
    return f" Not in the table beside this file: stages at {which} jets." if absent else ""


def _figures(table: pd.DataFrame) -> str:
    labels = sorted(table.labels.unique())
    lines = ["| | " + " | ".join(f"{n:,} labels" for n in labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for mode, name in NAMES.items():
        cells = []
        for n in labels:
            values = table[(table["mode"] == mode) & (table.labels == n)].accuracy
            cells.append(f"{values.mean():.3f} ± {values.std():.3f}" if len(values) else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _gains(own: pd.DataFrame, others: pd.DataFrame, other: str) -> list[str]:
    """Fine-tuned and linear probe against another arm, for each number of labels."""
    lines = []
    for n, mode in itertools.product(sorted(own.labels.unique()), ("fine-tuned", "linear-probe")):
        rows = own[own["mode"] == mode], others[others["mode"] == other]
        arms = [each[each.labels == n].accuracy.to_numpy() for each in rows]
        if all(len(arm) for arm in arms):
            lines.append(f"- {n:,} labels: {difference(*arms).sentence(mode, other)}.")
    return lines


def _savings(own: pd.DataFrame) -> list[str]:
    """What training from scratch needs for as much, and where it catches up."""
    generator = np.random.default_rng(0)
    rows = labels_needed(own, "fine-tuned", generator).itertuples()
    lines = [f"- From scratch needs for what {r.labels:,} labels give fine-tuned: {r.needed}." for r in rows]
    lines[0] += (
        " (Read off lines between the measured numbers of labels; the intervals know of the seeds alone.)"
    )
    return [
        *lines,
        f"- From scratch catches up with fine-tuned at: {catch_up(own, 'fine-tuned', generator)}.",
    ]


if __name__ == "__main__":
    try:
        main()
    except JepalibError as error:
        raise SystemExit(f"model_card: {error}") from None
