"""The embedding explorer: what the mouse does to the map is heard, and what is chosen can be had back."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from made_jets import make_jets

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.viz.explorer import EmbeddingExplorer, StoreRows
from jepalib.viz.explorer_drawings import MISSING, OTHER, Coloring, verdict
from jepalib.viz.explorer_panel import ExplorerPanel
from jepalib.viz.style import CLASS_LOOK, UNUSED

MANY = 100_000
PNG = b"\x89PNG"


def made(jets: int, read=None) -> EmbeddingExplorer:
    """An explorer of random places; the jet of row k has class k % 10, as has its table."""
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(10), jets).astype(np.float32)
    table = {"class": np.array(CLASSES)[np.arange(jets) % 10], "pt": rng.uniform(500, 1000, jets)}
    table |= {"multiplicity": rng.integers(1, 128, jets), "right": scores.argmax(1) == np.arange(jets) % 10}
    return EmbeddingExplorer(rng.normal(size=(jets, 2)), pd.DataFrame(table), read or ten_jets, scores)


def ten_jets(rows: np.ndarray):
    """Row k is jet k % 10 of ten."""
    return make_jets([3, 20, 5, 40, 33, 17, 60, 3, 25, 90]).take((rows % 10).tolist())


@pytest.fixture(scope="module")
def panel() -> ExplorerPanel:
    """A panel of as many jets as the explorer is made for."""
    return ExplorerPanel(made(MANY))


@pytest.fixture
def shown(panel) -> ExplorerPanel:
    """The panel with nothing selected."""
    panel.explorer.select([])
    panel.row.value = 0
    return panel


def lasso(panel: ExplorerPanel, rows) -> None:
    """What the browser says when a line is drawn around jets, or when one is clicked."""
    panel.map.selection = np.asarray(rows, np.uint32)


def test_the_map_holds_every_jet_where_it_lies(panel):
    points = np.asarray(panel.map.points)
    assert len(points) == MANY
    for axis in (0, 1):
        assert np.corrcoef(points[:, axis], panel.explorer.places[:, axis])[0, 1] > 0.9999


def test_a_click_shows_the_jet_with_its_scores(shown):
    lasso(shown, [77_777])
    assert shown.explorer.selection.tolist() == [77_777]
    assert shown.row.value == 77_777
    assert shown.guard.line.value == ""
    assert bytes(shown.image.value).startswith(PNG)
    assert "jet 77777: class Wqq" in shown.words.value
    guess = CLASSES[int(shown.explorer.probabilities[77_777].argmax())]
    assert f"predicted {guess}" in shown.words.value


def test_hovering_shows_a_jet_for_as_long_as_it_lasts(shown):
    before = shown.image.value
    shown.map.hovering = 31
    assert "jet 31: class Hbb" in shown.words.value
    assert shown.image.value != before
    assert shown.row.value == 0
    shown.map.hovering = None
    assert shown.image.value == before
    assert "jet 0:" in shown.words.value


def test_a_lasso_is_the_selection_and_outlives_a_click(shown):
    rows = np.flatnonzero(shown.explorer.table["class"] == "Tbl")[::-1]
    lasso(shown, rows)
    assert np.array_equal(shown.explorer.selection, rows[::-1])
    assert set(shown.explorer.selected()["class"]) == {"Tbl"}
    assert "all selected" in shown.counts.value
    lasso(shown, [5])
    assert shown.row.value == 5
    assert len(shown.explorer.selection) == len(shown.map.selection) == MANY // 10
    lasso(shown, [])
    assert len(shown.explorer.selection) == 0
    assert "Nothing is selected" in shown.counts.value


def test_without_a_mouse(shown):
    shown.where.value = "`class` == 'Hgg' and pt > 990"
    chosen = shown.explorer.selected()
    assert 100 < len(chosen) < 400
    assert (chosen["class"] == "Hgg").all()
    assert (chosen.pt > 990).all()
    assert np.array_equal(shown.map.selection, chosen.index)
    assert shown.row.value == chosen.index[0]
    shown.on.click()
    assert shown.row.value == chosen.index[1]
    shown.back.click()
    shown.back.click()
    assert shown.row.value == chosen.index[-1]
    shown.row.value = int(chosen.index[4]) + 1  # beside the selection: on to its next
    shown.on.click()
    assert shown.row.value == chosen.index[5]
    shown.clear.click()
    shown.row.value = 0
    shown.back.click()
    assert shown.row.value == MANY - 1


def test_mistakes_are_told_and_the_panel_stays(shown):
    lasso(shown, [1, 2, 3])
    shown.where.value = "heaviness > 3"
    assert "heaviness" in shown.guard.line.value
    assert shown.explorer.selection.tolist() == [1, 2, 3]
    shown.where.value = "pt + 1"
    assert "is no condition" in shown.guard.line.value
    shown.row.value = 9
    assert shown.guard.line.value == ""


@pytest.mark.parametrize(("column", "kinds"), [("class", 10), ("right", 2), ("pt", 0), ("multiplicity", 0)])
def test_any_column_colours_the_map(shown, column, kinds):
    shown.color.value = "pt" if column == "class" else "class"
    before = np.array(shown.map.points)
    shown.color.value = column
    assert shown.guard.line.value == ""
    points, values = np.asarray(shown.map.points), shown.explorer.table[column]
    assert not np.array_equal(points, before)
    changed = points[:, 2:4][:, [bool(shown.map.color_by == name) for name in ("valueA", "valueB")]][:, 0]
    if kinds:
        assert len(shown.map.color) == kinds
        assert pd.crosstab(changed, values).gt(0).sum().tolist() == [1] * kinds  # one colour for each
    else:
        middle = values.between(*values.quantile([0.02, 0.98]))
        assert np.corrcoef(changed[middle], values[middle])[0, 1] > 0.9999
        assert (changed.min(), changed.max()) == (0, 1)


def test_classes_have_their_colours_and_what_is_missing_is_said():
    classes = Coloring.of(pd.Series(["Tbl", None, "QCD", "Tbl"]))
    assert classes.colors == {"QCD": CLASS_LOOK["QCD"].color, "Tbl": CLASS_LOOK["Tbl"].color, MISSING: UNUSED}
    numbers = Coloring.of(pd.Series([1.0, np.nan, 3.0, np.inf]))
    assert numbers.missing == 2
    assert np.isfinite(numbers.values).all()
    words = Coloring.of(pd.Series([f"kind {k % 13}" for k in range(200)]))
    assert len(words.colors) == 11
    assert words.colors[OTHER] == UNUSED
    assert (words.values == OTHER).sum() == sum(k % 13 >= 200 % 13 and k % 13 > 9 for k in range(200))
    constant = Coloring.of(pd.Series([2.0, 2.0]))
    assert constant.norm.vmin < constant.norm.vmax


def test_summary_counts_by_the_first_column_and_compares_with_the_whole():
    explorer = made(40)
    explorer.select([0, 10, 21, 20])
    table = explorer.summary().set_index("class")
    assert table.jets.to_dict() == {"QCD": 3, "Hbb": 1, "all selected": 4, "whole map": 40}
    assert table.pt["QCD"] == pytest.approx(explorer.table.pt[[0, 10, 20]].mean())
    assert table.multiplicity["whole map"] == pytest.approx(explorer.table.multiplicity.mean())
    by_number = EmbeddingExplorer(explorer.places, explorer.table[["pt", "class"]], ten_jets)
    assert by_number.summary()["pt"].tolist() == ["all selected", "whole map"]


def test_static_twin_shows_map_and_picked_jets():
    explorer = made(50)
    figure = explorer.figure([3, 14])
    titles = [part.get_suptitle() for line in figure.subfigs for part in line.subfigs]
    assert [title[:2] for title in titles] == ["", "1:", "2:", ""]
    assert "33" not in titles[1]
    assert "40 constituents" in titles[1]
    assert "33 constituents" in titles[2]
    bars = [patch.get_width() for patch in figure.subfigs[0].subfigs[1].axes[2].patches[:10]]
    assert bars == pytest.approx(explorer.probabilities[3].tolist())
    explorer.select([7, 9])
    assert "90 constituents" in explorer.figure().subfigs[1].subfigs[0].get_suptitle()


def test_jets_without_scores_and_labels_are_shown(jets):
    unlabelled = make_jets([4, 5, 6])
    unlabelled.labels[:] = -1
    explorer = EmbeddingExplorer(
        np.zeros((3, 2)),
        pd.DataFrame({"pt": [1.0, np.nan, 2.0]}),
        lambda rows: unlabelled.take(rows.tolist()),
    )
    assert len(explorer.jet_figure(1).axes) == 2
    assert "unlabelled" in explorer.figure().subfigs[0].subfigs[1].get_suptitle()
    assert explorer.describe(0) == "jet 0: pt 1"


def test_verdict_says_what_is_wrong():
    scores = np.array([0.2, 0.7, 0.1])
    assert verdict(scores, 1, "abc") == "predicted b (0.70), right"
    assert verdict(scores, 0, "abc") == "predicted b (0.70), wrong: it is a (0.20)"
    assert verdict(scores, -1, "abc") == "predicted b (0.70)"


def test_a_restart_loses_nothing(store_path, tmp_path):
    store, rows = JetStore.open(store_path), np.arange(999, 499, -1)
    explorer = made(500, StoreRows(store, rows))
    explorer.save(tmp_path / "kept")
    explorer.select([7, 3])
    again = EmbeddingExplorer.open(tmp_path / "kept")
    assert again.selection.tolist() == [3, 7]
    assert again.read(np.array([3])).index.tolist() == [996]
    assert np.array_equal(again.places, explorer.places)
    assert np.array_equal(again.probabilities, explorer.probabilities)
    pd.testing.assert_frame_equal(again.table, explorer.table)
    again.select([4])
    rerun = made(500, StoreRows(store, rows))  # its cell is run again
    rerun.save(tmp_path / "kept")
    assert rerun.selection.tolist() == [4]
    other = made(500, StoreRows(store, rows))
    other.places[0] += 1  # another map: its rows mean other jets
    other.save(tmp_path / "kept")
    assert len(other.selection) == 0


def test_what_cannot_be_saved_or_opened_is_said(store_path, tmp_path):
    with pytest.raises(JepalibError, match="StoreRows"):
        made(20).save(tmp_path)
    with pytest.raises(JepalibError, match="no saved explorer"):
        EmbeddingExplorer.open(tmp_path)
    made(20, StoreRows(JetStore.open(store_path), range(20))).save(tmp_path)
    about = tmp_path / "explorer.json"
    about.write_text(about.read_text().replace('"data_hash": "', '"data_hash": "0'))
    with pytest.raises(JepalibError, match="other jets"):
        EmbeddingExplorer.open(tmp_path)


def test_what_does_not_fit_is_refused():
    explorer = made(20)
    table, scores = explorer.table, explorer.probabilities
    bad = explorer.places.copy()
    bad[3, 1] = np.nan
    for given, message in [
        ((bad, table), "finite"),
        ((explorer.places[:0], table[:0]), "0 places"),
        ((explorer.places, table[:5]), "5, 4"),
        ((explorer.places, table[[]]), "20, 0"),
        ((explorer.places, table, ten_jets, scores[:, :3]), "20, 3"),
    ]:
        with pytest.raises(JepalibError, match=message):
            EmbeddingExplorer(*given[:2], *(given[2:] or (ten_jets,)))
    for call in (explorer.select, lambda rows: explorer.jet_figure(rows[0])):
        with pytest.raises(JepalibError, match="0 to 19"):
            call([20])


def test_heavy_parts_are_only_imported_where_someone_watches():
    code = "import sys, jepalib.viz.explorer; sys.exit(bool({'jscatter', 'ipywidgets'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
