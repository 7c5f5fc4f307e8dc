"""Live controls around attention maps; as all controls, with a static twin."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from torch import nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.attention_maps import JetAttention, look
from jepalib.viz.attention import attention_figure
from jepalib.viz.widgets import Guard, png, show, slider


class AttentionViewer:
    """Follow the attention of a network: choose the jet, the block, the head and the token that asks.

    Shown as the last line of a cell, it is a panel of controls where someone watches, and
    the figure of the first jet where no one does.

    Args:
        model: an encoder, or a classifier on one.
        jets: jets of at least one particle each.

    Raises:
        JepalibError: no jets, one without particles, or a model without an encoder.
    """

    def __init__(self, model: nn.Module, jets: Jets) -> None:
        if len(jets) == 0 or int(jets.counts.min()) == 0:
            raise JepalibError("AttentionViewer: give at least one jet, and none without particles")
        self.model, self.jets = model, jets
        self._row, self._seen = 0, look(model, jets, 0)

    def look(self, row: int) -> JetAttention:
        """The attention within one jet; that of the last one asked for is kept."""
        if row != self._row:
            self._row, self._seen = row, look(self.model, self.jets, row)
        return self._seen

    def figure(self, row: int = 0, block: int = 0, head: int | None = None, query: int = 0) -> Figure:
        """The static twin, see `attention.attention_figure`; `head` None is the mean of all."""
        return attention_figure(self.look(row), block, head, query)

    def controls(self) -> Any:
        """The live panel (an ipywidgets box); its figure follows every change."""
        return _Panel(self).box

    def _ipython_display_(self) -> None:
        show(self)


class _Panel:
    """The controls of one viewer and the image they redraw.

    Block, head and token of the controls are kept from jet to jet as far as there are as many.
    """

    def __init__(self, viewer: AttentionViewer) -> None:
        import ipywidgets as widgets

        self.viewer, seen = viewer, viewer.look(0)
        self.row = slider(0, 0, len(viewer.jets) - 1, "jet")
        blocks = [(attention.name, place) for place, attention in enumerate(seen.maps)]
        self.block = widgets.Dropdown(options=blocks, value=0, description="block")
        self.head = widgets.Dropdown(description="head")
        self.query = slider(1, 1, 1, "particle" if seen.patches is None else "patch")
        self.image = widgets.Image(format="png", width=560)
        self.guard = Guard()
        inputs = [self.row, self.block, self.head, self.query]
        self.filling = False
        for control in inputs:
            control.observe(self.guard(self.change), "value")
        self.box = widgets.HBox([widgets.VBox([*inputs, self.guard.line]), self.image])
        self.change()

    def change(self, event: dict[str, Any] | None = None) -> None:
        """A control moved: let the others offer what there is, and draw once."""
        if self.filling:
            return
        self.filling = True
        try:
            self.fit()
        finally:
            self.filling = False
        head = None if self.head.value < 0 else self.head.value
        figure = self.viewer.figure(self.row.value, self.block.value, head, self.query.value - 1)
        self.image.value = png(figure)

    def fit(self) -> None:
        """Heads of the block and tokens of the jet; the class token is the only one to ask in its block."""
        seen = self.viewer.look(self.row.value)
        attention = seen.maps[self.block.value]
        heads = len(attention.weights)
        if len(self.head.options) != heads + 1:
            wanted = self.head.value
            self.head.options = [("mean of all", -1), *((f"{head + 1}", head) for head in range(heads))]
            self.head.value = wanted if wanted in range(heads) else -1
        self.query.max = len(seen.pt)
        self.query.disabled = attention.kind == "class"
