"""The patch inspector's controls drive the patches and masks that its static twin draws."""

from __future__ import annotations

import pytest
import torch
from conftest import make_jets

from jepalib.errors import JepalibError
from jepalib.masking import MaskConfig, draw_token_masks
from jepalib.models.patches import PatchConfig, make_patches
from jepalib.viz import patch_widgets
from jepalib.viz.patch_widgets import PatchInspector


def test_static_twin_draws_the_patches_and_masks_of_its_seed(jets):
    ax = PatchInspector(jets, PatchConfig(), MaskConfig(), seed=5).figure(3).axes[0]
    jet = jets.take([3])
    patches = make_patches(jet.column("deta"), jet.column("dphi"), jet.offsets, PatchConfig())
    places = jet.particles[patches.centres, 4:6]
    masks = draw_token_masks(
        places[:, 0], places[:, 1], patches.offsets, MaskConfig(), torch.Generator().manual_seed(5)
    )
    path = next(line for line in ax.lines if len(line.get_xdata()) == len(patches))
    assert path.get_xydata() == pytest.approx(places[masks.order].numpy())


@pytest.fixture
def drawn(monkeypatch) -> list[tuple]:
    """What the inspector hands to the figure: jet, patches and masks, at every drawing."""
    found = []

    def record(jet, row, patches, masks=None):
        found.append((jet, patches, masks))
        return patch_widgets.Figure()

    monkeypatch.setattr(patch_widgets, "patch_figure", record)
    return found


def test_controls_change_what_is_drawn(jets, drawn):
    panel = patch_widgets._Panel(PatchInspector(jets, PatchConfig(), MaskConfig()))
    assert len(drawn[-1][0].particles) == 2
    panel.row.value = 1
    assert len(drawn[-1][1]) == 32
    panel.fraction.value = 0.5
    assert len(drawn[-1][1]) == 64
    panel.neighbours.value = 3
    assert drawn[-1][1].member_offsets.diff().tolist() == [3] * 64
    panel.fraction.value = 0.05
    panel.least.value = 10
    assert len(drawn[-1][1]) == 10
    panel.fraction.value = 0.25
    panel.masks.targets.value = 3
    assert drawn[-1][2].targets.shape == (3, 32)
    panel.masks.target_ratio.value = (0.25, 0.25)
    assert drawn[-1][2].targets.sum(1).tolist() == [8] * 3
    before = drawn[-1][2].targets
    panel.seed.value = 9
    assert not torch.equal(before, drawn[-1][2].targets)
    panel.masks.target_kind.value = "random"
    places = drawn[-1][2].targets[0][drawn[-1][2].order].nonzero()[:, 0]
    assert (places.diff() > 1).any()
    panel.shown.value = False
    assert drawn[-1][2] is None


def test_a_jet_of_one_patch_is_shown_without_masks(drawn):
    PatchInspector(make_jets([1, 5]), PatchConfig(), MaskConfig()).figure(0)
    assert (len(drawn[-1][1]), drawn[-1][2]) == (1, None)


def test_live_panel_holds_a_png(jets):
    box = PatchInspector(jets, PatchConfig(neighbours=40)).controls()
    assert bytes(box.children[1].value).startswith(b"\x89PNG")


def test_an_inspector_needs_jets(jets):
    with pytest.raises(JepalibError, match="no jets"):
        PatchInspector(jets.take([]), PatchConfig())
