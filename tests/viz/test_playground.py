"""The playground's controls damage the jets as its functions say, and what it shows is what was scored."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.models.heads import Classifier, MLPHead
from jepalib.models.missing import without_inputs
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import SIZES
from jepalib.perturb import drop_particles, drop_softest, smear_energy
from jepalib.schema import INPUTS, PID_INPUTS
from jepalib.viz.playground import Damage, RobustnessPlayground, _Panel


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    size = SIZES["nano"]
    return {
        name: Classifier(ParticleTransformer(size, micro_batch=64), MLPHead(size.width)).eval()
        for name in ("one", "other")
    }


@pytest.fixture(scope="module")
def batch():
    return make_jets([20, 3, 45, 12, 8, 70, 30, 15, 2, 9])


def scored(model, jets):
    with torch.no_grad():
        return model(jets).softmax(1).numpy()


def test_scores_are_those_of_damaged_jets(networks, batch):
    play = RobustnessPlayground(networks, batch, seed=4)
    expected = {
        Damage(): scored(networks["one"], batch),
        Damage(("isMuon", "deta")): scored(without_inputs(networks["one"], ["isMuon", "deta"]), batch),
        Damage(softest=0.5): scored(networks["one"], drop_softest(batch, 0.5)),
        Damage(random=0.3): scored(
            networks["one"], drop_particles(batch, 0.3, torch.Generator().manual_seed(4))
        ),
        Damage(smearing=0.2): scored(
            networks["one"], smear_energy(batch, 0.2, torch.Generator().manual_seed(4))
        ),
    }
    for damage, probabilities in expected.items():
        np.testing.assert_allclose(play.scores(damage)["one"], probabilities, atol=1e-6)
    right = (expected[Damage()].argmax(1) == batch.labels.numpy()).mean()
    assert play.accuracy(Damage())["one"] == pytest.approx(right)
    assert f"one {right:.3f} (clean {right:.3f}); other" in play.sentence(Damage())
    assert play.scores(Damage()) is play.scores(Damage())  # remembered


def test_the_figure_shows_the_scores_of_its_jet(networks, batch):
    play = RobustnessPlayground(networks, batch)
    damage = Damage(random=0.5)
    left, right = play.figure(5, damage).axes
    heights = [patch.get_height() for patch in left.patches[:10]]
    assert heights == pytest.approx(play.scores(damage)["one"][5].tolist())
    assert left.get_title() == "jet 5: 35 of 70 particles"
    shown = [patch.get_height() for patch in right.patches]
    assert shown == pytest.approx(list(play.accuracy(damage).values()))
    with pytest.raises(JepalibError, match="no jet 10; there are 0 to 9"):
        play.figure(10)


def test_every_control_changes_the_damage_and_the_picture(networks, batch):
    panel = _Panel(RobustnessPlayground(networks, batch))
    assert panel.damage == Damage()
    pictures = [panel.image.value]

    def changed() -> bool:
        pictures.append(panel.image.value)
        return panel.guard.line.value == "" and pictures[-1] != pictures[-2]

    panel.inputs["log_pt"].value = False
    assert changed()
    assert panel.damage.hidden == ("log_pt",)
    for name, field in (("random", 40), ("softest", 20), ("smearing", 30)):
        panel.sliders[name].value = field
        assert changed()
        assert getattr(panel.damage, name) == field / 100
    panel.groups["pid"].value = False
    assert changed()
    assert panel.damage.hidden == ("log_pt", *PID_INPUTS)
    panel.inputs["charge"].value = True
    assert not panel.groups["pid"].value
    panel.groups["pid"].value = True
    assert panel.damage.hidden == ("log_pt",)
    panel.row.value = 3
    assert changed()
    panel.again.click()
    assert panel.damage == Damage()
    assert all(box.value for box in (*panel.inputs.values(), *panel.groups.values()))
    assert bytes(panel.image.value).startswith(b"\x89PNG")


def test_controls_are_labelled(networks, batch):
    panel = _Panel(RobustnessPlayground(networks, batch))
    assert set(panel.inputs) == set(INPUTS)
    for control in (panel.row, *panel.sliders.values(), *panel.inputs.values(), *panel.groups.values()):
        assert control.description
    assert 'role="status">Accuracy over 10 jets' in panel.words.value


def test_a_new_kernel_finds_the_controls_as_they_were(networks, batch, tmp_path):
    file = tmp_path / "playground.json"
    first = _Panel(RobustnessPlayground(networks, batch, memory=file))
    first.inputs["dphi"].value = False
    first.sliders["softest"].value = 30
    first.row.value = 6
    second = _Panel(RobustnessPlayground(networks, batch, memory=file))
    assert second.damage == first.damage == Damage(("dphi",), softest=0.3)
    assert second.row.value == 6
    assert bytes(second.image.value) == bytes(first.image.value)
    fewer = _Panel(RobustnessPlayground(networks, batch.take([0, 1]), memory=file))
    assert fewer.row.value == 1
    file.write_text(json.dumps({"row": 0, "hidden": ["spin"]}))
    odd = _Panel(RobustnessPlayground(networks, batch, memory=file))
    assert odd.damage == Damage()
    file.write_text("{")
    odd = _Panel(RobustnessPlayground(networks, batch, memory=file))
    assert odd.damage == Damage()
    assert "cannot be read" in odd.guard.line.value
    assert bytes(odd.image.value).startswith(b"\x89PNG")


def test_networks_and_labelled_jets_are_needed(networks, batch):
    with pytest.raises(JepalibError, match="0 networks; give 1 to 4"):
        RobustnessPlayground({}, batch)
    with pytest.raises(JepalibError, match="no jets"):
        RobustnessPlayground(networks, batch.take([]))
