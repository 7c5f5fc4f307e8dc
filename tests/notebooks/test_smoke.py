"""All notebooks, run as a user runs them in the smallest profile, and the values that come out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient
from traitlets.config import Config

from jepalib.evaluation.maps import JetMap
from jepalib.viz.explorer import EmbeddingExplorer

ROOT = Path(__file__).resolve().parents[2]
NAMES = [path.stem for path in sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))]


def run_workbook(out: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "jepalib.workbook.cli", "run", "--profile", "smoke", "--out", str(out)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2700)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a complete smoke run, always a new one; JEPALIB_SMOKE_RUN says where to leave it."""
    named = os.environ.get("JEPALIB_SMOKE_RUN")
    folder = ROOT / named if named else tmp_path_factory.mktemp("smoke")
    shutil.rmtree(folder, ignore_errors=True)
    ended = run_workbook(folder)
    assert ended.returncode == 0, ended.stderr
    return folder


def values(out: Path, name: str) -> dict[str, Any]:
    return json.loads((out / name / "result.json").read_text())["values"]


def test_start_walks_the_whole_chain(out: Path) -> None:
    found = values(out, "00_start")
    assert found["jets"] == 1000
    assert found["loss_last"] < found["loss_first"]
    assert set(found["accuracy"]) == {"linear-probe", "fine-tuned", "from-scratch"}
    assert found["accuracy"]["linear-probe"] > 0.2  # guessing reaches 0.1


def test_explore_finds_the_physics(out: Path) -> None:
    found = values(out, "01_explore")
    assert found["jets"] == {"train": 500, "val": 100, "test": 250}
    counts, mass, ratios = found["mean_constituents"], found["median_mass"], found["median_ratios"]
    assert 20 < min(counts.values()) < max(counts.values()) < 80
    assert counts["Hgg"] > counts["Wqq"]
    assert 65 < mass["Wqq"] < 90 < mass["Hbb"] < 135 < mass["Tbqq"] < 185  # GeV
    assert mass["QCD"] < 60
    assert ratios["tau21"]["Wqq"] < ratios["tau21"]["QCD"]
    assert ratios["tau32"]["Tbqq"] < ratios["tau32"]["QCD"]
    assert found["largest_input"] <= 5


def test_masks_are_as_asked(out: Path) -> None:
    found = values(out, "02_masks")
    assert found["target_share"] == pytest.approx(0.30, abs=0.01)
    assert 0.3 < found["context_share"] < 0.45
    assert found["disjoint"]
    assert found["distance"]["stretches"] > 1.2 * found["distance"]["random constituents"]


def test_pretraining_learns_and_stays_alive(out: Path) -> None:
    found = values(out, "03_pretrain")
    assert found["steps"] == 30
    assert found["loss_last"] < found["loss_first"]
    assert min(found["ranks"].values()) > 5
    assert set(found["ranks"]) == {"rank_particles", "rank_cls"}
    assert found["alarms"] == 0
    assert found["probes"]["pid_accuracy"] > 0.2  # of eight classes
    assert (Path(found["run"]) / "teacher.safetensors").is_file()


def test_few_shot_has_every_point(out: Path) -> None:
    found = values(out, "04_few_shot")
    table = pd.read_csv(found["few_shot"])
    points = table.groupby(["mode", "labels"]).seed.nunique()
    assert set(table["mode"]) == {"linear-probe", "frozen", "fine-tuned", "from-scratch"}
    assert points.unique().tolist() == [2]
    assert table.accuracy.between(0.03, 0.9).all()
    assert found["accuracy"]["linear-probe, 200"] > 0.15
    assert set(found["gains"]) == {"100", "200"}


def test_few_shot_shows_the_encoder_that_comes_along(out: Path) -> None:
    """Next to the short run, with the same labelled and test jets, and what it saves."""
    found = values(out, "04_few_shot")
    own, shipped = found["accuracy"], found["shipped"]
    trees, probe = "trees on the numbers, 200", "linear-probe, 200"
    assert shipped["accuracy"].keys() - own.keys() == {"trees on the numbers, 100", trees}
    assert shipped["accuracy"]["from-scratch, 200"] == own["from-scratch, 200"]  # shared by both
    assert shipped["accuracy"][probe] > own[probe] + 0.1
    assert shipped["accuracy"]["fine-tuned, 200"] > own["fine-tuned, 200"]
    assert shipped["accuracy"][trees] > 0.3
    assert shipped["over_trees"]["200"] == pytest.approx(
        shipped["accuracy"]["fine-tuned, 200"] - shipped["accuracy"][trees]
    )
    table = pd.read_csv(shipped["few_shot"])
    assert set(table["mode"]) == {"linear-probe", "frozen", "fine-tuned"}
    number = r"(about|more than|fewer than) [\d,]+"
    assert re.match(number, shipped["catch_up"]["fine-tuned"])
    assert all(re.match(number, count) for count in shipped["needed"].values())
    figures = json.loads((out / "04_few_shot" / "result.json").read_text())["figures"]
    names = {Path(figure["file"]).stem for figure in figures}
    assert names == {"few_shot", "by_views", "gain_by_views", "labels_saved", "published"}


def test_the_same_notebooks_serve_the_other_method(out: Path) -> None:
    """03 and 04 with method=hep-jepa, in a folder of their own on the jets of 01."""
    other = out / "hep"
    store = values(out, "01_explore")["store"]
    command = [sys.executable, "-m", "jepalib.workbook.cli", "run", "03", "04", "--profile", "smoke"]
    command += ["--out", str(other), "-p", "method=hep-jepa", "-p", f"data_dir={store}", "-p", "seeds=1"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert set(values(other, "03_pretrain")["ranks"]) == {"rank_patches"}
    table = pd.read_csv(values(other, "04_few_shot")["few_shot"])
    assert set(table["head"]) == {"logistic", "class-attention"}
    shipped = values(other, "04_few_shot")["shipped"]  # another network: with a from-scratch of its own
    table = pd.read_csv(shipped["few_shot"])
    assert set(table[table["mode"] == "from-scratch"]["head"]) == {"mlp"}


def test_patches_labels_maps_and_observables_of_hep_jepa(out: Path) -> None:
    found = values(out, "05_hep_jepa")
    assert found["loss_last"] < found["loss_first"]
    assert found["rank"] > 5
    assert 0.01 < found["uncovered"] < 0.1
    assert 0.1 < found["seen_of_targets"] < 0.9
    table = pd.read_csv(found["few_shot"])
    assert set(table["mode"]) == {"frozen", "fine-tuned", "from-scratch"}
    assert sorted(table.labels.unique()) == [10, 500]  # 2 % and all of 500 training jets
    assert set(found["r2"]) == {"pre-trained", "untrained", "hand-made"}
    assert 0.3 < min(found["r2"].values()) < max(found["r2"].values()) < 1
    assert found["neighbours"] > 0.1


def test_transfer_has_every_arm_on_both_data_sets(out: Path) -> None:
    found = values(out, "06_transfer")
    assert min(found["cuts"].values()) > 0.7  # one number alone tells the classes apart
    arms = {name.split(", ", 1)[1] for name in found["accuracy"]}
    assert len(found["accuracy"]) == 2 * len(arms) == 10
    assert all(0.3 < value <= 1 for value in found["accuracy"].values())
    assert {Path(path).is_dir() for path in found["stores"].values()} == {True}


def test_ablations_train_every_row_as_points_of_a_sweep(out: Path) -> None:
    found = values(out, "07_ablations")
    assert (found["points"], found["seeds"]) == (3, 1)
    assert set(found["accuracy"]) == {"baseline", "registers", "untrained"}
    assert min(found["accuracy"].values()) > 0.12  # of 100 jets; guessing reaches 0.1
    assert min(found["rank"].values()) > 5
    assert found["trends"] == {"Table 7: registers": "undecided: one seed, spread unknown"}
    table = pd.read_csv(out / "07_ablations" / "ablations.csv").set_index("setting")
    assert table.published[["registers", "no registers"]].tolist() == [0.576, 0.557]
    assert table.jets_seen[["registers", "untrained"]].tolist() == [625, 0]  # 500 jets are 8 equal batches
    command = [sys.executable, "-m", "jepalib.workbook.cli", "sweep", "07_ablations", "--list"]
    command += ["--profile", "smoke", "--out", str(out)]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    states = [line.split(maxsplit=1) for line in listed.stdout.splitlines()]
    assert [name for name, _ in states] == ["baseline-seed0", "untrained-seed0", "registers-seed0"]
    assert all(state.startswith("done in ") for _, state in states), states


def test_representation_looks_at_every_layer_and_keeps_its_map(out: Path) -> None:
    found = values(out, "08_representation")
    layers = ["embedding", "block 1", "block 2", "block 3", "block 4", "class block 1"]
    for measure in ("linear", "rank", "ppe"):
        assert list(found[measure]) == ["pre-trained", "untrained"]
        assert all(list(by_layer) == layers for by_layer in found[measure].values())
    assert 0.2 < found["linear"]["pre-trained"]["block 1"] < 0.6  # of 200 jets; guessing reaches 0.1
    assert all(5 < rank < 64 for rank in found["rank"]["pre-trained"].values())
    assert all(0 < ppe < 90 for ppe in found["ppe"]["pre-trained"].values())
    assert len(found["training"]) == found["snapshots"] + 2
    assert found["cka"]["pre-trained"] == pytest.approx(1)
    assert {"untrained", "hep-jepa", "fine-tuned, seed 0", "from-scratch, seed 1"} < set(found["cka"])
    assert found["chance"] < 0.1 < found["cka"]["untrained"]
    assert found["follows"]["energy"] > found["follows"]["pt"]
    assert 0.05 < found["landed"] < 0.6
    assert set(found["physics"]) == {"pre-trained", "untrained", "hand-made"}
    assert found["physics"]["pre-trained"]["multiplicity"] > 0.3
    assert found["physics"]["hand-made"]["sdmass"] > 0.5
    chart = JetMap.load(Path(found["map"]) / "tsne.npz")
    with np.load(Path(found["map"]) / "embedding.npz") as kept:
        assert len(chart.places) == len(kept["embedding"]) == len(kept["rows"]) == 250
        assert np.isfinite(chart.place(kept["embedding"][:5])).all()
    assert len(EmbeddingExplorer.open(Path(found["map"]) / "explorer").table) == 250


def test_scores_are_kept_and_every_way_is_compared(out: Path) -> None:
    found = values(out, "10_uncertainty")
    assert (found["jets"], found["taggers"], found["seeds"]) == (250, 4, 2)
    assert list(found["ways"]) == ["fine-tuned", "from-scratch"]
    for ways in found["ways"].values():
        names = ["single model", "temperature", "MC dropout", "ensemble", "ensemble, temperature"]
        assert list(ways) == names
        assert all(0.05 < way["accuracy"] < 0.9 and 1 < way["log_loss"] < 2.6 for way in ways.values())
        assert all(0 < way["ece"] < 0.3 and 0 < way["ece_floor"] < 0.1 for way in ways.values())
        assert ways["temperature"]["accuracy"] == pytest.approx(ways["single model"]["accuracy"])
        assert ways["ensemble"]["log_loss"] <= ways["single model"]["log_loss"]  # Jensen
    with np.load(found["scores"]) as scores:
        labels, probabilities = scores["labels"], scores["probabilities"]
        assert probabilities.shape == (4, 250, 10)
        assert np.bincount(labels).tolist() == [25] * 10
        own = probabilities[scores["arms"] == "fine-tuned"]
    table = pd.read_csv(values(out, "04_few_shot")["few_shot"])
    expected = table[(table["mode"] == "fine-tuned") & (table.labels == 200)].accuracy.mean()
    assert (own.argmax(2) == labels).mean() == pytest.approx(expected)  # the same jets as in 04
    assert found["ways"]["fine-tuned"]["single model"]["accuracy"] == pytest.approx(expected)
    assert len(found["rejection"]["from-scratch"]) == 9
    assert "200 needed" in found["rejection"]["fine-tuned"]["Tbl"]
    assert not any("inf" in text for arm in found["rejection"].values() for text in arm.values())
    assert len(found["half_rejected"]) == 8
    assert {start for start, _ in found["half_rejected"].values()} == {
        ways["ensemble"]["accuracy"] for ways in found["ways"].values()
    }


def test_displays_pick_jets_and_draw_attention(out: Path) -> None:
    found = values(out, "11_jet_displays")
    assert all(0.02 < share < 1 / 3 for share in found["softest"].values())
    assert len(found["disagree"]) == 4  # two arms of two seeds: within each, and across with and without
    assert all(0.02 < share < 0.95 for share in found["disagree"].values())
    assert 0 < sum(found["right"].values()) <= 1
    assert found["accuracy"]["most uncertain"] < 0.7
    assert 0.5 < found["even"][0] < found["even"][1] < 2  # hardly trained, the class token looks at all alike
    assert set(found["attention"]) == {
        f"{arm}, {kind}"
        for arm in ("pre-trained", "fine-tuned", "from-scratch")
        for kind in ("particles", "class")
    }
    assert all(0.3 < ratio < 5 for means in found["attention"].values() for ratio in means.values())


def test_robustness_has_every_arm_under_every_condition(out: Path) -> None:
    found = values(out, "09_robustness")
    dropout = ["fine-tuned, no dropout", "fine-tuned, + dropout", "from scratch, + dropout"]
    assert list(found["accuracy"]) == ["fine-tuned", "from scratch", *dropout]
    assert (found["conditions"], found["jets"]) == (29, 50)
    table = pd.read_csv(found["table"])
    assert len(table) == 5 * 30  # the mean over removals is one more
    for arm, rows in table.groupby("arm"):
        assert (rows[rows.kind == "clean"][["loss", "loss_error"]].to_numpy() == 0).all()
        removed = rows[rows.kind == "input"]
        assert len(removed) == 17
        assert removed.accuracy.mean() == pytest.approx(found["removals"][arm])
        dead = rows[rows.kind == "dead"].set_index("size").lost_particles
        assert 0.02 < dead[0.2] < dead[0.8] < 0.9
    words = {"a gain", "a loss", "no difference beyond the spread"}  # the spread is pooled over all arms
    assert set(found["verdicts"].values()) <= words
    assert sum("dropout" in name for name in found["verdicts"]) == 9
    config = json.loads((Path(found["without"]) / "config.json").read_text())
    with_dropout = json.loads((Path(values(out, "03_pretrain")["run"]) / "config.json").read_text())
    assert (config["objective"]["pid_dropout"], config["objective"]["td_dropout"]) == (0, 0)
    for key in ("pid_dropout", "td_dropout"):
        assert with_dropout["objective"].pop(key) > config["objective"].pop(key)
    assert config == with_dropout


def test_search_has_every_arm_and_pretraining_without_the_signals(out: Path) -> None:
    found = values(out, "12_anomaly_search")
    # to judge, twice as many as A and B take, the signal of B and twice what is told
    assert found["jets"] == {"QCD": 520, "Hbb": 75, "Wqq": 75, "Tbqq": 95}
    ways = [
        "embedding, trees",
        "embedding, linear",
        "untrained, trees",
        "untrained, linear",
        "observables, trees",
    ]
    sources = ["observables", "embedding", "untrained"]
    told = [f"{source}, supervised {fit}" for source in sources for fit in ("trees", "linear")]
    assert set(found["max_sic"]) == {f"{way}, {count}" for way in ways for count in (8, 40)} | {
        f"{name}, 40" for name in [*told, "fine-tuned", "from scratch"]
    }
    assert all(1 <= value < 10 for value in found["max_sic"].values())
    assert set(found["bounds"]) == {f"{source}, supervised" for source in sources}
    for name, bound in found["bounds"].items():
        assert bound == max(found["max_sic"][f"{name} {fit}, 40"] for fit in ("trees", "linear"))
    assert found["bounds"]["observables, supervised"] > 1.3  # tops against QCD, told the truth
    assert found["trainings"] == (5 * 2 * 2 + 6 * 2 + 2) + 5 * 3 * 2 + 2 * 2 * 3 * 2
    assert found["quoted"] == {"max_sic": 34, "sic_1e-2": 0, "sic_1e-3": 0, "sic_1e-4": 0}  # of 200 jets
    words = {"a gain", "a loss", "no difference beyond the spread", "one seed, spread unknown"}
    assert {verdict["max_sic"] for verdict in found["verdicts"].values()} <= words
    assert {verdict["sic_1e-2"] for verdict in found["verdicts"].values()} == {"not quoted"}
    assert found["verdicts"]["fine-tuned / from scratch"]["max_sic"] == "one seed, spread unknown"
    assert set(found["beyond"]) == set(ways)
    assert found["network"]["steps"] == 3  # 5 at 500 jets, 150 to train on
    assert found["network"]["epochs"] == pytest.approx(3 * 64 / 150)
    assert set(found["by_signal"]["embedding, linear"]) == {"Hbb", "Wqq", "Tbqq"}
    assert {sum(tally["max_sic"].values()) for tally in found["ahead"].values()} == {3}
    assert {frozenset(tally["sic_1e-2"]) for tally in found["ahead"].values()} == {frozenset(["not quoted"])}
    assert found["unseen"]["six classes"] == ["QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql"]
    assert len(found["unseen"]["ten classes"]) == 10
    assert max(found["unseen_jets"].values()) <= 300  # 50 of each of six classes, and as many of ten
    assert found["unseen_pretrainings"] == 4
    groups = ["seen by both", "new to the six-class encoder"]
    lost, at_fixed_cut = found["lost"]["max_sic"], found["lost"]["sic_1e-2"]
    assert set(lost) == {*groups, "the first less the second"}
    assert at_fixed_cut == {}
    assert lost["the first less the second"] == pytest.approx(lost[groups[1]] - lost[groups[0]])
    assert found["learned"]["max_sic"] in words
    said = " ".join(json.loads((out / "12_anomaly_search" / "result.json").read_text())["findings"])
    for part in ("100,000 background", "16% of uncertainty", "3 steps of 64 jets", "2 pairs of pre-training"):
        assert part in said
    table = pd.read_csv(found["table"])
    assert table["sic_1e-2"].isna().all()
    assert table.significance.max() == pytest.approx(40 / 80**0.5)


def test_scaling_measures_every_size_and_finds_the_frontier(out: Path) -> None:
    found = values(out, "13_scaling")
    assert (found["points"], found["seeds"]) == (4, 1)
    assert list(found["parameters"]) == ["atto", "femto", "pico"]
    assert list(found["parameters"].values()) == sorted(found["parameters"].values())
    costs = found["step_flops"]
    assert 5 * costs["atto"] < 2 * costs["femto"] < costs["pico"]
    assert set(found["loss"]) == {f"{size}, {views}" for size in costs for views in (200, 400, 800)}
    assert found["loss"]["pico, 800"] < found["loss"]["pico, 200"]
    assert 0.1 < min(found["loss"].values()) < max(found["loss"].values()) < 1
    assert found["frontier"][0] == "atto, 200"
    assert set(found["exponents"]["loss"]) == {"views", "parameters", "operations"}  # two numbers make no law
    assert found["exponents"]["loss"]["views"] > 0
    assert set(found["determined"]["error"]) <= set(found["exponents"]["error"])
    assert list(found["unique_loss"]) == ["60", "500"]
    kept = json.loads((out / "13_scaling" / "points" / "pico-60-seed0" / "result.json").read_text())["values"]
    assert (kept["unique"], len(kept["measured"])) == (60, 1)


def test_bump_hunt_is_whole_and_its_toys_are_right(out: Path) -> None:
    found = values(out, "14_bump_hunt")
    assert found["events"]["background"] > 300
    assert found["shares"]["signal"] > 0.55  # in 3.3 to 3.7 TeV
    assert 0.1 < found["shares"]["background"] < 0.35
    assert list(found["trap"]) == ["as they are", "scaled", "one regression", "regression for each part"]
    assert found["trap"]["regression for each part"]["shaped"] > 0.01
    assert abs(found["trap"]["regression for each part"]["z"]) < 3
    arms = ["pre-trained", "untrained", "physicist's four, discriminant", "physicist's four, trees"]
    assert set(found["observed"]) == {f"{arm}, {count}" for arm in arms for count in (0, 40)}
    assert all(abs(found["observed"][f"{arm}, 0"]) < 3 for arm in arms)  # a carved spectrum has more
    assert all(0.4 < found["balance"][arm] < 1.6 for arm in arms)  # ± 0.18 by counting
    assert all(found["observed"][f"{arm}, 40"] > found["observed"][f"{arm}, 0"] + 0.5 for arm in arms[:3])
    assert all(found["asimov"][f"{arm}, 40"] > 0.5 and found["asimov"][f"{arm}, 0"] == 0 for arm in arms)
    assert all(low < middle < high for middle, low, high in found["expected"].values())
    assert all(min(found["uniform"][arm].values()) > 0.01 for arm in arms[:3])  # 20 toys, calibrated
    assert all(0.5 < value < 2 for arm in arms for value in found["scatter"][arm].values())
    assert found["best"] in arms
    assert 1 / 21 <= found["global_p"] <= 1
    table = pd.read_csv(found["table"])
    assert len(table) == 4 * 2 * 3  # arms, numbers of signal events, cuts with none
    assert (table[(table.signals == 40) & (table.cut == 1)]["kept mean"] == 1).all()


def test_report_holds_everything_and_needs_nothing(out: Path) -> None:
    page = (out / "index.html").read_text()
    for name in NAMES:
        result = json.loads((out / name / "result.json").read_text())
        assert (out / f"{name}.html").is_file()
        for figure in result["figures"]:
            assert figure["caption"].replace("'", "&#39;") in page
            assert (out / figure["file"]).with_suffix(".pdf").is_file()
    assert page.count("data:image/webp;base64,") >= 10
    loaded = re.findall(r'(?:src|href)="((?!data:|#)[^"]*)"', page)
    assert all((out / target).is_file() for target in loaded), loaded
    assert "prefers-color-scheme: dark" in page


def test_called_again_it_skips_what_is_done(out: Path) -> None:
    ended = run_workbook(out)
    assert ended.returncode == 0
    assert [line for line in ended.stderr.splitlines() if "done already" not in line][:-1] == []
    assert ended.stderr.count("done already") == len(NAMES)


def test_live_from_the_notebooks_folder_the_inspector_has_controls(out: Path) -> None:
    notebook = nbformat.read(ROOT / "notebooks" / "02_masks.ipynb", as_version=4)
    cell = next(c for c in notebook.cells if "parameters" in c.metadata.get("tags", ()))
    cell.source += f'\nrun_dir = "{out}"\nexplore_jets = 100'
    with tempfile.TemporaryDirectory(prefix="jepa-") as sockets:  # a Unix socket's path must be short
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{sockets}/k"}})
        config.KernelManager.connection_file = f"{sockets}/kernel.json"
        client = NotebookClient(notebook, config=config, timeout=300, kernel_name="python3")
        client.execute(cwd=str(ROOT / "notebooks"))
    shown = [output.get("data", {}) for c in notebook.cells for output in c.get("outputs", ())]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in shown)
    assert "IntSlider" in json.dumps(notebook.metadata.widgets)
