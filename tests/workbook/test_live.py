"""Pre-training from a notebook: a process of its own, curves where someone watches."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from jepalib.data.convert import convert
from jepalib.errors import JepalibError
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import pretrain
from jepalib.workbook import live

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
SETTINGS = {"steps": 4, "batch_size": 8, "max_jets": 100, "log_every": 1, "micro_batch": 8}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("live") / "store"
    convert([SAMPLE], path, quiet=True)
    return path


def test_runs_draws_and_finds_itself_done(store: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    lengths = []

    def draw(metrics: pd.DataFrame) -> Figure:
        lengths.append(len(metrics))
        return Figure()

    monkeypatch.setattr(live, "is_live", lambda: True)
    monkeypatch.setattr(live, "DRAW_EVERY", 0.0)
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    run = live.pretrain_live("jp-jepa", "nano", store, tmp_path / "run", SETTINGS, draw, processes=2)
    assert run.metrics().step.tolist() == [1, 2, 3, 4]
    assert lengths[-1] == 4
    live.pretrain_live("jp-jepa", "nano", store, tmp_path / "run", SETTINGS, draw, processes=1)
    assert "already done" in capfd.readouterr().err


def test_what_went_wrong_is_in_the_message(store: Path, tmp_path: Path) -> None:
    with pytest.raises(JepalibError, match="unknown setting 'stepps'"):
        live.pretrain_live("jp-jepa", "nano", store, tmp_path, {"stepps": 3}, lambda _: Figure(), 1)


def test_several_side_by_side_are_those_made_alone(store: Path, tmp_path: Path) -> None:
    configs = {
        tmp_path / name: pretrain_config("jp-jepa", "nano", {**SETTINGS, "classes": classes})
        for name, classes in (("some", ("QCD", "Tbl")), ("all", ()))
    }
    made = live.pretrain_several(store, configs, lambda _: Figure())
    assert [run.path for run in made] == list(configs)
    assert [run.manifest["training_jets"] for run in made] == [100, 100]
    assert made[0].manifest["classes"] == ["QCD", "Tbl"]
    alone = pretrain(configs[tmp_path / "some"], store, tmp_path / "alone", quiet=True)
    assert alone.metrics().loss.tolist() == pytest.approx(made[0].metrics().loss.tolist(), rel=1e-4)
    missing = {tmp_path / "none": pretrain_config("jp-jepa", "nano", {**SETTINGS, "classes": ("gluon",)})}
    with pytest.raises(JepalibError, match="unknown 'gluon'"):
        live.pretrain_several(store, missing, lambda _: Figure())


def test_snapshots_lie_at_halves_of_the_run() -> None:
    assert live.doublings(76_800, 3) == [9_600, 19_200, 38_400]
    assert live.doublings(3, 5) == [1]
