"""Displays of single jets: shapes, colours and path are those of the jet and its masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_jets import make_jets
from matplotlib.colors import to_rgba

from jepalib.errors import JepalibError
from jepalib.kinematics import particle_types
from jepalib.masking import MaskConfig, draw_masks
from jepalib.schema import PARTICLE_TYPES
from jepalib.viz import displays, shading
from jepalib.viz.style import CONTEXT, TARGET, UNUSED


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def drawn(ax) -> dict[tuple[float, float], tuple]:
    """Edge colour of every particle by its place; outlined ones give their face."""
    found = {}
    for points in ax.collections:
        if not len(points.get_offsets()):
            continue
        edges, faces = points.get_edgecolors(), points.get_facecolors()
        outlined = np.allclose(edges, to_rgba("black"))
        for i, place in enumerate(np.asarray(points.get_offsets())):
            colors = faces if outlined or not len(edges) else edges
            found[tuple(np.round(place, 5))] = tuple(colors[i % len(colors)][:3])
    return found


def test_symbols_are_those_of_the_paper(jets):
    ax = displays.jet_figure(jets, 3).axes[0]
    types = particle_types(jets.take([3])).numpy()
    for points, (members, _, style) in zip(ax.collections, displays.SYMBOLS.values()):
        expected = np.isin(types, [PARTICLE_TYPES.index(m) for m in members]).sum()
        assert len(points.get_offsets()) == expected
        if style == "open":
            assert len(points.get_facecolors()) == 0
        if style == "outlined" and expected:
            assert np.allclose(points.get_edgecolors(), to_rgba("black"))
    corners = {name: displays.SYMBOLS[name][1] for name in ("electron", "muon", "photon")}
    assert corners == {"electron": "^", "muon": "v", "photon": "p"}


def test_area_grows_with_pt_and_axes_have_units(jets):
    ax = displays.jet_figure(jets, 1).axes[0]
    sizes = ax.collections[0].get_sizes()
    assert (np.diff(sizes) <= 0).all()  # falling pT
    assert (ax.get_xlabel(), ax.get_ylabel()) == (r"$\Delta\eta$", r"$\Delta\phi$ [rad]")
    assert "128 constituents" in ax.get_title()


@pytest.mark.parametrize("quantity", list(shading.QUANTITIES))
def test_color_bars_name_their_quantity(jets, quantity):
    figure = displays.jet_figure(jets, 0, quantity)
    assert figure.axes[1].get_ylabel() == shading.QUANTITIES[quantity][0]


def test_wrong_rows_and_quantities_are_named(jets):
    with pytest.raises(JepalibError, match="no jet 12"):
        displays.jet_figure(jets, 12)
    with pytest.raises(JepalibError, match="color_by is 'mass'"):
        displays.jet_figure(jets, 0, "mass")


def test_gallery_shows_one_jet_of_each_class():
    figure = displays.jet_gallery(make_jets([10] * 9))  # no Tbl among them
    filled = [bool(ax.collections) for ax in figure.axes[:10]]
    assert filled == [True] * 9 + [False]


def test_mask_figure_colours_by_role_and_draws_the_path(jets):
    masks = draw_masks(jets, MaskConfig(), seeded())
    ax = displays.mask_figure(jets, masks, 4).axes[0]
    jet, one = jets.take([4]), masks.take(jets.offsets, [4])
    path = ax.lines[1].get_xydata()
    assert np.allclose(path, jet.particles[one.order, 4:6])
    colors = drawn(ax)
    for place, context, target in zip(jet.particles[:, 4:6].double().numpy(), one.context, one.targets[0]):
        expected = CONTEXT if context else TARGET if target else UNUSED
        assert colors[tuple(np.round(place, 5))] == pytest.approx(to_rgba(expected)[:3], abs=1e-6)


def test_steps_show_the_sequence_so_far(jets):
    masks = draw_masks(jets, MaskConfig(), seeded())
    ax = displays.mask_figure(jets, masks, 4, step=7).axes[0]
    assert len(ax.lines[1].get_xydata()) == 7
    hidden = [c for c in drawn(ax).values() if np.allclose(c, to_rgba(displays.HIDDEN)[:3])]
    assert len(hidden) == 33 - 7
    assert len(displays.mask_figure(jets, masks, 4, step=0).axes[0].lines[1].get_xydata()) == 1


@pytest.mark.parametrize("blocks", [1, 2, 3, 8])
def test_one_panel_for_each_target_block(jets, blocks):
    masks = draw_masks(jets, MaskConfig(blocks), seeded())
    figure = displays.mask_figure(jets, masks, 1)
    assert len(figure.axes) == blocks
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert ("other target" in texts) == (blocks > 1)
    figure.draw_without_rendering()
