"""The map of an embedding to look into: which jets lie where, and what they look like."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.schema import CLASSES
from jepalib.viz.displays import title_of
from jepalib.viz.explorer_drawings import (
    Coloring,
    draw_legend,
    draw_map,
    draw_scored_jet,
    explored_jet_figure,
    verdict,
)
from jepalib.viz.style import PAGE, new_figure
from jepalib.viz.widgets import show

MAP, TABLE, ABOUT, SELECTION = "map.npz", "table.parquet", "explorer.json", "selection.npz"


@dataclass(frozen=True)
class StoreRows:
    """The jets of a map, read from their store when they are asked for.

    Attributes:
        store: where they lie.
        rows: store row of each jet of the map.
    """

    store: JetStore
    rows: Int[np.ndarray, " jets"] | range

    def __call__(self, rows: Int[np.ndarray, " chosen"]) -> Jets:
        """The jets of these rows of the map."""
        return self.store.read(np.asarray(self.rows)[rows])


class EmbeddingExplorer:
    """A map of many jets to look into: colour it, point at a jet, draw a line around some.

    Shown as the last line of a cell, it is a WebGL map (jupyter-scatter) where someone watches:
    hovering or clicking shows a jet with its class probabilities, a lasso gives `selection`.
    Where no one does, it is the figure of the map and of a few jets. Jets are read when they
    are shown, and not kept.

    Args:
        places: of the jets on the map.
        table: a row per jet, what the map may be coloured by. Its first column is what the map
            starts with and what a selection is counted by: the true class, as a rule.
        read: gives the jets of some rows of the table; with `StoreRows` the explorer can be saved.
        probabilities: of the classes, by a classifier.
        classes: names, in the order of the probabilities and of the jets' labels.

    Raises:
        JepalibError: no jets, places that are not finite, a table without columns, or arguments of
            different numbers of jets or classes.
    """

    def __init__(
        self,
        places: Float[np.ndarray, "jets 2"],
        table: pd.DataFrame,
        read: Callable[[np.ndarray], Jets],
        probabilities: Float[np.ndarray, "jets classes"] | None = None,
        classes: Sequence[str] = CLASSES,
    ) -> None:
        jets = len(places)
        if jets == 0 or not np.isfinite(places).all():
            raise JepalibError(f"EmbeddingExplorer: {jets} places; give at least one, all of them finite")
        if len(table) != jets or table.shape[1] == 0:
            raise JepalibError(f"EmbeddingExplorer: a table of shape {table.shape} for {jets} places")
        if probabilities is not None and probabilities.shape != (jets, len(classes)):
            raise JepalibError(
                f"EmbeddingExplorer: probabilities of shape {probabilities.shape} for {jets} jets and "
                f"{len(classes)} classes"
            )
        self.places, self.table, self.read = places, table.reset_index(drop=True), read
        self.probabilities, self.classes = probabilities, tuple(classes)
        self.folder: Path | None = None
        self.watchers: list[Callable[[], None]] = []  # told when the selection changes
        self._selection = np.zeros(0, np.int64)

    @property
    def selection(self) -> Int[np.ndarray, " chosen"]:
        """Rows of the table that are selected, rising."""
        return self._selection

    def select(self, rows: Int[np.ndarray, " chosen"] | Sequence[int]) -> None:
        """Select these rows of the table, wherever the explorer is shown.

        Raises:
            JepalibError: there is no such row.
        """
        rows = np.unique(np.asarray(rows, np.int64))
        if len(rows) and not 0 <= rows[0] <= rows[-1] < len(self.table):
            raise JepalibError(f"EmbeddingExplorer: rows are 0 to {len(self.table) - 1}, got {rows[[0, -1]]}")
        self._selection = rows
        if self.folder is not None:
            self._save_selection()
        for watcher in self.watchers:
            watcher()

    def select_where(self, condition: str) -> None:
        """Select the jets of which a condition on the table holds, as "pt > 600 and `class` == 'Tbl'".

        Raises:
            JepalibError: the condition cannot be read, or is none.
        """
        try:
            found = self.table.eval(condition)
        except Exception as error:  # whatever the parser or a column objects to
            raise JepalibError(f"select where {condition!r}: {error}") from error
        if not isinstance(found, pd.Series) or found.dtype != bool:
            raise JepalibError(f"select where {condition!r}: is no condition; compare columns, as pt > 600")
        self.select(np.flatnonzero(found))

    def selected(self) -> pd.DataFrame:
        """The rows of the table that are selected."""
        return self.table.iloc[self.selection]

    def summary(self) -> pd.DataFrame:
        """How many jets are selected and the means of their numbers, by category of the first column.

        The last two rows are those of all selected jets and, to compare, of the whole map.
        """
        kind = self.table.columns[0]
        numbers = self.table.drop(columns=kind).select_dtypes("number").columns
        categories = self._kinds.values.to_numpy()[self.selection] if self._kinds.norm is None else None
        parts = {}
        for name in self._kinds.colors:
            rows = self.selection[categories == name]
            if len(rows):
                parts[name] = self.table.iloc[rows]
        parts |= {"all selected": self.selected(), "whole map": self.table}
        means = [{str(kind): name, "jets": len(p), **p[numbers].mean()} for name, p in parts.items()]
        return pd.DataFrame(means)

    @cached_property
    def _kinds(self) -> Coloring:
        return Coloring.of(self.table.iloc[:, 0])

    def _scores(self, row: int) -> Float[np.ndarray, " classes"] | None:
        return None if self.probabilities is None else self.probabilities[row]

    def _jet(self, row: int) -> Jets:
        if not 0 <= row < len(self.table):
            raise JepalibError(
                f"EmbeddingExplorer: there is no jet {row}; rows are 0 to {len(self.table) - 1}"
            )
        return self.read(np.array([row])).to("cpu")

    def jet_figure(self, row: int) -> Figure:
        """One jet of the map with its class probabilities.

        Raises:
            JepalibError: there is no such row.
        """
        return explored_jet_figure(self._jet(row), self._scores(row), self.classes)

    def describe(self, row: int) -> str:
        """One jet of the map in words: what the table and the classifier say."""
        entries = self.table.iloc[row]
        words = [
            f"{n} {v:.4g}" if isinstance(v, float | np.floating) else f"{n} {v}" for n, v in entries.items()
        ]
        if self.probabilities is not None:
            words.append(verdict(self.probabilities[row], int(self._jet(row).labels[0]), self.classes))
        return f"jet {row}: {', '.join(words)}"

    def figure(self, rows: Sequence[int] | None = None) -> Figure:
        """The static twin: the map by its first column, and three jets of it with their probabilities.

        Args:
            rows: of up to three jets; None takes the first that are selected, or else the first of
                the three most frequent categories.
        """
        rows = self._typical_rows() if rows is None else list(rows)[:3]
        jets = [self._jet(row) for row in rows]
        figure = new_figure(PAGE, 7.4)
        figure.set_layout_engine("none")
        *lines, _ = figure.subfigures(3, 1, height_ratios=(1, 1, 0.14))
        cells = [cell for line in lines for cell in line.subfigures(1, 2)]
        draw_map(cells[0], self.places, self.table.iloc[:, 0], rows)
        for number, (cell, row, jet) in enumerate(zip(cells[1:], rows, jets), 1):
            draw_scored_jet(cell, jet, self._scores(row), self.classes, shrink=0.5)
            cell.suptitle(f"{number}:  {title_of(jet, self.classes)}", fontsize=8.5)
        draw_legend(figure, jets, self.probabilities is not None)
        return figure

    def _typical_rows(self) -> list[int]:
        if len(self.selection):
            return self.selection[:3].tolist()
        if self._kinds.norm is None:
            often = self._kinds.values.value_counts().index[:3]
            return [int((self._kinds.values == name).to_numpy().argmax()) for name in often]
        return np.argsort(self._kinds.values.to_numpy())[:: max(len(self.table) // 2, 1)][:3].tolist()

    def controls(self) -> Any:
        """The live panel (an ipywidgets box)."""
        from jepalib.viz.explorer_panel import ExplorerPanel

        return ExplorerPanel(self).box

    def _ipython_display_(self) -> None:
        show(self)

    def save(self, folder: str | Path) -> None:
        """Write map, table and the place of the jets, for `open`; from now on every selection, too.

        A selection that was saved there for the same places is taken up again, unless there is one.

        Raises:
            JepalibError: the jets are not read by `StoreRows`.
        """
        if not isinstance(self.read, StoreRows):
            raise JepalibError(
                "EmbeddingExplorer.save: the jets come from no store; give read=StoreRows(...)"
            )
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {"places": self.places, "rows": np.asarray(self.read.rows)}
        if self.probabilities is not None:
            arrays["probabilities"] = self.probabilities
        store = self.read.store
        about = {"store": str(store.path.resolve()), "data_hash": store.data_hash, "classes": self.classes}
        np.savez(folder / MAP, **arrays)
        self.table.to_parquet(folder / TABLE)
        (folder / ABOUT).write_text(json.dumps(about, indent=1))
        self.folder = folder
        if not len(self.selection):
            self.select(self._saved_selection())
        else:
            self._save_selection()

    @classmethod
    def open(cls, folder: str | Path) -> EmbeddingExplorer:
        """The explorer that `save` wrote, with the last selection.

        Raises:
            JepalibError: there is none, it is incomplete, or its store is gone or holds other jets.
        """
        folder = Path(folder)
        for name in (MAP, TABLE, ABOUT):
            if not (folder / name).is_file():
                raise JepalibError(f"{folder}: no saved explorer (no {name}); write one with its save()")
        about = json.loads((folder / ABOUT).read_text())
        store = JetStore.open(Path(about["store"]))
        if store.data_hash != about["data_hash"]:
            raise JepalibError(f"{store.path}: holds other jets than when {folder} was saved; save it anew")
        with np.load(folder / MAP) as arrays:
            places, rows, probabilities = (arrays.get(n) for n in ("places", "rows", "probabilities"))
        table = pd.read_parquet(folder / TABLE)
        explorer = cls(places, table, StoreRows(store, rows), probabilities, about["classes"])
        explorer.folder = folder
        explorer.select(explorer._saved_selection())
        return explorer

    def _fingerprint(self) -> str:
        return hashlib.sha256(np.ascontiguousarray(self.places).tobytes()).hexdigest()

    def _save_selection(self) -> None:
        """Under a temporary name, then renamed: nothing is lost when it is cut short."""
        temporary = self.folder / f".{os.getpid()}.{SELECTION}"
        np.savez(temporary, rows=self.selection, map=self._fingerprint())
        temporary.replace(self.folder / SELECTION)

    def _saved_selection(self) -> Int[np.ndarray, " chosen"]:
        """The rows that were selected last on this map, none if there was no such selection."""
        if (self.folder / SELECTION).is_file():
            with np.load(self.folder / SELECTION) as saved:
                if str(saved["map"]) == self._fingerprint():
                    return saved["rows"]
        return np.zeros(0, np.int64)
