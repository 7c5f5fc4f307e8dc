"""Controls around the figures, for a notebook that someone watches; each has a static twin."""

from __future__ import annotations

import html
import io
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import torch
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, draw_masks, draw_token_masks
from jepalib.models.patches import PatchConfig, make_patches
from jepalib.viz.displays import mask_figure, one_jet
from jepalib.viz.patch_displays import patch_figure


def is_live() -> bool:
    """True in a Jupyter kernel that someone watches; the runner sets JEPALIB_HEADLESS=1."""
    if os.environ.get("JEPALIB_HEADLESS") == "1" or "IPython" not in sys.modules:
        return False
    from IPython import get_ipython

    shell = get_ipython()
    return shell is not None and getattr(shell, "kernel", None) is not None


class MaskInspector:
    """Draw the masks of one jet after another as a method would, with every parameter at hand.

    Shown as the last line of a cell, it is a panel of controls that plays the sequence where
    someone watches, and the figure of the first jet where no one does.

    Args:
        jets: jets of at least two particles each.
        methods: by name the settings of each, where its controls start: anything with `masks` (a
            `MaskConfig`) and, where the tokens are patches, `patches` (a `PatchConfig`), such as
            the objective of a pre-training's configuration.
        seed: of the generator that draws the masks of the jet shown.

    Raises:
        JepalibError: no jets, or no method.
    """

    def __init__(self, jets: Jets, methods: Mapping[str, Any], seed: int = 0) -> None:
        if len(jets) == 0 or not methods:
            raise JepalibError(f"MaskInspector: no {'jets' if methods else 'methods'} given")
        self.jets, self.methods, self.seed = jets, dict(methods), seed

    def figure(self, row: int = 0, step: int | None = None, method: str | None = None) -> Figure:
        """The static twin: the masks of one jet, or the first `step` places of its sequence.

        Raises:
            JepalibError: there is no such jet or method (None is the first).
        """
        method = next(iter(self.methods)) if method is None else method
        if method not in self.methods:
            raise JepalibError(f"MaskInspector: no method {method!r}; there is {', '.join(self.methods)}")
        settings = self.methods[method]
        return drawn_masks(one_jet(self.jets, row), settings.masks, patches_of(settings), self.seed, step)

    def controls(self) -> Any:
        """The live panel (an ipywidgets box); its figure follows every change."""
        from jepalib.viz.mask_panel import MaskPanel

        return MaskPanel(self).box

    def _ipython_display_(self) -> None:
        show(self)


def patches_of(settings: Any) -> PatchConfig | None:
    """How a method cuts jets into patches, None where its tokens are particles."""
    return getattr(settings, "patches", None)


def drawn_masks(
    jet: Jets, masks: MaskConfig | None, patches: PatchConfig | None, seed: int, step: int | None
) -> Figure:
    """One jet with masks over its particles or patches; patches alone without masks or if there is only one.

    Args:
        step: show only so many tokens of the sequence; without masks, of the order of sampling.

    Raises:
        JepalibError: masks over particles of a jet that has only one.
    """
    generator = torch.Generator().manual_seed(seed)
    if patches is None:
        return mask_figure(jet, draw_masks(jet, masks or MaskConfig(), generator), step=step)
    deta, dphi = jet.column("deta"), jet.column("dphi")
    made = make_patches(deta, dphi, jet.offsets, patches)
    if masks is None or len(made) < 2:
        return patch_figure(jet, 0, made, step=step)
    places = deta[made.centres], dphi[made.centres]
    return patch_figure(jet, 0, made, draw_token_masks(*places, made.offsets, masks, generator), step)


def show(inspector: Any) -> None:
    """Display an inspector's controls where someone watches, its figure where no one does."""
    from IPython.display import display

    display(inspector.controls() if is_live() else inspector.figure())


def png(figure: Figure) -> bytes:
    """The figure as an image for a panel."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=140)  # lays out twice: after once titles may be cut off
    return buffer.getvalue()


def wide() -> dict[str, Any]:
    """Layout and style of a control whose label may be two words long."""
    return {"layout": {"width": "28em"}, "style": {"description_width": "8em"}}


def slider(value: int, low: int, high: int, name: str) -> Any:
    """A slider over whole numbers that speaks when it is let go."""
    import ipywidgets as widgets

    return widgets.IntSlider(value, low, high, description=name, continuous_update=False, **wide())


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
