"""Jets of a search: the test split alone, of one class, as many as asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.workbook.notebook import Stage
from jepalib.workbook.pools import by_class, class_rows, search_store, signals_of


def test_rows_are_test_jets_of_the_class(store_path: Path) -> None:
    store = JetStore.open(store_path)
    rows = class_rows(store, "Tbl", 12, 0)
    assert len(set(rows.tolist())) == 12
    assert set(rows.tolist()) <= set(np.asarray(store.rows("test")).tolist())
    assert (store.labels[rows] == CLASSES.index("Tbl")).all()
    assert class_rows(store, "Tbl", 12, 1).tolist() != rows.tolist()
    with pytest.raises(JepalibError, match="21 test jets of Tbl are needed, there are 20"):
        class_rows(store, "Tbl", 21, 0)


def test_own_jets_are_taken_as_they_are(store_path: Path, tmp_path: Path) -> None:
    stage = Stage("12_anomaly_search", tmp_path)
    store = search_store(stage, str(store_path), {"QCD": 5}, 0)
    assert store.data_hash == JetStore.open(store_path).data_hash
    assert stage.paths == [store.path]
    assert list(tmp_path.iterdir()) == []


def test_jets_are_simulated_as_many_of_each_class(tmp_path: Path) -> None:
    pytest.importorskip("pythia8mc")
    store = search_store(Stage("12_anomaly_search", tmp_path), "", {"QCD": 4, "Zqq": 2, "Wqq": 2}, 0)
    counts = {CLASSES[label]: int(n) for label, n in zip(*np.unique(store.labels, return_counts=True))}
    assert counts == {"QCD": 4, "Zqq": 2, "Wqq": 2}
    assert list(store.splits()) == ["test"]


def test_values_go_to_their_class() -> None:
    parts = by_class(np.arange(10).reshape(5, 2), {"QCD": np.zeros(3, int), "Tbl": np.zeros(2, int)})
    assert {name: part.tolist() for name, part in parts.items()} == {
        "QCD": [[0, 1], [2, 3], [4, 5]],
        "Tbl": [[6, 7], [8, 9]],
    }


def test_signals_are_those_named_or_all() -> None:
    assert signals_of([], "Tbl", signal_counts=[10, 3]) == [name for name in CLASSES if name != "QCD"]
    assert signals_of(["Wqq", "Tbl", "Wqq"], "Tbl") == ["Wqq", "Tbl"]


@pytest.mark.parametrize(
    ("signals", "main", "counts", "message"),
    [
        (["Wqq", "top"], "Wqq", [1], "search_signals: 'top' is no class of JetClass; signals are Hbb"),
        (["QCD", "Wqq"], "Wqq", [1], "search_signals: 'QCD' is the background"),
        ([], "tops", [1], "main_signal: 'tops' is no class"),
        ([], "QCD", [1], "main_signal: 'QCD' is the background"),
        (["Wqq", "Zqq"], "Tbl", [1], "main_signal 'Tbl' is not among search_signals: Wqq, Zqq"),
        ([], "Tbl", [], r"signal_counts \[\]: give at least one number"),
        ([], "Tbl", [10, 0], r"signal_counts \[10, 0\]: give at least one number, none below 1"),
    ],
)
def test_what_is_no_search_is_named(signals, main, counts, message) -> None:
    with pytest.raises(JepalibError, match=message):
        signals_of(signals, main, signal_counts=counts)


def test_an_unknown_class_is_not_dropped(tmp_path: Path) -> None:
    with pytest.raises(JepalibError, match="no class 'Hzz' in JetClass"):
        search_store(Stage("12_anomaly_search", tmp_path), "", {"QCD": 4, "Hzz": 2}, 0)
    assert not (tmp_path / "data").exists()
