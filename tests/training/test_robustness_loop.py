"""Every classifier sees the same jets under each condition, and hidden inputs are hidden."""

import numpy as np
import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.models.heads import Classifier, MLPHead
from jepalib.models.missing import without_inputs
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import SIZES
from jepalib.perturb import remove_group
from jepalib.schema import INPUTS
from jepalib.training.presets import changes, pretrain_config
from jepalib.training.robustness import (
    LOSSES,
    Condition,
    all_conditions,
    attention_to_lost,
    kept,
    losses,
    perturbed,
    probabilities_under,
)

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def classifiers():
    torch.manual_seed(0)
    return [
        Classifier(ParticleTransformer(SIZES["nano"], micro_batch=64), MLPHead(SIZES["nano"].width)).eval()
        for _ in range(2)
    ]


@pytest.fixture(scope="module")
def batch():
    return make_jets([20, 3, 45, 12, 8, 70], seed=3)


def plain(classifier, jets):
    with torch.no_grad():
        return classifier(jets).softmax(1).numpy()


def test_conditions_are_all_removals_and_the_sizes_asked_for():
    found = all_conditions(random=(0.1, 0.5), dead=(0.2,))
    kinds = [c.kind for c in found]
    assert kinds == ["clean"] + ["input"] * 17 + ["group"] * 3 + ["random"] * 2 + ["dead"]
    assert [c.what for c in found if c.kind == "input"] == list(INPUTS)
    assert next(c for c in found if c.what == "td").hidden == INPUTS[13:]
    assert Condition("input", "dphi").hidden == ("dphi",)
    assert Condition().hidden == Condition("shift", size=0.1).hidden == ()
    with pytest.raises(JepalibError, match="input has no size"):
        all_conditions(input=(0.1,))
    with pytest.raises(JepalibError, match="condition 'drop' is not one of clean, input"):
        all_conditions(drop=(0.1,))
    with pytest.raises(JepalibError, match="'tracks' is not one of kin, pid, td"):
        Condition("group", "tracks")
    with pytest.raises(JepalibError, match="condition shift: 'td'"):
        Condition("shift", "td", 1.0)


def test_scores_are_those_of_each_classifier_on_the_perturbed_jets(classifiers, batch):
    conditions = [
        Condition(), Condition("input", "log_pt"), Condition("group", "td"), Condition("random", size=0.5),
        Condition("smearing", size=0.2), Condition("shift", size=0.1),
    ]  # fmt: skip
    p = probabilities_under(classifiers, batch, conditions, 5, CPU, quiet=True)
    assert p.shape == (2, 6, 6, 10)
    for model, classifier in enumerate(classifiers):
        without = without_inputs(classifier, ["log_pt"])
        expected = [
            plain(classifier, batch), plain(without, batch), plain(classifier, remove_group(batch, "td")),
        ]  # fmt: skip
        np.testing.assert_allclose(p[model, :3], expected, atol=1e-5)
    assert np.abs(p[0, 0] - p[1, 0]).max() > 1e-3
    for place in range(1, 6):
        assert np.abs(p[0, place] - p[0, 0]).max() > 1e-5, conditions[place]
    again = probabilities_under(classifiers[1:], batch, conditions, 5, CPU, quiet=True)
    np.testing.assert_allclose(again[0], p[1], atol=1e-6)  # whoever else looks on
    other = probabilities_under(classifiers[1:], batch, conditions, 6, CPU, quiet=True)
    assert np.abs(other[0, 3] - p[1, 3]).max() > 1e-5


@pytest.mark.parametrize("kind", LOSSES)
def test_what_is_kept_is_what_is_there(batch, kind):
    for size in (0.0, 0.3, 0.7):
        condition = Condition(kind, size=size)
        mask, after = kept(batch, condition, 2), perturbed(batch, condition, 2)
        assert torch.equal(after.particles, batch.particles[mask])
        assert torch.equal(after.particles, perturbed(batch, condition, 2).particles)
        assert mask[batch.offsets[:-1]].all() or kind == "random"


def test_losses_are_counted_and_nest(batch):
    table = losses(batch, all_conditions(random=(0.25, 0.5), softest=(0.5,), shift=(0.1,)), 0)
    whole = table[~table.kind.isin(LOSSES)]
    assert set(whole.kind) == {"clean", "input", "group", "shift"}
    assert (whole[["lost_particles", "lost_pt"]].to_numpy() == 0).all()
    random, more, soft = (table[table["size"] == s].iloc[-1] for s in (0.25, 0.5, 0.5))
    counts = np.array([20, 3, 45, 12, 8, 70])
    assert random.lost_particles == pytest.approx((np.round(0.25 * counts) / counts).mean())
    assert more.kind == soft.kind == "softest"
    drops = table[table.kind == "random"]
    assert drops.lost_pt.is_monotonic_increasing
    assert soft.lost_pt < drops.lost_pt.iloc[-1]  # the softest half carries less than any half
    assert soft.lost_particles == drops.lost_particles.iloc[-1]
    small, large = (kept(batch, Condition("random", size=s), 0) for s in (0.25, 0.5))
    assert (small | ~large).all()


def test_attention_to_the_lost_is_a_share(classifiers, batch):
    conditions = [Condition(), Condition("random", size=0.5), Condition("softest", size=1.0)]
    shares = attention_to_lost(classifiers[0], batch, conditions, 0, CPU)
    assert shares.shape == (3, 6)
    assert (shares[0] == 0).all()
    assert ((shares[1:] > 0) & (shares[1:] < 1)).all()
    with torch.no_grad():  # a class token that looks everywhere alike gives the share of particles
        for block in classifiers[1].encoder.trunk.cls_blocks:
            for name, weight in block.named_parameters():
                if "attn" in name and "out" not in name:
                    weight.zero_()
    alike = attention_to_lost(classifiers[1], batch, conditions[1:2], 0, CPU)[0]
    counts = np.array([20, 3, 45, 12, 8, 70])
    np.testing.assert_allclose(alike, np.round(0.5 * counts) / counts, atol=1e-5)


def test_nothing_to_look_at_is_said(classifiers, batch):
    with pytest.raises(JepalibError, match="0 classifiers"):
        probabilities_under([], batch, [Condition()], 0, CPU)
    with pytest.raises(JepalibError, match="0 jets"):
        probabilities_under(classifiers, batch.take([]), [Condition()], 0, CPU)


def test_the_changes_of_a_configuration_make_it_again():
    asked = {"steps": 7, "pid_dropout": 0.0, "masks.targets": 3, "lr": 0.01}
    config = pretrain_config("jp-jepa", "nano", asked)
    assert set(changes(config)) == {"steps", "lr", "objective.pid_dropout", "objective.masks.targets"}
    assert pretrain_config("jp-jepa", "nano", changes(config)) == config
    assert changes(pretrain_config("hep-jepa", "nano")) == {}
