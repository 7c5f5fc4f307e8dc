"""What a notebook keeps: figures, tables, findings, values, and what it depends on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.workbook import notebook


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> notebook.Stage:
    monkeypatch.setattr("IPython.display.display", lambda *_, **__: None)
    return notebook.start("05_test", tmp_path)


def test_finish_writes_what_was_shown(stage: notebook.Stage) -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    stage.show(figure, "line", "A line.")
    stage.table(pd.DataFrame({"class": ["QCD"], "mean": [0.5]}), "means", "Means.")
    stage.finding("Half.")
    stage.finish(mean=np.float32(0.5), counts=torch.tensor([1, 2]), where=Path("a/b"))
    record = json.loads((stage.folder / "result.json").read_text())
    assert record["values"] == {"mean": 0.5, "counts": [1, 2], "where": "a/b"}
    assert record["findings"] == ["Half."]
    assert record["figures"] == [{"file": "05_test/figures/line.png", "caption": "A line."}]
    assert record["tables"] == [{"file": "05_test/means.csv", "caption": "Means."}]
    assert (stage.folder / "figures" / "line.pdf").stat().st_size > 1000
    assert pd.read_csv(stage.folder / "means.csv").loc[0, "mean"] == 0.5


def test_the_main_ones_are_marked_and_pictures_described(
    stage: notebook.Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *_, **settings: shown.append(settings))
    stage.show(Figure(), "a", "A.", main=True)
    stage.table(pd.DataFrame({"x": [1]}), "t", "T.", main=True)
    stage.finding("One.")
    stage.finding("Two.", main=True)
    stage.finish()
    record = json.loads((stage.folder / "result.json").read_text())
    assert record["figures"][0]["main"] is record["tables"][0]["main"] is True
    assert (record["findings"], record["headlines"]) == (["One.", "Two."], ["Two."])
    assert shown[0]["metadata"] == {"image/png": {"alt": "A.", "caption": "A."}}


def test_starting_again_takes_the_earlier_result_away(stage: notebook.Stage) -> None:
    stage.show(Figure(), "old", "Of other parameters.")
    stage.finish()
    notebook.start("05_test", stage.run_dir)
    assert not (stage.folder / "result.json").exists()
    again = notebook.start("05_test", stage.run_dir)
    again.show(Figure(), "new", "Of these.")
    (again.folder / "figures" / "notes.txt").touch()
    (again.folder / "figures" / "more").mkdir()
    again.finish()
    assert {file.stem for file in (again.folder / "figures").iterdir()} == {"new", "notes", "more"}


def test_a_value_that_is_no_plain_result_is_refused(stage: notebook.Stage) -> None:
    with pytest.raises(TypeError, match="not object"):
        stage.finish(thing=object())
    assert not (stage.folder / "result.json").exists()


def test_values_of_an_earlier_notebook(stage: notebook.Stage) -> None:
    with pytest.raises(JepalibError, match="run it first"):
        stage.earlier("01_explore")
    earlier = notebook.start("01_explore", stage.run_dir)
    earlier.finish(store="x")
    assert stage.earlier("01_explore") == {"store": "x"}
    assert stage.paths[-1] == stage.run_dir / "01_explore" / "result.json"


def test_folders_by_settings(stage: notebook.Stage) -> None:
    assert stage.keyed("run", {"lr": 1}) == stage.keyed("run", {"lr": 1})
    assert stage.keyed("run", {"lr": 1}) != stage.keyed("run", {"lr": 2})
    assert stage.keyed("run", 1).parent == stage.folder


def test_fingerprints_follow_content(tmp_path: Path) -> None:
    file, folder, store = tmp_path / "file", tmp_path / "folder", tmp_path / "store"
    assert notebook.fingerprint(file) == "missing"
    file.write_text("a")
    first = notebook.fingerprint(file)
    file.write_text("b")
    assert notebook.fingerprint(file) != first
    folder.mkdir()
    empty = notebook.fingerprint(folder)
    (folder / "new").write_text("x")
    assert notebook.fingerprint(folder) != empty
    store.mkdir()
    (store / "manifest.json").write_text("{}")
    (store / "data").write_text("x")
    before = notebook.fingerprint(store)
    (store / "data").write_text("xy")  # a store's manifest holds the hash of its data
    assert notebook.fingerprint(store) == before
    (store / "manifest.json").write_text('{"hash": 1}')
    assert notebook.fingerprint(store) != before


def test_project_root_is_found_from_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "notebooks")
    assert notebook.under_root("runs/x") == tmp_path / "runs" / "x"
    assert notebook.under_root("/elsewhere") == Path("/elsewhere")
