"""The scripts that make tables, cards and trials: what they ask for, and that shipped cards are theirs."""

import importlib.util
import json
import re
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jepalib.models.encoders import EncoderConfig
from jepalib.training.few_shot import TRIED
from jepalib.training.presets import pretrain_config
from jepalib.training.runs import Run
from jepalib.training.start import jets_in_all

ROOT = Path(__file__).parents[1]
MODELS = sorted(path.parent for path in (ROOT / "data" / "models").glob("*/config.json"))


def script(name: str):
    """A script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


class MadeUp:
    """Stands for `adapt`, notes its calls; class attention is best at 500 labels, the small network above."""

    def __init__(self) -> None:
        self.calls = []

    def __call__(self, run, store, folder, labels, modes, seeds, heads, settings, workers):
        self.calls.append({"folder": folder.name, "labels": list(labels), "seeds": seeds, "heads": heads})
        self.calls[-1] |= {"modes": modes, "end": not folder.name.startswith("100")}
        views = 0 if run is None else 3000 if self.calls[-1]["end"] else 100
        self.calls[-1] |= {many: tuple(settings[many]) for many in TRIED}
        rows = []
        for count in labels:
            for head in ("logistic",) if modes == ("linear-probe",) else heads:
                better = (head == "class-attention") == (count <= 500)
                setting = {one: settings[many][-1] for many, one in TRIED.items()}
                for seed in range(seeds):
                    row = {"mode": modes[0], "head": head, "labels": count, "seed": seed, **setting}
                    row["jets_pretrained"] = views
                    rows.append({**row, "val_accuracy": 0.6 if better else 0.5, "accuracy": 0.5})
        return pd.DataFrame(rows)


@pytest.fixture
def tables(monkeypatch, tmp_path):
    """`gain_by_views.Bench` over made-up trainings, and what it asked for."""
    module, made = script("gain_by_views"), MadeUp()
    monkeypatch.setattr(module, "adapt", made)
    return module, module.Bench(tmp_path, tmp_path, dict(module.GRID), 3, 1), made


class Stage:
    """As much of a run as the tables look at."""

    def __init__(self, jets: int, path: Path, snapshots: list = ()) -> None:
        self.manifest, self.path, self.snapshots = {"jets_seen": jets}, path, snapshots
        self.architecture = EncoderConfig("particles", "nano", "full")


def test_heads_are_chosen_on_the_first_seed_and_more_labels_tune_the_length_alone(tables):
    module, bench, made = tables
    table = bench.tuned(None, "from-scratch", module.HEADS, [500, 2000, 10_000], 2000, 5)
    tuning = made.calls[0]
    assert (tuning["labels"], tuning["seeds"], tuning["heads"]) == ([500, 2000], 1, module.HEADS)
    assert all(tuning[many] == tuple(module.GRID[many]) for many in TRIED)
    assert table.groupby("labels").seed.nunique().to_dict() == {500: 5, 2000: 5, 10_000: 5}
    assert table.groupby("labels")["head"].unique().map(list).to_dict() == {
        500: ["class-attention"],
        2000: ["mlp"],
        10_000: ["mlp"],
    }
    most = made.calls[-1]
    assert most["labels"] == [10_000]
    assert most["lengths"] == module.LENGTHS
    assert all(most[many] == (tuple(module.GRID[many])[-1],) for many in TRIED if many != "lengths")


def test_still_more_labels_get_as_many_passes(tables):
    module, bench, made = tables
    table = bench.tuned(None, "from-scratch", module.HEADS, [500, 2000, 10_000, 40_000], 2000, 5)
    tuned, most = made.calls[-2:]
    assert (tuned["labels"], tuned["seeds"], tuned["lengths"]) == ([10_000], 5, module.LENGTHS)
    assert (most["labels"], most["seeds"]) == ([40_000], 3)
    assert most["lengths"] == (2 * module.LENGTHS[-1],)  # the made-up trainings choose the last
    assert table.groupby("labels").seed.nunique().to_dict() == {500: 5, 2000: 5, 10_000: 5, 40_000: 3}
    few = bench.tuned(None, "from-scratch", module.HEADS, [500, 10_000, 40_000], 2000, 2)
    assert few.groupby("labels").seed.nunique().to_dict() == {500: 2, 10_000: 2, 40_000: 2}


def test_both_arms_get_the_same_grid(tables, tmp_path, monkeypatch):
    """All of the script, over made-up trainings."""
    module, _, made = tables
    monkeypatch.setattr(module.Run, "open", lambda path: Stage(3000, path, [Stage(100, path)]))
    monkeypatch.setattr(module.JetStore, "open", lambda path: None)
    monkeypatch.setattr(module, "summary_trees", lambda *given: pd.DataFrame({"accuracy": [0.5]}))
    labels = ["--labels", "500", "2000", "10000", "40000"]
    monkeypatch.setattr(sys, "argv", ["gain_by_views.py", "run", "store", str(tmp_path), *labels])
    module.main()
    asked = {
        mode: [{**call, "folder": ""} for call in made.calls if call["modes"] == (mode,) and call["end"]]
        for mode in ("from-scratch", "fine-tuned")
    }
    assert len(asked["from-scratch"]) == 5  # tuning, the other seeds of two numbers of labels, two more
    assert [{**call, "modes": ""} for call in asked["fine-tuned"]] == [
        {**call, "modes": ""} for call in asked["from-scratch"]
    ]
    table = pd.read_csv(tmp_path / "few_shot.csv")
    seeds = table.groupby(["mode", "jets_pretrained", "labels"]).seed.nunique().unstack()
    assert seeds.loc[("fine-tuned", 3000)].tolist() == seeds.loc[("from-scratch", 0)].tolist() == [5, 5, 5, 3]
    assert seeds.loc[("fine-tuned", 100)].fillna(0).tolist() == [3, 3, 3, 0]


def test_snapshots_take_head_and_setting_of_the_end(tables, tmp_path):
    module, bench, made = tables
    end = bench.tuned(Stage(3000, tmp_path), "fine-tuned", module.HEADS, [500, 2000], 2000, 5)
    made.calls.clear()
    bench.kept(Stage(100, tmp_path), "fine-tuned", end)
    assert [(call["labels"], call["heads"], call["seeds"]) for call in made.calls] == [
        ([500], ("class-attention",), 3),
        ([2000], ("mlp",), 3),
    ]
    assert all(len(call[many]) == 1 for call in made.calls for many in TRIED)
    assert all(call["folder"].startswith("100-") for call in made.calls)


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_the_card_that_is_shipped_is_written_from_the_files_beside_it(folder):
    about = json.loads((folder / "about.json").read_text())
    table, trees = (pd.read_csv(folder / name) for name in ("few_shot.csv", "trees.csv"))
    card = script("model_card").card(Run.open(folder), table, trees, about, folder.name)
    assert card == (folder / "README.md").read_text()


def test_the_readme_says_what_the_card_says():
    card = (ROOT / "data" / "models" / "jet-targets-nano" / "README.md").read_text()
    needed = re.findall(r"needs for what ([\d,]+) labels give fine-tuned: about ([\d,]+)", card)[:2]
    told = " ".join((ROOT / "README.md").read_text().split())
    assert len(needed) == 2, card
    (few, first), (more, second) = needed
    assert f"with {few} labels it is as good as the same network from scratch with about {first}" in told
    assert f"with {more} as one with about {second}" in told


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_the_python_of_the_card_runs_as_printed(folder, store_path, monkeypatch):
    told = (folder / "README.md").read_text().split("In Python")[1].split("On the command line")[0]
    printed = told.split("\n\n", 1)[1]
    monkeypatch.chdir(ROOT)
    found = {}
    exec(textwrap.dedent(printed).replace("STORE", str(store_path)), found)
    assert f"# {found['vectors'].shape}" in printed
    assert np.isfinite(found["vectors"]).all()


def test_every_trial_is_a_configuration_and_differs_from_the_others():
    module = script("pretraining_trials")
    configs = {
        name: pretrain_config(method, "nano", {"steps": 10, **module.COMMON, **changed})
        for name, (method, changed) in module.TRIALS.items()
    }
    texts = [repr(config) for config in configs.values()]
    assert len(set(texts)) == len(texts)


def test_a_trial_of_two_stages_divides_the_views(store_path, tmp_path, monkeypatch):
    module = script("pretraining_trials")
    monkeypatch.setitem(module.COMMON, "batch_size", 8)
    run = module.trained("jp-jepa, then jet-targets", store_path, tmp_path, 32, 0)
    assert run.config.method == "jet-targets"
    assert run.manifest["start"]["method"] == "jp-jepa"
    assert run.manifest["jets_seen"] == run.manifest["start"]["jets_seen"]
    assert 24 <= jets_in_all(run) <= 32
    assert run.config.seed != 0  # other batches than those of the first stage


def test_a_card_tells_what_was_tuned_and_what_is_missing():
    module = script("model_card")
    about = {"tuned": 2000, "steps": 200, "batch_size": 64, "lengths_beyond": [1.0, 3.0]}
    few = pd.DataFrame({"mode": ["from-scratch"], "labels": [500], "length": [1.0]})
    assert module._beyond(about, few) == ""
    more = few.assign(labels=10_000, length=3.0)
    assert "at 10,000 labels (1 or 3 times as long)" in module._beyond(about, pd.concat([few, more]))
    assert "from scratch 17 over 10,000" in module._beyond(about, more)
    table = pd.DataFrame({"jets_pretrained": [0, 300_100, 3_000_000]})
    assert module._left_out(table, (300_000,), 3_000_000) == ""
    assert "at 100,000 and 1,000,000 jets" in module._left_out(
        table, (100_000, 300_000, 1_000_000), 3_000_000
    )
