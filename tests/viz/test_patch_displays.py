"""Pictures of patches: centres, groups and roles are those of the patches and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_jets import make_jets
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, Masks, draw_token_masks
from jepalib.models.patches import PatchConfig, Patches, make_patches, uncovered
from jepalib.viz.displays import pale
from jepalib.viz.patch_displays import ALONE, patch_figure
from jepalib.viz.style import CONTEXT, TARGET, UNUSED


def cut(jets: Jets, config: PatchConfig | None = None) -> Patches:
    return make_patches(jets.column("deta"), jets.column("dphi"), jets.offsets, config or PatchConfig())


def masks_of(jets: Jets, patches: Patches, blocks: int = 1) -> Masks:
    places = jets.particles[patches.centres, 4:6]
    config = MaskConfig(blocks, (0.2, 0.3), (0.3, 0.5))
    return draw_token_masks(
        places[:, 0], places[:, 1], patches.offsets, config, torch.Generator().manual_seed(0)
    )


def parts(ax) -> tuple[np.ndarray, np.ndarray, LineCollection, PolyCollection]:
    """Places and colours of the centres, the spokes and the hulls."""
    (spokes,) = (c for c in ax.collections if isinstance(c, LineCollection))
    (hulls,) = (c for c in ax.collections if isinstance(c, PolyCollection))
    centres = ax.collections[-1]
    return np.asarray(centres.get_offsets()), centres.get_facecolors(), spokes, hulls


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_centres_and_spokes_are_those_of_the_patches(jets):
    patches = cut(jets)
    figure = patch_figure(jets, 4, patches)
    jet, one = jets.take([4]), cut(jets.take([4]))
    places, _, spokes, hulls = parts(figure.axes[0])
    assert places == pytest.approx(jet.particles[one.centres, 4:6].numpy())
    drawn = np.array(spokes.get_segments())
    members = one.members.reshape(len(one), 8)
    expected = [
        [jet.particles[m[0], 4:6].tolist(), jet.particles[i, 4:6].tolist()] for m in members for i in m[1:]
    ]
    assert drawn == pytest.approx(np.array(expected), abs=1e-6)
    assert len(hulls.get_paths()) == len(one) == 8
    assert figure.axes[1].get_ylabel() == "order of sampling"
    assert (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()) == (
        r"$\Delta\eta$",
        r"$\Delta\phi$ [rad]",
    )
    figure.draw_without_rendering()


def test_hulls_hold_the_members_and_have_them_as_corners(jets):
    hulls = parts(patch_figure(jets, 1, cut(jets)).axes[0])[3].get_paths()
    jet, one = jets.take([1]), cut(jets.take([1]))
    for hull, members in zip(hulls, one.members.reshape(len(one), 8), strict=True):
        places = jet.particles[members, 4:6].numpy()
        inside = hull.contains_points(places, radius=1e-5) | hull.contains_points(places, radius=-1e-5)
        assert inside.all()  # which sign of the radius widens depends on the sense of the polygon
        for corner in hull.vertices:
            assert np.abs(places - corner).sum(1).min() < 1e-6


def test_colours_are_the_roles_of_the_panel_and_the_path_is_the_greedy_one(jets):
    patches = cut(jets)
    masks = masks_of(jets, patches, 2)
    figure = patch_figure(jets, 1, patches, masks)
    jet, one, chosen = jets.take([1]), cut(jets.take([1])), masks.take(patches.offsets, [1])
    where = jet.particles[one.centres, 4:6].numpy()
    assert len(figure.axes) == 2
    for block, ax in enumerate(figure.axes):
        path = next(line for line in ax.lines if len(line.get_xdata()) == len(one))
        assert path.get_xydata() == pytest.approx(where[chosen.order])
        places, colors, _, _ = parts(ax)
        for patch, place in enumerate(where):
            here = int(np.abs(places - place).sum(1).argmin())
            role = (
                to_rgba(TARGET) if chosen.targets[block, patch]
                else to_rgba(pale(TARGET)) if chosen.targets.any(0)[patch]
                else to_rgba(CONTEXT) if chosen.context[patch]
                else to_rgba(UNUSED)
            )  # fmt: skip
            assert colors[here] == pytest.approx(role)
    assert {"context", "target", "other target", "unused", "greedy sequence", "centre"} <= set(texts(figure))
    figure.draw_without_rendering()


def test_particles_in_no_patch_are_counted_and_purple(jets):
    patches = cut(jets, PatchConfig(0.1, 1, 3))
    jet = jets.take([3])
    alone = uncovered(cut(jet, PatchConfig(0.1, 1, 3)), 40)
    figure = patch_figure(jets, 3, patches)
    assert f"constituents in none: {int(alone.sum())}" in figure.get_suptitle()
    assert "in no patch" in texts(figure)
    purple = 0
    for points in figure.axes[0].collections[:6]:
        colors = points.get_edgecolors() if len(points.get_edgecolors()) else points.get_facecolors()
        if np.allclose(colors[:1, :3], 0):  # outlined ones are told by their face
            colors = points.get_facecolors()
        purple += int(np.isclose(colors[:, :3], to_rgba(ALONE)[:3]).all(1).sum())
    assert purple == alone.sum()
    whole = patch_figure(jets, 3, cut(jets, PatchConfig(1.0)))
    assert "constituents in none: 0" in whole.get_suptitle()
    assert "in no patch" not in texts(whole)


def test_groups_across_the_seam_of_phi_are_drawn_from_their_centre():
    jets = make_jets([2])
    jets.particles[:, 4:6] = torch.tensor([[0.0, 3.1], [0.0, -3.1]])
    spokes = parts(patch_figure(jets, 0, cut(jets)).axes[0])[2].get_segments()
    assert all(np.abs(spoke[1] - spoke[0]).max() == pytest.approx(0.0832, abs=1e-3) for spoke in spokes)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_small_jets_are_drawn(count):
    jets = make_jets([count, 5])
    patches = cut(jets)
    figure = patch_figure(jets, 0, patches)
    assert f"patches: {count}" in figure.get_suptitle()
    figure.draw_without_rendering()


def test_wrong_rows_are_named(jets):
    with pytest.raises(JepalibError, match="no jet 12"):
        patch_figure(jets, 12, cut(jets))
