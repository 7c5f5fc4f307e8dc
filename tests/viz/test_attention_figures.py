"""Attention is drawn as it is: colours, lines and rings are those of the weights; the viewer follows."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from torch import nn

from jepalib.errors import JepalibError
from jepalib.models.attention_maps import JetAttention, attention_maps, look
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.heads import ClassAttentionHead, Classifier
from jepalib.models.patches import make_patches
from jepalib.training.attention_focus import attention_focus
from jepalib.viz import attention, attention_viewer
from jepalib.viz.attention_viewer import AttentionViewer


def classifier(kind: str) -> Classifier:
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(kind=kind))
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data *= 2  # attention that is far from even
    return Classifier(encoder, ClassAttentionHead(encoder.width)).eval()


PARTICLES, PATCHES = classifier("particles"), classifier("patches")


def colors_by_place(ax) -> dict[tuple[float, float], tuple[float, ...]]:
    """Colour of each marker that is not outlined in black by its place, rounded."""
    found = {}
    for points in ax.collections:
        if isinstance(points, LineCollection):
            continue
        faces, edges = points.get_facecolors(), points.get_edgecolors()
        black = len(edges) and np.allclose(edges[0], (0, 0, 0, 1))
        for i, place in enumerate(np.asarray(points.get_offsets())):
            colors = faces if black or not len(edges) else edges
            found[tuple(np.round(place, 4))] = tuple(np.round(colors[i % len(colors)][:3], 3))
    return found


def lines_of(ax) -> LineCollection | None:
    return next((c for c in ax.collections if isinstance(c, LineCollection)), None)


def test_a_look_has_places_and_momenta_of_the_tokens(jets):
    seen = look(PARTICLES, jets, 3)
    assert torch.equal(seen.places, jets.take([3]).particles[:, 4:6])
    assert seen.patches is None
    seen, jet = look(PATCHES, jets, 3), jets.take([3])
    patches = make_patches(jet.column("deta"), jet.column("dphi"), jet.offsets, PATCHES.encoder.patches)
    assert torch.equal(seen.places, jet.particles[patches.centres, 4:6])
    first = patches.members[: patches.member_offsets[1]]
    momentum = jet.particles[first, :2].sum(0)
    assert float(seen.pt[0]) == pytest.approx(float(torch.hypot(*momentum)), rel=1e-5)
    for one in seen.maps:
        assert one.to_tokens.shape[2] == len(patches)


@pytest.mark.parametrize("model", [PARTICLES, PATCHES])
def test_colours_and_lines_are_those_of_the_weights(jets, model):
    seen = look(model, jets, 3)
    ax = attention.attention_figure(seen, block=1, head=2, query=3).axes[0]
    weights = seen.maps[1].to_tokens[2, 3].double().numpy()
    colors = colors_by_place(ax)
    for place, weight in zip(seen.places.double().numpy(), weights):
        assert colors[tuple(np.round(place, 4))] == pytest.approx(
            attention.SCALE.to_rgba(weight)[:3], abs=2e-3
        )
    lines = lines_of(ax)
    assert np.allclose([path.vertices[0] for path in lines.get_paths()], seen.places[3])
    assert np.allclose(np.square(lines.get_linewidths()) / 16, np.sort(weights))  # the widest on top
    assert np.allclose(ax.lines[-1].get_xydata(), seen.places[3])  # the ring


def test_mean_of_heads_and_class_token(jets):
    seen = look(PARTICLES, jets, 3)
    ax = attention.attention_figure(seen, block=4, query=99).axes[0]  # a class block: no token asks
    assert lines_of(ax) is None
    weights = seen.maps[4].to_tokens[:, 0].mean(0)
    colors = colors_by_place(ax)
    for place, weight in zip(seen.places.double().numpy(), weights):
        expected = attention.SCALE.to_rgba(float(weight))[:3]
        assert colors[tuple(np.round(place, 4))] == pytest.approx(expected, abs=2e-3)
    assert "class block 1, mean of heads, class token" in ax.get_title()
    assert f"{1 - float(weights.sum()):.0%} on itself" in ax.get_title()


def test_every_head_of_every_class_block_has_a_panel(jets):
    figure = attention.class_attention_figure(look(PARTICLES, jets, 3))  # one of the encoder, two of the head
    titles = [ax.get_title().split("\n")[0] for ax in figure.axes[:-1]]
    names = ("class block 1", "head block 1", "head block 2")
    assert titles == [f"{name}, head {head}" for name in names for head in range(1, 9)]
    with pytest.raises(JepalibError, match="no class token"):
        attention.class_attention_figure(look(PATCHES.encoder, jets, 3))


def test_even_attention_is_drawn_in_the_middle_colour(jets):
    seen = look(PARTICLES.encoder, jets, 3)
    block = seen.maps[-1]
    block.weights[:] = 1 / block.weights.shape[2]
    ax = attention.class_attention_figure(JetAttention(seen.jet, [block], seen.places, seen.pt, None)).axes[0]
    found = np.array(list(colors_by_place(ax).values()))
    assert np.allclose(found, attention.EVEN.to_rgba(1.0)[:3], atol=0.01)  # a step of the colour map


@pytest.mark.parametrize(("model", "heads"), [(PARTICLES, 8), (PATCHES, 4)])
def test_a_row_for_each_block_and_a_column_for_each_head(jets, model, heads):
    seen = look(model, jets, 3)
    figure = attention.query_figure(seen, 1)
    assert len(figure.axes) == 4 * heads + 1
    ax = figure.axes[2 * heads + 3]
    weights = seen.maps[2].to_tokens[3, 1].double().numpy()
    assert np.allclose(np.square(lines_of(ax).get_linewidths()) / 4, np.sort(weights))
    assert [ax.get_title() for ax in figure.axes[:heads]] == [f"head {h + 1}" for h in range(heads)]


def test_what_is_not_there_is_refused(jets):
    seen = look(PARTICLES, jets, 2)
    for given, what in (
        ({"block": 9}, "no block 9"),
        ({"head": 8}, "no head 8"),
        ({"query": 5}, "no token 5"),
    ):
        with pytest.raises(JepalibError, match=what):
            attention.attention_figure(seen, **given)


def test_focus_is_what_a_loop_over_pairs_gives(jets):
    table = attention_focus(PARTICLES, jets.take([3, 4]))
    block, head, ratios = 2, 5, []
    for row in (3, 4):
        weights = attention_maps(PARTICLES, jets, row)[block].weights[head].double().numpy()
        jet = jets.take([row])
        places = jet.particles[:, 4:6].double().numpy()
        pt = np.hypot(*jet.particles[:, :2].double().numpy().T)
        apart = np.array([[np.hypot(*(a - b)) for b in places] for a in places])
        near = sum(w * d for w, d in zip(weights.ravel(), apart.ravel())) / len(pt)
        ratios.append(
            (near, near / apart.mean(), (weights @ pt).mean() / pt.sum(), (weights @ pt).mean() / pt.mean())
        )
    found = table[(table.block == "block 3") & (table["head"] == 6)].iloc[0]
    expected = np.mean(ratios, 0)
    names = ["delta_r", "delta_r_ratio", "pt_share", "pt_ratio"]
    assert found[names].to_numpy(float) == pytest.approx(expected, rel=1e-4)
    assert found["pt_error"] == pytest.approx(np.std([r[3] for r in ratios], ddof=1) / 2**0.5, rel=1e-3)
    assert (found["jets"], found["elsewhere"]) == (2, pytest.approx(0, abs=1e-6))


@pytest.mark.parametrize("model", [PARTICLES, PATCHES])
def test_even_attention_has_ratios_of_one(jets, model, monkeypatch):
    def even(model, jets, row):
        seen = look(model, jets, row)
        for one in seen.maps:
            one.weights[:] = 1 / one.weights.shape[2]
        return seen

    monkeypatch.setattr("jepalib.training.attention_focus.look", even)
    table = attention_focus(model, jets)
    assert table.delta_r_ratio.to_numpy() == pytest.approx(1)
    assert table.pt_ratio.to_numpy() == pytest.approx(1)
    assert (table.elsewhere > 1e-6).eq((table.kind == "class") | (model is PATCHES)).all()
    assert table.jets.eq(12).all()


def test_focus_needs_jets_with_two_tokens(jets):
    keep = torch.zeros(len(jets.particles), dtype=torch.bool)
    keep[jets.offsets[:-1]] = True
    with pytest.raises(JepalibError, match="at least two tokens"):
        attention_focus(PARTICLES, jets.select_particles(keep))


def test_focus_tables_show_every_number(jets):
    tables = {
        "one": attention_focus(PARTICLES, jets.take([3])),
        "two": attention_focus(PATCHES, jets.take([3])),
    }
    figure = attention.focus_figure(tables)
    assert len(figure.axes) == 5
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == [f"{v:.2f}" for v in tables["one"].delta_r_ratio]
    assert len(figure.axes[3].texts) == len(tables["two"])  # blocks of four heads leave cells empty


def test_the_viewer_follows_its_controls(jets, monkeypatch):
    drawn, looked = [], []
    monkeypatch.setattr(attention_viewer, "look", lambda m, j, row: looked.append(row) or look(m, j, row))
    figure = AttentionViewer.figure
    monkeypatch.setattr(AttentionViewer, "figure", lambda self, *at: drawn.append(at) or figure(self, *at))
    viewer = AttentionViewer(PARTICLES, jets)
    panel = attention_viewer._Panel(viewer)
    assert drawn == [(0, 0, None, 0)]
    before = panel.image.value
    panel.head.value = 4
    assert panel.image.value != before
    assert panel.query.max == 2
    panel.row.value = 3
    assert (drawn[-1], panel.query.max) == ((3, 0, 4, 0), 40)
    panel.query.value = 30
    panel.block.value = 5  # of the classifier's head
    assert drawn[-1] == (3, 5, 4, 29)
    assert panel.query.disabled
    panel.block.value = 1
    assert not panel.query.disabled
    panel.row.value = 2  # of five particles
    assert (drawn[-1], panel.query.value) == ((2, 1, 4, 4), 5)
    assert len(drawn) == 7  # one picture for each change
    assert looked == [0, 3, 2]  # the attention of a jet is computed once
    assert panel.guard.line.value == ""
    assert bytes(panel.image.value).startswith(b"\x89PNG")


def test_heads_of_the_block_are_offered(jets):
    panel = attention_viewer._Panel(AttentionViewer(PATCHES, jets))
    assert len(panel.head.options) == 5
    panel.head.value = 3
    panel.block.value = 4  # class attention has eight heads
    assert len(panel.head.options) == 9
    assert all(control.description for control in (panel.row, panel.block, panel.head, panel.query))


def test_the_viewer_needs_jets_and_an_encoder(jets):
    with pytest.raises(JepalibError, match="at least one jet"):
        AttentionViewer(PARTICLES, jets.take([]))
    with pytest.raises(JepalibError, match="holds no"):
        AttentionViewer(nn.Linear(1, 1), jets)


def test_the_static_twin_is_the_figure_of_the_first_jet(jets):
    title = AttentionViewer(PARTICLES, jets).figure().axes[0].get_title()
    assert "2 constituents\nblock 1, mean of heads, particle 1" in title
