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

import pandas as pd

from jepalib.errors import JepalibError
from jepalib.evaluation.differences import difference
from jepalib.training.presets import changes
from jepalib.training.runs import Run, write_atomically
from jepalib.training.summary_trees import MODE

KEPT = ("config.json", "manifest.json", "metrics.jsonl", "teacher.safetensors")
NAMES = {
    "from-scratch": "from scratch",
    MODE: "boosted " + MODE,
    "linear-probe": "frozen, logistic regression",
    "frozen": "frozen, small network on top",
    "fine-tuned": "fine-tuned",
}
CARD = Path(__file__).with_suffix(".md")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("run", type=Path)
    arguments.add_argument("few_shot", type=Path)
    arguments.add_argument("out", type=Path)
    given = arguments.parse_args()
    run = Run.open(given.run)
    table = pd.read_csv(given.few_shot / "few_shot.csv")
    trees = pd.read_csv(given.few_shot / "trees.csv")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        shutil.copyfile(run.path / name, given.out / name)
    table.to_csv(given.out / "few_shot.csv", index=False)
    write_atomically(given.out / "README.md", card(run, table, trees, _grid(given.few_shot), given.out.name))


def card(run: Run, table: pd.DataFrame, trees: pd.DataFrame, grid: str, name: str) -> str:
    """The text of the card.

    Args:
        run: what is shipped.
        table, trees: of `gain_by_views`.
        grid: what its networks were tuned over, in words.
        name: of the folder.
    """
    config, manifest = run.config, run.manifest
    module = run.method() if (run.path / "rest.safetensors").is_file() else None
    settings = {key: value for key, value in changes(config).items() if key not in ("snapshots", "log_every")}
    numbers = module.head.standardise.num_features if module is not None else "some"
    own = table[table.jets_pretrained.isin([0, manifest["jets_seen"]])]
    low, high = config.objective.masks.target_ratio
    return CARD.read_text().format(
        title=name,
        name=name,
        parameters=sum(p.numel() for p in run.encoder().parameters()),
        numbers=numbers,
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
        seeds=_seeds(own),
        grid=grid,
        table=_figures(pd.concat([own, trees])),
        gains="\n".join([*_gains(own, own, "from-scratch"), *_gains(own, trees, MODE)]),
        **{key: manifest[key] for key in ("training_jets", "jets_seen", "seed", "machine", "jepalib", "git")},
        **{key: manifest[key] for key in ("torch", "finished", "data_hash")},
    )


def _plain(value: object) -> str:
    return ",".join(str(part) for part in value) if isinstance(value, tuple) else str(value)


def _seeds(table: pd.DataFrame) -> str:
    counts = table.groupby(["mode", "labels"]).seed.nunique()
    return f"{counts.min()} seeds" if counts.nunique() == 1 else f"{counts.min()} to {counts.max()} seeds"


def _grid(few_shot: Path) -> str:
    """What both arms were tuned over."""
    about = json.loads((few_shot / "about.json").read_text())
    names = ("heads", "rates", "encoder_scales", "lengths", "weight_decays")
    parts = [f"{name.replace('_', ' ')} {_plain(tuple(about[name]))}" for name in names]
    return (
        f"{about['steps']} steps at 500 labels; {'; '.join(parts)}; tuned at up to {about['tuned']:,} labels"
    )


def _figures(table: pd.DataFrame) -> str:
    labels = sorted(table.labels.unique())
    lines = ["| | " + " | ".join(f"{n:,} labels" for n in labels) + " |", "|---" * (len(labels) + 1) + "|"]
    for mode, name in NAMES.items():
        for head, rows in table[table["mode"] == mode].groupby("head", dropna=False):
            cells = []
            for n in labels:
                values = rows[rows.labels == n].accuracy
                cells.append(f"{values.mean():.3f} ± {values.std():.3f}" if len(values) else "")
            lines.append(
                f"| {name}{' (' + head + ')' if mode == 'frozen' else ''} | " + " | ".join(cells) + " |"
            )
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


if __name__ == "__main__":
    try:
        main()
    except JepalibError as error:
        raise SystemExit(f"model_card: {error}") from None
