"""The scaling sweep: which runs it makes, that lengths compare, and what lies on which axis."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.training.optim import learning_rate
from jepalib.training.pretrain import pretrain
from jepalib.workbook import scaling

ARGUMENTS = {
    "data_dir": "",
    "method": "jet-targets",
    "scaling_sizes": ["atto", "femto"],
    "scaling_jets": [30, 60],
    "scaling_views": [64, 128, 256],
    "scaling_batch": 16,
    "scaling_warmup": 32,
    "scaling_seeds": [3, 4],
    "scaling_probe_jets": 100,
}


def test_points_are_sizes_on_all_jets_and_the_last_on_fewer():
    made = scaling.sweep(**ARGUMENTS)
    names = {point.name for point in made.points}
    assert names == {
        f"{kind}-seed{seed}" for seed in (3, 4) for kind in ("atto-all", "femto-all", "femto-30", "femto-60")
    }
    views = {point.name: point.parameters["views"] for point in made.points}
    assert views["femto-all-seed3"] == [64, 128, 256]
    assert views["femto-30-seed3"] == [256]
    assert made.needs == ("01_explore",)
    assert scaling.sweep(**ARGUMENTS | {"data_dir": "elsewhere"}).needs == ()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"scaling_sizes": ["femto", "micro"]}, "no size 'micro' of jet-targets; there are: atto, femto"),
        ({"scaling_sizes": ["huge"], "method": "hep-jepa"}, "no size 'huge' of hep-jepa"),
        ({"scaling_sizes": []}, "at least one of each"),
        ({"scaling_views": [100, 100]}, "numbers of jets, increasing"),
        ({"scaling_views": []}, "numbers of jets, increasing"),
        ({"scaling_warmup": 65}, "at most the first of scaling_views"),
        ({"scaling_jets": [0]}, "all of them come by themselves"),
        ({"method": "jet-target"}, "unknown method 'jet-target'"),
    ],
)
def test_mistakes_are_named(wrong, message):
    with pytest.raises(JepalibError, match=message):
        scaling.sweep(**ARGUMENTS | wrong)


@pytest.mark.parametrize("method", ["jp-jepa", "hep-jepa", "p-jepa", "jet-targets"])
def test_rate_and_pace_do_not_depend_on_the_length(store_path, method):
    store = JetStore.open(store_path)
    config = scaling.point_config(store, method, "femto", 0, [64, 256], 16, 16, 3)
    assert config.snapshots == (64,)
    assert config.objective.ema_start == config.objective.ema_end
    rates = [learning_rate(config, share) for share in (0.06, 0.5, 1.0)]
    assert rates == [config.lr] * 3


@pytest.mark.parametrize("unique", [0, 30, 10_000])
def test_every_view_is_reached(store_path, tmp_path, unique):
    store = JetStore.open(store_path)
    config = scaling.point_config(store, "jet-targets", "atto", unique, [50, 100], 16, 16, 0)
    run = pretrain(config, store.path, tmp_path / "run", quiet=True)
    seen = [found.manifest["jets_seen"] for found in [*run.snapshots, run]]
    assert all(wanted <= jets < wanted + 16 for wanted, jets in zip([50, 100], seen, strict=True))
    there = len(store.rows("train"))
    assert run.manifest["training_jets"] + run.manifest["left_out"] == min(unique or there, there)


def test_a_snapshot_is_the_run_that_ends_there(store_path, tmp_path):
    store = JetStore.open(store_path)
    runs = []
    for views in ([64, 128], [64]):
        config = scaling.point_config(store, "jet-targets", "atto", 64, views, 16, 32, 0)
        runs.append(pretrain(config, store.path, tmp_path / str(len(views)), quiet=True))
    (early,) = runs[0].snapshots
    for which in ("student", "teacher"):
        ours, other = (run.encoder(which).state_dict() for run in (early, runs[1]))
        for name in ours:
            assert torch.equal(ours[name], other[name])


@pytest.fixture
def points() -> pd.DataFrame:
    """Losses that are 8 parameters^-0.1 jets_seen^-0.2 unique^-0.05, seeds a percent apart."""
    rows = []
    for size, parameters in (("atto", 3e3), ("femto", 13e3), ("pico", 63e3)):
        for unique in (100, 1_000, 4_000):
            for seed in (0, 1):
                if size != "pico" and unique < 4_000:
                    continue
                lengths = (1_000, 2_000, 4_000) if unique == 4_000 else (4_000,)
                measured = []
                for jets in lengths:
                    loss = 8 * parameters**-0.1 * jets**-0.2 * unique**-0.05 * (1 + 0.01 * seed)
                    row = {"views": jets, "jets_seen": jets, "loss": loss, "accuracy": 1 - loss / 2}
                    measured.append({**row, "rank": 5.0})
                line = {"size": size, "parameters": parameters, "unique": unique, "seed": seed}
                rows.append({**line, "step_flops": 10 * parameters, "measured": measured})
    return pd.DataFrame(rows)


def test_every_axis_has_its_points_and_its_law(points):
    table = scaling.measurements(points)
    assert len(table) == 2 * (3 * 3 + 2)
    np.testing.assert_allclose(table.flops, 10 * table.parameters * table.jets_seen)
    np.testing.assert_allclose(table.error, 1 - table.accuracy)
    counts = {axis: len(scaling.axis_rows(table, axis, "pico")) for axis in scaling.AXES}
    assert (counts["views"], counts["unique jets"], counts["parameters"]) == (6, 6, 6)
    laws = scaling.laws(table, "loss", "pico")
    assert laws["views"].exponent == pytest.approx(0.2, abs=0.002)
    assert laws["unique jets"].exponent == pytest.approx(0.05, abs=0.002)
    assert laws["parameters"].exponent == pytest.approx(0.1, abs=0.002)
    assert all(law.seeds == 2 for law in laws.values())


def test_a_run_has_seen_no_more_different_jets_than_jets(points):
    points.loc[points["unique"] == 4_000, "unique"] = 20_000  # the longest run sees 4,000
    table = scaling.measurements(points)
    x, _ = scaling.as_grid(scaling.axis_rows(table, "unique jets", "pico"), "unique jets", "loss")
    assert x.tolist() == [100, 1_000, 4_000]


def test_the_frontier_is_of_runs_on_all_jets(points):
    table = scaling.measurements(points)
    best = scaling.axis_rows(table, "operations", "pico")
    assert set(best.unique) == {4_000}
    means = best.groupby(["size", "views"])[["flops", "loss"]].mean().sort_values("flops")
    assert means.loss.is_monotonic_decreasing
    assert ("atto", 1_000) in means.index


def test_points_that_a_seed_lacks_are_left_out(points):
    table = scaling.measurements(points)
    lacking = table[~((table["size"] == "atto") & (table.seed == 1))]
    assert "parameters" not in scaling.laws(lacking, "loss", "pico")  # two sizes are left
    x, values = scaling.as_grid(scaling.axis_rows(lacking, "parameters", "pico"), "parameters", "loss")
    assert x.tolist() == [13e3, 63e3]
    assert values.shape == (2, 2)
