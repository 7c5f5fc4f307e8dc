"""The live panel of the embedding explorer: a WebGL map, a jet, and what is selected."""

from __future__ import annotations

import html
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from jepalib.errors import JepalibError
from jepalib.viz.explorer_drawings import Coloring
from jepalib.viz.widgets import Guard, png

if TYPE_CHECKING:
    from jepalib.viz.explorer import EmbeddingExplorer

KEPT = 64  # pictures of jets, so that going back costs nothing
PLACES = ["map 1", "map 2"]


class ExplorerPanel:
    """The controls of one explorer.

    Everything that the mouse does on the map, the keyboard can: a field for the row of a jet,
    buttons for the previous and next jet of the selection, a condition instead of a lasso.

    Attributes:
        box: the panel.
        map: the scatter widget; its traits `selection` and `hovering` are what the mouse did.
    """

    def __init__(self, explorer: EmbeddingExplorer) -> None:
        import ipywidgets as widgets

        self.explorer, self.guard = explorer, Guard()
        self.colorings = {str(name): Coloring.of(column) for name, column in explorer.table.items()}
        self.scatter = self.scatter_plot()
        self.map = self.scatter.widget
        self.pictures: dict[int, bytes] = {}
        style = {"style": {"description_width": "9em"}, "layout": widgets.Layout(width="22em")}
        last = len(explorer.table) - 1
        self.color = widgets.Dropdown(options=list(self.colorings), description="colour by", **style)
        self.where = widgets.Text(
            description="select where", placeholder="pt > 600", continuous_update=False, **style
        )
        self.row = widgets.BoundedIntText(0, 0, last, description="jet (row of table)", **style)
        self.back = widgets.Button(description="previous", tooltip="previous jet of the selection")
        self.on = widgets.Button(description="next", tooltip="next jet of the selection")
        self.clear = widgets.Button(description="clear selection")
        self.note, self.words, self.counts = widgets.HTML(), widgets.HTML(), widgets.HTML()
        self.image = widgets.Image(format="png", width=600)
        self.box = self.layout()
        self.connect()
        for begin in (self.recolor, self.follow, self.show):
            self.guard(begin)()

    def layout(self) -> Any:
        """The map with its controls left, the jet with its right, or below where there is no room."""
        import ipywidgets as widgets

        left = [self.color, self.map, self.note, widgets.HBox([self.where, self.clear])]
        left += [self.guard.line, self.counts]
        right = [widgets.HBox([self.row, self.back, self.on]), self.image, self.words]
        half = widgets.Layout(flex="1 1 30em", min_width="0")
        halves = [widgets.VBox(part, layout=half) for part in (left, right)]
        return widgets.HBox(halves, layout=widgets.Layout(flex_flow="row wrap"))

    def connect(self) -> None:
        """Let every control be heard."""
        hear = {
            self.color: ("value", lambda event: self.recolor()),
            self.row: ("value", lambda event: self.show()),
            self.where: ("value", lambda event: self.select_where()),
        }
        for control, (trait, function) in hear.items():
            control.observe(self.guard(function), trait)
        self.map.observe(self.guard(lambda event: self.picked()), "selection")
        self.map.observe(self.guard(lambda event: self.show(self.map.hovering)), "hovering")
        self.back.on_click(self.guard(lambda button: self.step(-1)))
        self.on.on_click(self.guard(lambda button: self.step(1)))
        self.clear.on_click(self.guard(lambda button: self.explorer.select([])))
        self.explorer.watchers.append(self.guard(self.follow))

    def scatter_plot(self) -> Any:
        """The map as a jupyter-scatter plot, its columns as they are coloured."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its import uses what pandas will give up
            try:
                from jscatter import Scatter
            except ImportError as error:
                raise JepalibError(
                    "EmbeddingExplorer: install jupyter-scatter (jepalib[workbook])"
                ) from error
            frame = pd.DataFrame(self.explorer.places, columns=PLACES)
            for name, coloring in self.colorings.items():
                frame[name] = coloring.values
            size = float(np.clip(400 / np.sqrt(len(frame)), 3, 8))  # few dots have to be large to be hit
            return Scatter(*PLACES, data=frame, height=480, legend=True, axes=False, size=size)

    def recolor(self) -> None:
        """Colour the map by the column chosen."""
        name = self.color.value
        coloring = self.colorings[name]
        if coloring.norm is None:
            self.scatter.color(by=name, map=coloring.colors)
        else:
            self.scatter.color(by=name, map="viridis", norm=coloring.norm)
        lost = f"{coloring.missing} jets without a value are drawn as the lowest." if coloring.missing else ""
        self.note.value = lost

    def picked(self) -> None:
        """The map's selection changed: by a click (one jet), a lasso, or a double click beside all (none).

        A click shows its jet and leaves a selection of several as it was.
        """
        rows, before = np.sort(np.asarray(self.map.selection, np.int64)), self.explorer.selection
        if len(rows) == 1 and len(before) > 1:
            self.map.selection = before.astype(np.uint32)
        elif not np.array_equal(rows, before):
            self.explorer.select(rows)
        if len(rows):
            self.row.value = int(rows[0])

    def follow(self) -> None:
        """Show the explorer's selection on the map and in numbers."""
        rows = self.explorer.selection
        if not np.array_equal(np.sort(np.asarray(self.map.selection)), rows):
            self.map.selection = rows.astype(np.uint32)
        if not len(rows):
            self.counts.value = "Nothing is selected: draw a line around jets, or give a condition."
            return
        table = self.explorer.summary().to_html(index=False, float_format="{:.4g}".format, border=0)
        self.counts.value = f'<div class="jp-RenderedHTMLCommon">{table}</div>'
        if self.row.value not in rows:
            self.row.value = int(rows[0])

    def select_where(self) -> None:
        """Select by the condition written."""
        if self.where.value.strip():
            self.explorer.select_where(self.where.value)

    def step(self, by: int) -> None:
        """Go to the next or previous jet of the selection, of all jets where nothing is selected."""
        rows = self.explorer.selection
        if not len(rows):
            self.row.value = (self.row.value + by) % len(self.explorer.table)
            return
        place = int(np.searchsorted(rows, self.row.value, side="left" if by < 0 else "right"))
        self.row.value = int(rows[(place - (by < 0)) % len(rows)])

    def show(self, hovered: int | None = None) -> None:
        """The picture of the jet under the mouse, or else of the row chosen."""
        row = self.row.value if hovered is None else int(hovered)
        if row not in self.pictures:
            picture = png(self.explorer.jet_figure(row))
            if len(self.pictures) >= KEPT:
                del self.pictures[next(iter(self.pictures))]
            self.pictures[row] = picture
        self.image.value = self.pictures[row]
        self.words.value = f"<p>{html.escape(self.explorer.describe(row))}</p>"
