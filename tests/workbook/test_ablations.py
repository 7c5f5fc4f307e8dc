"""The ablations: every published row is there, changes one thing, and stands beside its own number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jepalib.errors import JepalibError
from jepalib.evaluation.published import published_table
from jepalib.training.presets import pretrain_config
from jepalib.workbook import ablations
from jepalib.workbook.parameters import split_settings

ARGUMENTS = ("", [], 2, "nano", 10, 64, 100, 5)


def settings_of(row: str) -> list[str]:
    found = ablations.sweep(*ARGUMENTS)
    return next(p.parameters["settings"] for p in found.points if p.name == f"{row}-seed5")


@pytest.mark.parametrize("number", ablations.TABLES)
def test_every_row_of_a_published_table_is_trained(number: int) -> None:
    assert set(ablations.TABLES[number]) == set(published_table(ablations.PAPER, number).setting)
    assert set(ablations.TABLES[number].values()) <= set(ablations.ROWS)


def test_settings_are_those_that_the_tables_say() -> None:
    config = {
        row: pretrain_config("hep-jepa", "nano", split_settings(settings_of(row))) for row in ablations.ROWS
    }
    made = {row: config[row].objective for row in ablations.ROWS}
    base = made["baseline"]
    assert (base.masks.targets, base.masks.target_kind, base.masks.context_kind) == (
        4,
        "contiguous",
        "contiguous",
    )
    assert (base.masks.target_ratio, base.masks.context_ratio) == ((0.15, 0.2), (0.4, 0.75))
    assert (base.physics_bias, base.registers, base.augment.rotation) == (False, 0, 0)
    assert made["random"].masks.target_kind == "random"
    assert (made["one-target"].masks.targets, made["eight-targets"].masks.targets) == (1, 8)
    assert (made["wide-context"].masks.targets, made["wide-context"].masks.context_ratio) == (1, (0.85, 1.0))
    assert (made["physics-bias"].physics_bias, made["physics-bias"].registers) == (True, 0)
    assert (made["registers"].physics_bias, made["registers"].registers) == (False, 8)
    turned = made["augmentations"].augment
    assert min(turned.rotation, turned.smearing, turned.boost) > 0
    assert made["untrained"] == base
    assert made["untrained-physics-bias"] == made["physics-bias"]
    assert made["untrained-registers"] == made["registers"]
    assert len({repr(c) for c in config.values()}) == len(config) - 3  # but for the untrained all differ


def test_points_are_rows_times_seeds() -> None:
    sweep = ablations.sweep(*ARGUMENTS)
    assert [p.parameters["seed"] for p in sweep.points] == [5] * len(ablations.ROWS) + [6] * len(
        ablations.ROWS
    )
    assert len({point.name for point in sweep.points}) == 2 * len(ablations.ROWS)
    steps = {p.parameters["row"]: p.parameters["ablation_steps"] for p in sweep.points}
    assert {row for row, count in steps.items() if count == 0} == {r for r in steps if "untrained" in r}
    assert sweep.needs == ("01_explore",)
    assert ablations.sweep("elsewhere", *ARGUMENTS[1:]).needs == ()


def test_unknown_rows_are_refused() -> None:
    with pytest.raises(JepalibError, match="no row 'register'; did you mean registers"):
        ablations.sweep("", ["register"], *ARGUMENTS[2:])


@pytest.fixture
def points(tmp_path: Path) -> pd.DataFrame:
    """Results of three rows and two seeds on 1,000 jets, with registers far better than the baseline."""
    rng = np.random.default_rng(1)
    lines = []
    for row, level in (("baseline", 0.5), ("registers", 0.7), ("untrained", 0.3)):
        for seed in range(2):
            correct = rng.random(1000) < level
            file = tmp_path / f"{row}{seed}.npy"
            np.save(file, correct)
            line = {
                "row": row,
                "seed": seed,
                "accuracy": correct.mean(),
                "rank": 5.0 + seed,
                "correct": str(file),
            }
            trained = row != "untrained"
            line |= {"steps": 10 * trained, "jets_seen": 640 * trained, "loss": 0.1 if trained else None}
            lines.append({**line, "jets_per_second": 100.0 + 10 * seed if trained else None})
    return pd.DataFrame(lines)


def test_ours_stand_beside_the_published(points: pd.DataFrame) -> None:
    table = ablations.beside_published(points).set_index(["table", "setting"])
    assert list(table.index) == [
        (4, "contiguous; 4 targets"),
        (6, "no physics bias"),
        (7, "no registers"),
        (7, "registers"),
        (8, "no augmentations"),
    ]
    assert table.published.tolist() == [0.557, 0.557, 0.557, 0.576, 0.557]
    own = points[points.row == "registers"].accuracy
    line = table.loc[(7, "registers")]
    assert line.accuracy == pytest.approx(own.mean())
    assert line.spread == pytest.approx(own.std())
    assert (line.seeds, line.steps, line.jets_seen, line["rank"], line.jets_per_second) == (
        2,
        10,
        640,
        5.5,
        105,
    )


def test_untrained_rows_have_no_loss(points: pd.DataFrame) -> None:
    line = ablations.summary(points).loc["untrained"]
    assert line[["loss", "jets_per_second"]].isna().all()
    assert (line.steps, line.jets_seen) == (0, 0)


def test_a_clear_trend_is_seen(points: pd.DataFrame) -> None:
    (trend,) = ablations.trends(points).itertuples()
    assert (trend.table, trend.setting, trend.against) == (7, "registers", "no registers")
    assert trend.published == 0.019
    means = points.groupby("row").accuracy.mean()
    assert trend.difference == pytest.approx(means.registers - means.baseline)
    assert trend.verdict == "seen"


def test_one_seed_alone_decides_nothing(points: pd.DataFrame) -> None:
    (trend,) = ablations.trends(points[points.seed == 0]).itertuples()
    assert trend.verdict == "undecided: one seed, spread unknown"
    assert ablations.summary(points[points.seed == 0]).spread.isna().all()
