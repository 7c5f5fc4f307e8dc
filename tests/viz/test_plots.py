"""Figures of jets: the drawn numbers are those of the jets, the axes say what they are."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_jets import make_jets
from matplotlib.figure import Figure

from jepalib.jets import Jets
from jepalib.kinematics import model_inputs, particle_types
from jepalib.masking import MaskConfig, draw_masks
from jepalib.schema import CLASS_TITLES, CLASSES, PARTICLE_TYPES
from jepalib.viz import plots
from jepalib.viz.style import use_style


@pytest.fixture(scope="module")
def jets() -> Jets:
    """Two hundred jets with masses and subjettiness."""
    use_style()
    generator = torch.Generator().manual_seed(0)
    jets = make_jets(torch.randint(5, 129, (200,), generator=generator).tolist())
    jets.observables[:, 5] = 250 * torch.rand(200, generator=generator)
    jets.observables[:, 6:10] = torch.rand(200, 4, generator=generator).sort(1, descending=True)[0]
    return jets


def legend_texts(figure: Figure) -> set[str]:
    legends = [ax.get_legend() for ax in figure.axes if ax.get_legend()] + figure.legends
    return {text.get_text() for legend in legends for text in legend.get_texts()}


def heights_of(ax, label: str) -> np.ndarray:
    return next(p for p in ax.patches if p.get_label() == label).get_data().values


def test_multiplicity_draws_every_class_once_and_qcd_twice(jets):
    figure = plots.multiplicity(jets)
    assert [ax.get_xlabel() for ax in figure.axes] == ["constituents per jet"] * 2
    assert legend_texts(figure) == set(CLASS_TITLES.values())
    drawn = [patch.get_label() for ax in figure.axes for patch in ax.patches]
    assert sorted(drawn) == sorted([*CLASS_TITLES.values(), CLASS_TITLES["QCD"]])
    for ax, name in ((figure.axes[0], "Hbb"), (figure.axes[1], "Tbl")):
        counts = jets.counts[jets.labels == CLASSES.index(name)].numpy()
        expected = np.histogram(counts, np.linspace(0, 128, 17))[0] / len(counts)
        assert np.array_equal(heights_of(ax, CLASS_TITLES[name]), expected)


def test_jet_mass_has_units_and_is_a_fraction_of_all_jets(jets):
    heavy = Jets(**{**vars(jets), "observables": jets.observables.clone()})
    heavy.observables[:, 5] = 1e4  # beyond the last bin
    figure = plots.jet_mass(jets)
    assert {ax.get_xlabel() for ax in figure.axes} == {"soft-drop mass [GeV]"}
    assert heights_of(figure.axes[0], CLASS_TITLES["Hgg"]).sum() == pytest.approx(1)
    assert heights_of(plots.jet_mass(heavy).axes[0], CLASS_TITLES["Hgg"]).sum() == 0


def test_substructure_ratios(jets):
    figure = plots.substructure(jets)
    assert len(figure.axes) == 4
    chosen = jets.labels == CLASSES.index("Tbqq")
    tau32 = (jets.observable("tau3") / jets.observable("tau2"))[chosen].double().numpy()
    expected = np.histogram(tau32, np.linspace(0, 1, 21))[0] / len(tau32)
    assert np.array_equal(heights_of(figure.axes[3], CLASS_TITLES["Tbqq"]), expected)
    assert figure.axes[3].get_ylim()[1] > expected.max()  # nothing is cut off


def test_jets_without_subjettiness_make_no_warning():
    jets = make_jets([5] * 20)
    assert (jets.observable("tau1") == 0).all()
    assert len(plots.substructure(jets).axes) == 4


def test_particle_spectra_count_particles_by_type(jets):
    figure = plots.particle_spectra(jets)
    assert [ax.get_xlabel() for ax in figure.axes] == [
        r"constituent $p_T$ [GeV]", r"$\Delta R$ to the jet axis", r"$|d_0|$ [mm], charged",
    ]  # fmt: skip
    photons = (particle_types(jets) == PARTICLE_TYPES.index("photon")).sum()
    assert heights_of(figure.axes[0], "photons").sum() == pytest.approx(int(photons) / len(jets))
    assert "photons" not in [p.get_label() for p in figure.axes[2].patches]  # they have no track


def test_jet_images_add_up_to_the_energy(jets):
    figure = plots.jet_images(jets)
    meshes = [ax.collections[0] for ax in figure.axes[:10]]
    assert [ax.get_title() for ax in figure.axes[:10]] == list(CLASS_TITLES.values())
    image = np.asarray(meshes[0].get_array()).reshape(40, 40)
    jet = jets.take((jets.labels == 0).nonzero()[:, 0])
    inside = (jet.particles[:, 4:6].abs() < 0.8).all(1)
    energy = jet.column("energy") / jet.observable("energy")[jet.jet_of_particle]
    assert image.sum() == pytest.approx(float(energy[inside].sum()) / len(jet), rel=0.01)
    # Rows of the image are phi: a particle at (0.5, -0.3) lights that cell.
    one = jets.take([0]).select_particles(torch.arange(int(jets.counts[0])) == 0)
    one.particles[0, 4:6] = torch.tensor([0.5, -0.3])
    one.observables[0, 3] = one.particles[0, 3]
    image = np.asarray(plots.jet_images(one).axes[int(one.labels[0])].collections[0].get_array())
    row, column = np.unravel_index(image.reshape(40, 40).argmax(), (40, 40))
    assert (row, column) == (12, 32)
    assert figure.axes[-1].get_ylabel() == "mean share of jet energy per cell"


def test_model_inputs_in_17_panels_with_what_they_were_before(jets):
    figure = plots.inputs_before_after(jets)
    panels = figure.axes[:17]
    assert all(ax.get_xlabel() for ax in panels)
    before = [ax for ax in figure.axes[20:] if ax.get_xlabel()]
    assert len(before) == 9
    assert before[0].get_xlabel() == r"$p_T$ [GeV]"
    assert before[-1].get_xlabel() == r"$\sigma(d_z)$ [mm]"
    log_pt = model_inputs(jets)[:, 0].numpy()
    drawn = panels[0].patches[0].get_data()
    assert drawn.values.sum() == pytest.approx(1)
    assert (drawn.edges[0], drawn.edges[-1]) == pytest.approx((log_pt.min(), log_pt.max()), abs=1e-5)
    charge = panels[7].patches[0].get_data().values[[0, 2, 4]]
    assert charge == pytest.approx([float((jets.column("charge") == q).double().mean()) for q in (-1, 0, 1)])


def test_mask_ratios_show_what_was_drawn_and_asked(jets):
    config = MaskConfig(2, (0.2, 0.3), (0.5, 0.6))
    masks = draw_masks(jets, config, torch.Generator().manual_seed(0))
    figure = plots.mask_ratios(masks, jets.offsets, config)
    target, context = figure.axes
    assert "asked: 0.2 to 0.3 of the jet" in legend_texts(figure)
    share = [
        float(masks.targets[block, jets.offsets[i] : jets.offsets[i + 1]].double().mean())
        for block in range(2)
        for i in range(len(jets))
    ]
    assert target.lines[0].get_xdata()[0] == pytest.approx(np.mean(share))
    expected = np.histogram(share, np.linspace(0, 1, 51))[0] / len(share)
    assert target.patches[0].get_data().values == pytest.approx(expected, abs=0.01)
    rest = draw_masks(jets, MaskConfig(context_ratio=None), torch.Generator().manual_seed(0))
    figure = plots.mask_ratios(rest, jets.offsets, MaskConfig(context_ratio=None))
    assert figure.axes[1].lines[0].get_xdata()[0] == pytest.approx(0.7, abs=0.02)
    assert "context" in context.get_xlabel()
