"""Controls around the patches of a jet; as all controls, with a static twin."""

from __future__ import annotations

from typing import Any

import torch
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, draw_token_masks
from jepalib.models.patches import PatchConfig, make_patches
from jepalib.viz.patch_displays import patch_figure
from jepalib.viz.widgets import MaskControls, png, show, slider


class PatchInspector:
    """Cut one jet after another into patches and draw masks over them, with every parameter at hand.

    Shown as the last line of a cell, it is a panel of controls where someone watches, and
    the figure of the first jet where no one does.

    Args:
        jets: the jets to choose from.
        patches, masks: where the controls start; without masks the patches are shown alone.
        seed: of the generator that draws the masks of the jet shown.
    """

    def __init__(
        self, jets: Jets, patches: PatchConfig, masks: MaskConfig | None = None, seed: int = 0
    ) -> None:
        if len(jets) == 0:
            raise JepalibError("PatchInspector: no jets given")
        self.jets, self.patches, self.masks, self.seed = jets, patches, masks, seed

    def figure(self, row: int = 0) -> Figure:
        """The static twin: the patches of one jet, with masks where it has at least two of them."""
        jet = self.jets.take([row]).to("cpu")
        deta, dphi = jet.column("deta"), jet.column("dphi")
        patches = make_patches(deta, dphi, jet.offsets, self.patches)
        if self.masks is None or len(patches) < 2:
            return patch_figure(jet, 0, patches)
        places = deta[patches.centres], dphi[patches.centres]
        generator = torch.Generator().manual_seed(self.seed)
        return patch_figure(
            jet, 0, patches, draw_token_masks(*places, patches.offsets, self.masks, generator)
        )

    def controls(self) -> Any:
        """The live panel (an ipywidgets box); its figure follows every change."""
        return _Panel(self).box

    def _ipython_display_(self) -> None:
        show(self)


class _Panel:
    """The controls of one inspector and the image they redraw."""

    def __init__(self, inspector: PatchInspector) -> None:
        import ipywidgets as widgets

        self.jets, config = inspector.jets, inspector.patches
        self.row = slider(0, 0, len(inspector.jets) - 1, "jet")
        self.fraction = widgets.FloatSlider(
            config.fraction, min=0.05, max=1.0, step=0.05, description="fraction",
            layout=self.row.layout, continuous_update=False,
        )  # fmt: skip
        self.least = slider(config.least, 1, max(16, config.least), "at least")
        self.neighbours = slider(config.neighbours, 1, max(32, config.neighbours), "neighbours k")
        self.shown = widgets.Checkbox(inspector.masks is not None, description="masks over the patches")
        self.masks = MaskControls(inspector.masks or MaskConfig())
        self.seed = widgets.BoundedIntText(inspector.seed, 0, 2**31 - 1, description="seed")
        self.image = widgets.Image(format="png", width=560)
        cutting = [self.row, self.fraction, self.least, self.neighbours]
        inputs = [*cutting, self.shown, *self.masks.inputs, self.seed]
        for control in inputs:
            control.observe(self.draw, "value")
        self.box = widgets.HBox([widgets.VBox(inputs), self.image])
        self.draw()

    def draw(self, event: dict[str, Any] | None = None) -> None:
        """Cut and draw anew with what the controls say."""
        patches = PatchConfig(self.fraction.value, self.least.value, self.neighbours.value)
        masks = self.masks.config if self.shown.value else None
        inspector = PatchInspector(self.jets, patches, masks, self.seed.value)
        self.image.value = png(inspector.figure(self.row.value))
