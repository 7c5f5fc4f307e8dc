"""Pre-training from a notebook: a process of its own, curves where someone watches."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from jepalib.data.convert import convert
from jepalib.errors import JepalibError
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


def test_snapshots_lie_at_halves_of_the_run() -> None:
    assert live.doublings(76_800, 3) == [9_600, 19_200, 38_400]
    assert live.doublings(3, 5) == [1]
