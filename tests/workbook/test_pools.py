"""Jets of a search: the test split alone, of one class, as many as asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.schema import CLASSES
from jepalib.workbook.notebook import Stage
from jepalib.workbook.pools import by_class, class_rows, search_store


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
