"""The inspector's controls drive the masks that its static twin draws."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.jets import concatenate
from jepalib.masking import draw_masks, draw_token_masks
from jepalib.models.patches import PatchConfig, make_patches
from jepalib.training.presets import pretrain_config
from jepalib.viz import widgets
from jepalib.viz.mask_panel import MaskPanel
from jepalib.viz.widgets import Guard, MaskInspector, is_live


def test_no_one_watches_a_test_or_a_headless_run(monkeypatch):
    assert not is_live()
    monkeypatch.setattr("IPython.get_ipython", lambda: type("Shell", (), {"kernel": object()})())
    monkeypatch.delenv("JEPALIB_HEADLESS", raising=False)
    assert is_live()
    monkeypatch.setenv("JEPALIB_HEADLESS", "1")
    assert not is_live()


METHODS = {name: pretrain_config(name, "nano").objective for name in ("jp-jepa", "hep-jepa", "p-jepa")}


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """What the inspector hands to the figures: jet, patches, masks and step, at every drawing."""
    found = []

    def record(jet, masks, step=None):
        found.append((jet, None, masks, step))
        return widgets.Figure()

    def record_patches(jet, row, patches, masks=None, step=None):
        found.append((jet, patches, masks, step))
        return widgets.Figure()

    monkeypatch.setattr(widgets, "mask_figure", record)
    monkeypatch.setattr(widgets, "patch_figure", record_patches)
    return found


def test_static_twin_draws_the_masks_of_its_seed(jets):
    ax = MaskInspector(jets, METHODS, seed=5).figure(3).axes[0]
    jet = jets.take([3])
    masks = draw_masks(jet, METHODS["jp-jepa"].masks, torch.Generator().manual_seed(5))
    assert ax.lines[1].get_xydata() == pytest.approx(jet.particles[masks.order, 4:6].numpy())


def test_static_twin_draws_the_patches_and_masks_of_its_seed(jets):
    ax = MaskInspector(jets, METHODS, seed=5).figure(3, method="hep-jepa").axes[0]
    jet, settings = jets.take([3]), METHODS["hep-jepa"]
    patches = make_patches(jet.column("deta"), jet.column("dphi"), jet.offsets, settings.patches)
    places = jet.particles[patches.centres, 4:6]
    masks = draw_token_masks(
        *places.unbind(1), patches.offsets, settings.masks, torch.Generator().manual_seed(5)
    )
    path = next(line for line in ax.lines if len(line.get_xdata()) == len(patches))
    assert path.get_xydata() == pytest.approx(places[masks.order].numpy())
    part = MaskInspector(jets, METHODS, seed=5).figure(3, 4, "hep-jepa").axes[0]
    path = next(line for line in part.lines if len(line.get_xdata()) == 4)
    assert path.get_xydata() == pytest.approx(places[masks.order[:4]].numpy())
    diamonds = {len(marks.get_offsets()) for marks in part.collections if len(marks.get_offsets())}
    assert 4 in diamonds
    assert len(patches) not in diamonds


def test_controls_change_what_is_drawn(jets, drawn):
    panel = MaskPanel(MaskInspector(jets, METHODS))
    assert panel.guard.line.value == ""
    assert len(drawn[-1][0].particles) == 2
    assert panel.step.max == panel.play.max == 2
    panel.row.value = 1
    assert (len(drawn[-1][0].particles), panel.step.max, panel.step.value) == (128, 128, 128)
    panel.step.value = 10
    assert drawn[-1][3] == 10
    panel.masks.targets.value = 3
    assert len(drawn[-1][2].targets) == 3
    panel.masks.target_ratio.value = (0.1, 0.1)
    assert drawn[-1][2].targets.sum(1).tolist() == [13] * 3
    before = drawn[-1][2].targets
    panel.seed.value = 9
    assert not torch.equal(before, drawn[-1][2].targets)
    panel.masks.rest.value = True
    assert torch.equal(drawn[-1][2].context, ~drawn[-1][2].targets.any(0))
    panel.masks.target_kind.value = "random"
    places = drawn[-1][2].targets[0][drawn[-1][2].order].nonzero()[:, 0]
    assert (places.diff() > 1).any()


def test_a_method_sets_all_to_what_it_does_and_is_drawn_once(jets, drawn):
    panel = MaskPanel(MaskInspector(jets, METHODS))
    panel.row.value = 3
    drawings = len(drawn)
    for name, settings in (*METHODS.items(), *METHODS.items()):
        panel.method.value = name
        assert panel.masks.config == settings.masks
        patches = getattr(settings, "patches", None)
        assert (panel.cutting.layout.display == "none") == (patches is None)
        jet, cut, masks, step = drawn[-1]
        assert (cut is None) == (patches is None)
        tokens = len(jet.particles) if cut is None else len(cut)
        assert len(masks.order) == panel.step.max == panel.play.max == step == tokens
    assert len(drawn) == drawings + 5  # the first of them was shown already
    hidden = drawn[-1][2].targets
    assert len(hidden) == 1
    assert 0.3 <= hidden.sum() / hidden.numel() <= 0.5


def test_patch_controls_change_what_is_drawn(jets, drawn):
    panel = MaskPanel(MaskInspector(jets, {"hep-jepa": METHODS["hep-jepa"]}))
    panel.row.value = 1
    assert len(drawn[-1][1]) == panel.step.max == 32
    panel.patches.fraction.value = 0.5
    assert len(drawn[-1][1]) == panel.step.max == 64
    panel.patches.neighbours.value = 3
    assert drawn[-1][1].member_offsets.diff().tolist() == [3] * 64
    panel.patches.fraction.value = 0.05
    panel.patches.least.value = 10
    assert len(drawn[-1][1]) == panel.step.max == 10
    panel.masks.targets.value = 3
    assert drawn[-1][2].targets.shape == (3, 10)
    panel.step.value = 4
    assert drawn[-1][3] == 4
    panel.patches.masked.value = False
    assert drawn[-1][2] is None
    assert drawn[-1][3] == 4


def test_a_jet_of_one_patch_is_shown_without_masks(drawn):
    MaskInspector(make_jets([1, 5]), {"hep-jepa": METHODS["hep-jepa"]}).figure(0)
    assert len(drawn[-1][1]) == 1
    assert drawn[-1][2] is None


def test_sampling_is_shown_step_by_step(jets):
    settings = SimpleNamespace(masks=None, patches=PatchConfig())
    for step in (1, 5):
        ax = MaskInspector(jets, {"patches": settings}).figure(3, step).axes[0]
        assert step in {len(marks.get_offsets()) for marks in ax.collections}


def test_a_mistake_is_read_in_the_panel(jets):
    panel = MaskPanel(MaskInspector(concatenate([make_jets([5, 1]), jets]), METHODS))
    before = panel.image.value
    panel.row.value = 1
    assert "fewer than 2 tokens" in panel.guard.line.value
    assert panel.image.value == before
    panel.row.value = 2
    assert panel.guard.line.value == ""
    assert panel.image.value != before


def test_a_guard_tells_what_went_wrong_and_forgets_it_when_all_is_well():
    guard = Guard()

    def divide(number: int) -> float:
        return 1 / number

    guard(divide)(0)
    assert "<summary>ZeroDivisionError: division by zero</summary>" in guard.line.value
    assert "in divide" in guard.line.value
    guard(divide)(2)
    assert guard.line.value == ""
    guard.tell(JepalibError("row <7> is missing"))
    assert guard.line.value == '<p role="alert">row &lt;7&gt; is missing</p>'


@pytest.mark.parametrize("method", METHODS)
def test_live_panel_holds_a_png(jets, method):
    box = MaskInspector(jets, {method: METHODS[method]}).controls()
    assert bytes(box.children[1].value).startswith(b"\x89PNG")


def test_ipywidgets_is_only_imported_where_someone_watches():
    code = "import sys, jepalib.viz.widgets; sys.exit('ipywidgets' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_inspector_needs_jets_and_methods(jets):
    with pytest.raises(JepalibError, match="no jets"):
        MaskInspector(jets.take([]), METHODS)
    with pytest.raises(JepalibError, match="no methods"):
        MaskInspector(jets, {})
    with pytest.raises(JepalibError, match="no method 'mpm'; there is jp-jepa"):
        MaskInspector(jets, METHODS).figure(method="mpm")
