"""Controls around the figures, for a notebook that someone watches; each has a static twin."""

from __future__ import annotations

import html
import io
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, draw_masks
from jepalib.masking.blocks import KINDS
from jepalib.viz.displays import mask_figure


def is_live() -> bool:
    """True in a Jupyter kernel that someone watches; the runner sets JEPALIB_HEADLESS=1."""
    if os.environ.get("JEPALIB_HEADLESS") == "1" or "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class MaskInspector:
    """Draw masks on one jet after another, with every parameter of `MaskConfig` at hand.

    Shown as the last line of a cell, it is a panel of controls where someone watches, and
    the figure of the first jet where no one does.

    Args:
        jets: jets of at least two particles each.
        config: where the controls start.
        seed: of the generator that draws the masks of the jet shown.
    """

    def __init__(self, jets: Jets, config: MaskConfig, seed: int = 0) -> None:
        if len(jets) == 0:
            raise JepalibError("MaskInspector: no jets given")
        self.jets, self.config, self.seed = jets, config, seed

    def figure(self, row: int = 0, step: int | None = None) -> Figure:
        """The static twin: the masks of one jet, or the first `step` places of its sequence."""
        jet = self.jets.take([row])
        generator = torch.Generator().manual_seed(self.seed)
        return mask_figure(jet, draw_masks(jet, self.config, generator), step=step)

    def controls(self) -> Any:
        """The live panel (an ipywidgets box); its figure follows every change."""
        return _Panel(self).box

    def _ipython_display_(self) -> None:
        show(self)


def show(inspector: Any) -> None:
    """Display an inspector's controls where someone watches, its figure where no one does."""
    from IPython.display import display

    display(inspector.controls() if is_live() else inspector.figure())


def png(figure: Figure) -> bytes:
    """The figure as an image for a panel."""
    buffer = io.BytesIO()
    figure.set_dpi(140)
    FigureCanvasAgg(figure).print_png(buffer)  # draws once; savefig would lay it all out before
    return buffer.getvalue()


def slider(value: int, low: int, high: int, name: str) -> Any:
    """A slider over whole numbers that speaks when it is let go."""
    import ipywidgets as widgets

    wide = widgets.Layout(width="26em")
    return widgets.IntSlider(value, low, high, description=name, layout=wide, continuous_update=False)


class Guard:
    """The line of a panel on which its mistakes are read; ipywidgets alone would swallow them.

        guard = Guard()
        control.observe(guard(self.draw), "value")
        box = widgets.VBox([control, image, guard.line])

    A guarded function that raises leaves the panel as it was and says why below it: the message
    alone where a user can mend it (`JepalibError`), else with the traceback to unfold. The next
    call that succeeds clears the line.

    Attributes:
        line: the widget to put into the panel; empty while all is well.
    """

    def __init__(self) -> None:
        import ipywidgets as widgets

        self.line = widgets.HTML()

    def __call__(self, function: Callable[..., Any]) -> Callable[..., None]:
        """The function, never raising; it returns nothing, as callbacks do."""

        def guarded(*given: Any) -> None:
            try:
                function(*given)
            except Exception as error:
                self.tell(error)
            else:
                self.line.value = ""

        return guarded

    def tell(self, error: Exception) -> None:
        """Write an exception on the line."""
        if isinstance(error, JepalibError):
            self.line.value = f'<p role="alert">{html.escape(str(error))}</p>'
            return
        short, lines = f"{type(error).__name__}: {error}", traceback.format_exception(error)
        self.line.value = (
            f'<details role="alert"><summary>{html.escape(short)}</summary>'
            f"<pre>{html.escape(''.join(lines))}</pre></details>"
        )


class MaskControls:
    """A control for each parameter of `MaskConfig`."""

    def __init__(self, config: MaskConfig) -> None:
        import ipywidgets as widgets

        wide = widgets.Layout(width="26em")
        ratio = {"min": 0.05, "max": 1.0, "step": 0.05, "layout": wide, "continuous_update": False}
        self.target_kind = widgets.Dropdown(
            options=KINDS, value=config.target_kind, description="target kind"
        )
        self.context_kind = widgets.Dropdown(
            options=KINDS, value=config.context_kind, description="context kind"
        )
        self.targets = slider(config.targets, 1, 8, "targets M")
        self.target_ratio = widgets.FloatRangeSlider(
            value=config.target_ratio, description="target ratio", **ratio
        )
        self.rest = widgets.Checkbox(config.context_ratio is None, description="context is all the rest")
        self.context_ratio = widgets.FloatRangeSlider(
            value=config.context_ratio or (0.4, 0.7), description="context ratio", **ratio
        )

    @property
    def inputs(self) -> list[Any]:
        """The controls in the order in which they are shown."""
        return [
            self.target_kind, self.targets, self.target_ratio,
            self.context_kind, self.rest, self.context_ratio,
        ]  # fmt: skip

    @property
    def config(self) -> MaskConfig:
        """What the controls say."""
        return MaskConfig(
            targets=self.targets.value,
            target_ratio=tuple(self.target_ratio.value),
            context_ratio=None if self.rest.value else tuple(self.context_ratio.value),
            target_kind=self.target_kind.value,
            context_kind=self.context_kind.value,
        )


class _Panel:
    """The controls of one inspector and the image they redraw."""

    def __init__(self, inspector: MaskInspector) -> None:
        import ipywidgets as widgets

        self.inspector = inspector
        self.row = slider(0, 0, len(inspector.jets) - 1, "jet")
        self.masks = MaskControls(inspector.config)
        self.seed = widgets.BoundedIntText(inspector.seed, 0, 2**31 - 1, description="seed")
        self.step = slider(1, 1, 2, "step through the sequence")
        self.step.style.description_width = "initial"
        self.image = widgets.Image(format="png", width=560)
        inputs = [self.row, *self.masks.inputs, self.seed, self.step]
        self.fit_steps()
        for control in inputs:
            control.observe(self.change, "value")
        self.box = widgets.HBox([widgets.VBox(inputs), self.image])
        self.draw()

    def fit_steps(self) -> None:
        """Let the steps run over the jet shown, and show all of them."""
        self.step.max = int(self.inspector.jets.counts[self.row.value])
        self.step.value = self.step.max

    def change(self, event: dict[str, Any]) -> None:
        """A control moved."""
        if event["owner"] is self.row:
            self.fit_steps()
        self.draw()

    def draw(self) -> None:
        """Draw the masks anew with what the controls say."""
        inspector = MaskInspector(self.inspector.jets, self.masks.config, self.seed.value)
        self.image.value = png(inspector.figure(self.row.value, self.step.value))
