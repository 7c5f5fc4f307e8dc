"""The inspector's controls drive the masks that its static twin draws."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from jepalib.errors import JepalibError
from jepalib.masking import MaskConfig, draw_masks
from jepalib.viz import widgets
from jepalib.viz.widgets import MaskInspector, is_live


def test_no_one_watches_a_test_or_a_headless_run(monkeypatch):
    assert not is_live()
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    monkeypatch.delenv("JEPALIB_HEADLESS", raising=False)
    assert is_live()
    monkeypatch.setenv("JEPALIB_HEADLESS", "1")
    assert not is_live()


def test_static_twin_draws_the_masks_of_its_seed(jets):
    inspector = MaskInspector(jets, MaskConfig(), seed=5)
    ax = inspector.figure(3).axes[0]
    jet = jets.take([3])
    masks = draw_masks(jet, MaskConfig(), torch.Generator().manual_seed(5))
    assert ax.lines[1].get_xydata() == pytest.approx(jet.particles[masks.order, 4:6].numpy())


def test_controls_change_what_is_drawn(jets, monkeypatch):
    drawn = []

    def record(jet, masks, step=None):
        drawn.append((len(jet.particles), masks, step))
        return widgets.Figure()

    monkeypatch.setattr(widgets, "mask_figure", record)
    panel = widgets._Panel(MaskInspector(jets, MaskConfig()))
    assert drawn[-1][0] == 2
    assert panel.step.max == 2
    panel.row.value = 1
    assert len(drawn) == 2  # the steps move along, but there is one picture
    assert (drawn[-1][0], panel.step.max, panel.step.value) == (128, 128, 128)
    panel.step.value = 10
    assert drawn[-1][2] == 10
    panel.masks.targets.value = 3
    assert len(drawn[-1][1].targets) == 3
    panel.masks.target_ratio.value = (0.1, 0.1)
    assert drawn[-1][1].targets.sum(1).tolist() == [13] * 3
    before = drawn[-1][1].targets
    panel.seed.value = 9
    assert not torch.equal(before, drawn[-1][1].targets)
    panel.masks.rest.value = True
    assert torch.equal(drawn[-1][1].context, ~drawn[-1][1].targets.any(0))
    panel.masks.target_kind.value = "random"
    places = drawn[-1][1].targets[0][drawn[-1][1].order].nonzero()[:, 0]
    assert (places.diff() > 1).any()


def test_live_panel_holds_a_png(jets):
    box = MaskInspector(jets, MaskConfig()).controls()
    assert bytes(box.children[1].value).startswith(b"\x89PNG")


def test_ipywidgets_is_only_imported_where_someone_watches():
    code = "import sys, jepalib.viz.widgets; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_inspector_needs_jets(jets):
    with pytest.raises(JepalibError, match="no jets"):
        MaskInspector(jets.take([]), MaskConfig())
