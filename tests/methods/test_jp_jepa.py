"""JP-JEPA: where gradients go and do not go, the teacher's average, and awkward batches."""

from dataclasses import replace

import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.masking import MaskConfig
from jepalib.methods.jp_jepa import JPJEPA, JPJEPAConfig
from jepalib.methods.probes import PROBES
from jepalib.models.sizes import SIZES

TINY = replace(
    SIZES["nano"], width=16, embed=(16, 32, 16), heads=4, blocks=2, pair=(8, 8, 8), predictor_width=8,
    predictor_heads=4, predictor_blocks=1,
)  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SIZES, "tiny test", TINY)


def build(**settings):
    torch.manual_seed(0)
    return JPJEPA("tiny test", JPJEPAConfig(**settings))


def step(model, jets, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return model(jets, model.draw(jets, generator), generator)


def gradient_size(module):
    return sum(p.grad.abs().sum().item() for p in module.parameters() if p.grad is not None)


def test_no_gradient_reaches_the_teacher(jets):
    model = build()
    outputs = step(model, jets)
    (outputs.loss + outputs.probe_loss).backward()
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    assert gradient_size(model.student) > 0
    assert gradient_size(model.predictor) > 0


def test_stopped_probes_give_the_encoder_none(jets):
    model = build()
    step(model, jets).probe_loss.backward()
    assert gradient_size(model.student) == 0
    assert gradient_size(model.predictor) == 0
    assert gradient_size(model.probes) > 0


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_with_gradient_reaches_the_encoder(jets, name):
    model = build(
        probes=(name,), probes_with_gradient=(name,), lambda_particle=0.0, lambda_cls=0.0, regulariser="none"
    )
    step(model, jets).loss.backward()
    assert gradient_size(model.student) > 0


def test_after_step_follows_the_schedule(jets):
    model = build(ema_start=0.5, ema_end=0.9)
    with torch.no_grad():
        for p in model.student.parameters():
            p.add_(1.0)
    before = [p.clone() for p in model.teacher.parameters()]
    step(model, jets)  # moves the student's running statistics
    model.after_step(0.25)  # momentum 0.5 + 0.25 * 0.4
    for old, new, student in zip(before, model.teacher.parameters(), model.student.parameters()):
        assert torch.allclose(new, 0.6 * old + 0.4 * student.detach(), atol=1e-6)
    for mine, theirs in zip(model.teacher.buffers(), model.student.buffers()):
        assert torch.equal(mine, theirs)


def test_teacher_normalises_as_in_evaluation_in_training_mode(jets):
    model = build()
    assert model.training
    buffers = [b.clone() for b in model.teacher.buffers()]
    step(model, jets)
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.teacher.buffers()))


def test_targets_are_the_teachers_outputs_on_the_whole_jet(jets):
    model = build(pid_dropout=0.0, td_dropout=0.0)
    masks = model.draw(jets, torch.Generator().manual_seed(3))
    parts = model(jets, masks).parts
    context = jets.select_particles(masks.context)
    target = masks.targets[0]
    model2 = build(pid_dropout=0.0, td_dropout=0.0)  # fresh running statistics, same weights
    predicted = model2.predictor(
        model2.student(context), context, jets.select_particles(target), model2.student.pair_embed
    )
    truth = model2.teacher(jets)
    expected = torch.nn.functional.smooth_l1_loss(predicted.tokens, truth.tokens[target])
    assert parts["particle"].item() == pytest.approx(expected.item(), rel=1e-5)
    expected = torch.nn.functional.smooth_l1_loss(predicted.cls, truth.cls)
    assert parts["cls"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_student_sees_no_target_particle(jets):
    model = build(probes=())
    masks = model.draw(jets, torch.Generator().manual_seed(3))
    seen = []
    model.student.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    model(jets, masks, torch.Generator().manual_seed(0))
    assert len(seen) == 1
    assert len(seen[0].particles) == int(masks.context.sum())


AWKWARD = {
    "identical jets": lambda: make_jets([9]).take([0] * 6),
    "two particles each": lambda: make_jets([2] * 5),
    "a pair of jets": lambda: make_jets([2, 30]),
    "longest and shortest": lambda: make_jets([128, 2, 128]),
}


@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize(
    "settings", [{}, {"regulariser": "sigreg"}, {"masks": MaskConfig(targets=4)}], ids=str
)
def test_awkward_batches_give_finite_losses_and_gradients(kind, settings):
    model = build(**settings)
    outputs = step(model, AWKWARD[kind]())
    (outputs.loss + outputs.probe_loss).backward()
    assert torch.isfinite(outputs.loss)
    assert all(torch.isfinite(v) for v in outputs.parts.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


ABLATIONS = [
    {"regulariser": "none"},
    {"regulariser": "sigreg", "lambda_regulariser": 0.05},
    {"cls_from_context": True},
    {"predictor_cls": False},
    {"predictor_bias": False},
    {"predictor_own_pairs": True},
    {"masks": MaskConfig(targets=2, target_kind="random", context_kind="random")},
]


@pytest.mark.parametrize("settings", ABLATIONS, ids=str)
def test_every_row_of_the_ablation_table_trains(jets, settings):
    model = build(**settings)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(12):
        outputs = step(model, jets)
        losses.append(outputs.loss.item())
        optimizer.zero_grad()
        (outputs.loss + outputs.probe_loss).backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert ("context_cls" in outputs.parts) == settings.get("cls_from_context", False)


def test_loss_is_the_weighted_sum_of_its_parts(jets):
    model = build(lambda_particle=2.0, lambda_cls=3.0, lambda_regulariser=0.5, cls_from_context=True)
    outputs = step(model, jets)
    p = outputs.parts
    expected = 2 * p["particle"] + 3 * p["cls"] + 3 * p["context_cls"] + 0.5 * p["koleo"]
    assert outputs.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    probes = sum(p[name] for name in PROBES)
    assert outputs.probe_loss.item() == pytest.approx(probes.item(), rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"regulariser": "vicreg"}, "regulariser 'vicreg'"),
        ({"probes": ("pid", "spin")}, "probe 'spin'"),
        ({"probes": ("pid",), "probes_with_gradient": ("td",)}, "absent from probes"),
        ({"pid_dropout": 1.5}, "pid_dropout = 1.5"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(JepalibError, match=message):
        JPJEPAConfig(**settings)
