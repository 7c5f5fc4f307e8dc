"""HEP-JEPA: where gradients go, what each network sees, and every ablation switch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_jets import make_jets

from jepalib.augment import AugmentConfig
from jepalib.errors import JepalibError
from jepalib.masking import MaskConfig
from jepalib.methods.hep_jepa import HEPJEPA, HEPJEPAConfig
from jepalib.models.patches import PatchConfig
from jepalib.models.sizes import PATCH_SIZES

TINY = replace(
    PATCH_SIZES["nano"], width=16, embed=(16, 32), heads=4, blocks=2, pair=(8, 8, 8), predictor_width=8,
    predictor_heads=4, predictor_blocks=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(PATCH_SIZES, "tiny test", TINY)


def build(**settings):
    torch.manual_seed(0)
    return HEPJEPA("tiny test", HEPJEPAConfig(**settings))


def draw(model, jets, seed=0):
    return model.draw(jets, torch.Generator().manual_seed(seed))


def gradient_size(module):
    return sum(p.grad.abs().sum().item() for p in module.parameters() if p.grad is not None)


ABLATIONS = [
    {},
    {"masks": MaskConfig(1, (0.15, 0.2), (0.85, 1.0))},
    {"masks": MaskConfig(8, (0.15, 0.2), (0.4, 0.75), "random", "random")},
    {"registers": 0},
    {"physics_bias": False},
    {"patches": PatchConfig(0.5, 2, 3)},
    {"augment": AugmentConfig(rotation=3.14, smearing=0.05, boost=0.5)},
]


@pytest.mark.parametrize("settings", ABLATIONS, ids=lambda s: ",".join(s) or "default")
def test_every_switch_trains_student_and_predictor_alone(settings, jets):
    model = build(**settings)
    outputs = model(jets, draw(model, jets))
    assert outputs.loss.isfinite()
    outputs.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    missing = [
        name
        for part in (model.student, model.predictor)
        for name, p in part.named_parameters()
        if p.grad is None or not p.grad.isfinite().all()
    ]
    assert not missing
    assert gradient_size(model.student.tokeniser) > 0
    assert gradient_size(model.predictor) > 0


def test_loss_is_the_mean_over_target_blocks_on_the_outputs_of_the_teacher(jets):
    model = build()
    view = draw(model, jets)
    truth = model.teacher.encode(view.patches)
    seen = view.patches.select(view.masks.context)
    context = model.student.encode(seen)
    losses = []
    for target in view.masks.targets:
        hidden = view.patches.select(target)
        predicted = model.predictor(context, seen.places, hidden.places, hidden.offsets)
        losses.append(torch.nn.functional.smooth_l1_loss(predicted.tokens, truth.tokens[target]))
    assert len(losses) == 4
    torch.testing.assert_close(model(jets, view).loss, torch.stack(losses).mean())


def test_the_student_sees_nothing_of_the_target_patches(jets):
    """Other points, four-vectors in the target patches: the same context and predictions."""
    model = build().eval()
    view = draw(model, jets)
    target = view.masks.targets.any(0)
    points, p4 = view.patches.points.clone(), view.patches.p4.clone()
    points[target] += 1
    p4[target] *= 2
    other = replace(view.patches, points=points, p4=p4)
    a = model.student.encode(view.patches.select(view.masks.context))
    b = model.student.encode(other.select(view.masks.context))
    assert torch.equal(a.tokens, b.tokens)
    assert not torch.equal(model.teacher.encode(other).tokens, model.teacher.encode(view.patches).tokens)


def test_predictions_depend_on_the_place_of_the_target(jets):
    model = build().eval()
    view = draw(model, jets)
    seen, hidden = (view.patches.select(m) for m in (view.masks.context, view.masks.targets[0]))
    context = model.student.encode(seen)
    a = model.predictor(context, seen.places, hidden.places, hidden.offsets).tokens
    b = model.predictor(context, seen.places, hidden.places + 0.1, hidden.offsets).tokens
    assert a.shape == (len(hidden.places), TINY.width)
    assert (a - b).abs().max() > 1e-4


def test_augmentation_changes_the_view_and_only_when_asked(jets):
    plain, moved = build(), build(augment=AugmentConfig(rotation=3.14))
    first, second = draw(plain, jets), draw(moved, jets)
    assert not torch.allclose(first.patches.places, second.patches.places)
    from jepalib.models.patch_transformer import patch_jets

    assert torch.equal(patch_jets(jets, plain.config.patches).places, first.patches.places)


def test_two_particle_jets_and_the_teacher_after_a_step():
    jets = make_jets([2, 3, 40, 2])
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model(jets, draw(model, jets)).loss.backward()
    before = [p.clone() for p in model.teacher.parameters()]
    optimizer.step()
    model.after_step(0.5)
    moved = [not torch.equal(a, b) for a, b in zip(before, model.teacher.parameters())]
    assert any(moved)
    momentum = (model.config.ema_start + model.config.ema_end) / 2
    for old, mine, theirs in zip(before, model.teacher.parameters(), model.student.parameters()):
        torch.testing.assert_close(mine, momentum * old + (1 - momentum) * theirs)


def test_sizes_of_the_paper():
    model = HEPJEPA("mini")
    millions = sum(p.numel() for p in model.encoder.parameters()) / 1e6
    assert 2.4 < millions < 2.6
    assert len(model.encoder.trunk.blocks) == 12
    assert model.encoder.register_token.shape[0] == 8


def test_bad_settings_are_refused():
    with pytest.raises(JepalibError, match="least"):
        HEPJEPAConfig(patches=PatchConfig(least=1))
    with pytest.raises(JepalibError, match="registers"):
        HEPJEPAConfig(registers=-1)
    with pytest.raises(JepalibError, match="ema_end"):
        HEPJEPAConfig(ema_end=1.5)
