"""The live panel of the mask inspector."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jepalib.jets import Jets
from jepalib.masking import MaskConfig
from jepalib.masking.blocks import KINDS
from jepalib.models.patches import PatchConfig, make_patches
from jepalib.viz.displays import one_jet
from jepalib.viz.widgets import Guard, drawn_masks, patches_of, png, slider, wide

if TYPE_CHECKING:
    from jepalib.viz.widgets import MaskInspector

LABEL = {"width": "8em", "justify_content": "flex-end"}  # as those of the other controls
PACE = 500  # ms between two steps of the sequence when it plays


class MaskControls:
    """A control for each parameter of `MaskConfig`."""

    def __init__(self, config: MaskConfig) -> None:
        import ipywidgets as widgets

        ratio = {"min": 0.05, "max": 1.0, "step": 0.05, "continuous_update": False, **wide()}
        self.target_kind = widgets.Dropdown(
            options=KINDS, value=config.target_kind, description="target kind", **wide()
        )
        self.context_kind = widgets.Dropdown(
            options=KINDS, value=config.context_kind, description="context kind", **wide()
        )
        self.targets = slider(config.targets, 1, 8, "targets M")
        self.target_ratio = widgets.FloatRangeSlider(
            value=config.target_ratio, description="target ratio", **ratio
        )
        self.rest = widgets.Checkbox(
            config.context_ratio is None, description="context is all the rest", **wide()
        )
        self.context_ratio = widgets.FloatRangeSlider(
            value=config.context_ratio or (0.4, 0.7), description="context ratio", **ratio
        )

        for needless in (self.context_kind, self.context_ratio):
            widgets.jsdlink((self.rest, "value"), (needless, "disabled"))

    @property
    def inputs(self) -> list[Any]:
        """The controls in the order in which they are shown."""
        return [
            self.target_kind, self.targets, self.target_ratio,
            self.context_kind, self.rest, self.context_ratio,
        ]  # fmt: skip

    @property
    def config(self) -> MaskConfig:
        """What the controls say, and what they are set to."""
        return MaskConfig(
            targets=self.targets.value,
            target_ratio=tuple(self.target_ratio.value),
            context_ratio=None if self.rest.value else tuple(self.context_ratio.value),
            target_kind=self.target_kind.value,
            context_kind=self.context_kind.value,
        )

    @config.setter
    def config(self, config: MaskConfig) -> None:
        self.targets.value, self.target_ratio.value = config.targets, config.target_ratio
        self.target_kind.value, self.context_kind.value = config.target_kind, config.context_kind
        self.rest.value = config.context_ratio is None
        self.context_ratio.value = config.context_ratio or self.context_ratio.value


class PatchControls:
    """A control for each parameter of `PatchConfig`, and whether masks are drawn over the patches."""

    def __init__(self) -> None:
        import ipywidgets as widgets

        self.fraction = widgets.FloatSlider(
            0.25, min=0.05, max=1.0, step=0.05, description="fraction",
            continuous_update=False, **wide(),
        )  # fmt: skip
        self.least = slider(4, 1, 16, "at least")
        self.neighbours = slider(8, 1, 32, "neighbours k")
        self.masked = widgets.Checkbox(True, description="masks over the patches", **wide())

    @property
    def inputs(self) -> list[Any]:
        """The controls in the order in which they are shown."""
        return [self.fraction, self.least, self.neighbours, self.masked]

    @property
    def config(self) -> PatchConfig:
        """What the controls say, and what they are set to."""
        return PatchConfig(self.fraction.value, self.least.value, self.neighbours.value)

    @config.setter
    def config(self, config: PatchConfig) -> None:
        for control, value in ((self.least, config.least), (self.neighbours, config.neighbours)):
            control.max = max(control.max, value)
            control.value = value
        self.fraction.value = config.fraction


class MaskPanel:
    """The controls of one inspector and the image that they redraw; of patches only where there are any.

    Attributes:
        box: the panel.
        play: runs `step` through the sequence of the jet.
    """

    def __init__(self, inspector: MaskInspector) -> None:
        import ipywidgets as widgets

        self.inspector, self.guard, self.quiet = inspector, Guard(), False
        names = list(inspector.methods)
        self.method = widgets.Dropdown(options=names, value=names[0], description="method", **wide())
        self.row = slider(0, 0, len(inspector.jets) - 1, "jet")
        self.patches, self.masks = PatchControls(), MaskControls(inspector.methods[names[0]].masks)
        self.seed = widgets.BoundedIntText(inspector.seed, 0, 2**31 - 1, description="seed", **wide())
        self.step = slider(1, 1, 2, "sequence step")
        self.play = widgets.Play(1, min=1, max=2, interval=PACE, tooltip="play the sequence")
        widgets.jslink((self.play, "value"), (self.step, "value"))
        self.image = widgets.Image(format="png", width=560)
        self.cutting = widgets.VBox(self.patches.inputs)
        changing = [self.method, self.row, *self.patches.inputs, *self.masks.inputs, self.seed]
        for control in (*changing, self.step):
            control.observe(self.guard(self.change), "value")
        player = widgets.HBox([widgets.Label("play sequence", layout=LABEL), self.play])
        shown = [self.method, self.row, self.cutting, *self.masks.inputs, self.seed, self.step, player]
        self.box = widgets.HBox([widgets.VBox([*shown, self.guard.line]), self.image])
        self.guard(self.begin)()

    def begin(self) -> None:
        """Set all to what the method chosen does, and show the whole sequence."""
        with self.settling():
            settings = self.inspector.methods[self.method.value]
            self.masks.config, patches = settings.masks, patches_of(settings)
            self.cutting.layout.display = "none" if patches is None else None
            if patches is not None:
                self.patches.config = patches
            self.fit_steps()
        self.draw()

    @contextmanager
    def settling(self) -> Iterator[None]:
        """Controls that are set within are not heard: one picture is drawn after all of them."""
        self.quiet = True
        try:
            yield
        finally:
            self.quiet = False

    def jet(self) -> Jets:
        """The jet chosen."""
        return one_jet(self.inspector.jets, self.row.value)

    def cut(self) -> PatchConfig | None:
        """How the jet is cut, None where its tokens are particles."""
        return None if self.cutting.layout.display == "none" else self.patches.config

    def fit_steps(self) -> None:
        """Let the steps run over the tokens of the jet shown, and show all of them."""
        jet, cut = self.jet(), self.cut()
        tokens = len(jet.particles)
        if cut is not None:
            tokens = len(make_patches(jet.column("deta"), jet.column("dphi"), jet.offsets, cut))
        self.play.max = self.step.max = tokens
        self.step.value = self.play.value = tokens

    def change(self, event: dict[str, Any]) -> None:
        """A control moved."""
        if self.quiet:
            return
        if event["owner"] is self.method:
            self.begin()
            return
        if event["owner"] in (self.row, self.patches.fraction, self.patches.least):
            with self.settling():
                self.fit_steps()
        self.draw()

    def draw(self) -> None:
        """Draw the masks anew with what the controls say."""
        cut = self.cut()
        masks = self.masks.config if cut is None or self.patches.masked.value else None
        self.image.value = png(drawn_masks(self.jet(), masks, cut, self.seed.value, self.step.value))
