"""P-JEPA: the one token between context and prediction, its three losses, and where gradients go."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from made_jets import make_jets
from torch.nn.functional import cross_entropy, smooth_l1_loss

from jepalib.errors import JepalibError
from jepalib.kinematics import particle_types
from jepalib.methods.p_jepa import PJEPA, PJEPAConfig
from jepalib.methods.registry import find_method
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import SIZES
from jepalib.schema import PARTICLE_COLUMN, PID_FIELDS, UNKNOWN_TYPE
from jepalib.training.adapt import adapt
from jepalib.training.presets import pretrain_config
from jepalib.training.pretrain import pretrain

TINY = replace(
    SIZES["nano"], width=16, embed=(16, 32, 16), heads=4, blocks=2, pair=(8, 8, 8), predictor_width=32,
    predictor_heads=4, predictor_blocks=2,
)  # fmt: skip
PLACE = [PARTICLE_COLUMN["deta"], PARTICLE_COLUMN["dphi"]]
PARTS = ("particle", "aggregated", "pid")


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(SIZES, "tiny test", TINY)


def build(**settings):
    torch.manual_seed(0)
    return PJEPA("tiny test", PJEPAConfig(**settings))


def only(part):
    return {f"lambda_{name}": float(name == part) for name in PARTS}


def draw(model, jets, seed=0):
    return model.draw(jets, torch.Generator().manual_seed(seed))


def gradient_size(module):
    return sum(p.grad.abs().sum().item() for p in module.parameters() if p.grad is not None)


def per_jet(mask, jets):
    return torch.zeros(len(jets)).index_add_(0, jets.jet_of_particle, mask.float())


def test_a_random_third_to_half_is_hidden_and_the_rest_is_context():
    jets = make_jets([100] * 200 + [2, 3, 7])
    masks = draw(build(), jets)
    assert masks.targets.shape == (1, len(jets.particles))
    assert torch.equal(masks.context, ~masks.targets[0])
    hidden = per_jet(masks.targets[0], jets)
    shares = hidden[:200] / 100
    assert shares.min() >= 0.3
    assert shares.max() <= 0.5
    assert shares.std() > 0.03  # drawn for each jet
    assert (hidden[200:] >= 1).all()
    assert (per_jet(masks.context, jets) >= 1).all()
    # not a run of neighbours: along the greedy sequence it changes sides often
    flags = masks.targets[0][masks.order][:20_000].int().unflatten(0, (200, 100))
    assert flags.diff(dim=1).abs().sum(1).float().mean() > 30


def test_gradients_reach_student_and_predictor_and_never_the_teacher(jets):
    model = build()
    outputs = model(jets, draw(model, jets))
    outputs.loss.backward()
    assert all(p.grad is None and not p.requires_grad for p in model.teacher.parameters())
    trained = [model.student, model.predictor, model.identification]
    missing = [n for part in trained for n, p in part.named_parameters() if p.grad is None]
    assert not missing
    assert all(p.grad.isfinite().all() for part in trained for p in part.parameters())
    for part in (*trained, model.student.trunk.cls_blocks, model.student.embed, model.student.pair_embed):
        assert gradient_size(part) > 0
    assert outputs.probe_loss == 0


@pytest.mark.parametrize("part", PARTS)
def test_each_loss_alone_reaches_the_encoder(jets, part):
    model = build(**only(part))
    outputs = model(jets, draw(model, jets))
    assert outputs.loss.item() == pytest.approx(outputs.parts[part].item())
    outputs.loss.backward()
    assert gradient_size(model.student) > 0
    assert gradient_size(model.predictor) > 0
    assert (gradient_size(model.identification) > 0) == (part == "pid")


def test_losses_are_those_of_the_slides(jets):
    """Everything again by hand; both aggregates are made by the teacher's aggregator."""
    model = build(lambda_particle=2.0, lambda_aggregated=3.0, lambda_pid=0.5)
    with torch.no_grad():  # student and teacher apart, so that their aggregators differ
        for p in model.student.trunk.cls_blocks.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    masks = draw(model, jets)
    hidden, target_jets = masks.targets[0], jets.select_particles(masks.targets[0])
    teacher, student = model.teacher, model.student
    predicted = model.predictor(student(jets.select_particles(masks.context)).cls, target_jets)
    truth = teacher(jets).tokens[hidden]
    expected = {"particle": smooth_l1_loss(predicted, truth)}
    by_teacher, by_student = (
        [network.aggregate(tokens, target_jets.offsets) for tokens in (predicted, truth)]
        for network in (teacher, student)
    )
    expected["aggregated"] = smooth_l1_loss(*by_teacher)
    logits = model.identification.heads["pid"](predicted)
    expected["pid"] = cross_entropy(logits, particle_types(target_jets))
    outputs = model(jets, masks)
    for name, value in expected.items():
        assert outputs.parts[name].item() == pytest.approx(value.item(), rel=1e-5)
    assert smooth_l1_loss(*by_student).item() != pytest.approx(expected["aggregated"].item(), rel=1e-2)
    total = 2 * expected["particle"] + 3 * expected["aggregated"] + 0.5 * expected["pid"]
    assert outputs.loss.item() == pytest.approx(total.item(), rel=1e-5)


def test_aggregating_all_particles_is_the_class_token(jets):
    torch.manual_seed(0)
    encoder = ParticleTransformer(SIZES["nano"], micro_batch=5).eval()
    with torch.no_grad():
        encoded = encoder(jets)
        torch.testing.assert_close(encoder.aggregate(encoded.tokens, encoded.offsets), encoded.cls)
        one = encoded.take(torch.tensor([7]))
        torch.testing.assert_close(encoder.aggregate(one.tokens, one.offsets), encoded.cls[[7]])


def test_context_passes_through_the_one_token_alone(jets):
    """Another context changes the prediction, but not once its aggregate is put back."""
    model = build().eval()
    masks = draw(model, jets)
    seen, tokens = [], []
    model.predictor.register_forward_hook(lambda _, args, out: seen.append((args, out)))
    with torch.no_grad():
        model(jets, masks)
        softer = jets.particles.clone()
        softer[masks.context, :4] *= 0.5
        model(jets.with_particles(softer), masks)
        (args, before), ((other, _), after) = seen
        assert len(args) == 2
        assert args[0].shape == (len(jets), TINY.width)  # a token per jet, and the targets
        assert torch.equal(args[1].particles, jets.select_particles(masks.targets[0]).particles)
        assert (other - args[0]).abs().max() > 1e-3
        assert (after - before).abs().max() > 1e-5
        model.predictor.trunk.register_forward_hook(lambda _, given, __: tokens.append(len(given[0])))
        assert torch.equal(model.predictor(args[0], args[1]), before)
    assert sum(tokens) == len(jets) + int(masks.targets.sum())


def test_student_sees_no_hidden_particle(jets):
    model = build().eval()
    masks = draw(model, jets)
    seen = []
    model.student.register_forward_hook(lambda _, args, __: seen.append(args[0]))
    model(jets, masks)
    assert len(seen) == 1
    assert torch.equal(seen[0].particles, jets.particles[masks.context])


def test_predictor_knows_the_places_of_its_targets_and_nothing_else():
    model = build().eval()
    targets = make_jets([5, 1, 9])
    tokens = torch.randn(3, TINY.width, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = model.predictor(tokens, targets)
        blind = torch.rand(targets.particles.shape, generator=torch.Generator().manual_seed(2))
        blind[:, PLACE] = targets.particles[:, PLACE]
        assert torch.equal(model.predictor(tokens, targets.with_particles(blind)), before)
        assert (before[0] - before[1]).abs().max() > 1e-4  # one jet, two places
        moved = targets.particles.clone()
        moved[0, PLACE] += 0.3
        after = model.predictor(tokens, targets.with_particles(moved))
        assert (after[0] - before[0]).abs().max() > 1e-4
        torch.testing.assert_close(after[5:], before[5:])  # jets do not see each other
        other = tokens.clone()
        other[1] += 1.0
        after = model.predictor(other, targets)
        assert (after[5] - before[5]).abs().max() > 1e-4
        torch.testing.assert_close(after[6:], before[6:])
        order = torch.tensor([2, 0, 1])
        shuffled = model.predictor(tokens[order], targets.take(order))
        torch.testing.assert_close(shuffled, torch.cat([before[6:], before[:6]]))
    with pytest.raises(JepalibError, match="2 aggregated tokens, 3 target jets"):
        model.predictor(tokens[:2], targets)


def test_unknown_types_are_left_out(jets):
    model = build()
    masks = draw(model, jets)
    columns = [PARTICLE_COLUMN[name] for name in PID_FIELDS]
    bare = jets.particles.clone()
    bare[:, columns] = 0
    assert (particle_types(jets.with_particles(bare)) == UNKNOWN_TYPE).all()
    outputs = model(jets.with_particles(bare), masks)
    assert outputs.parts["pid"] == 0
    assert outputs.figures["pid_accuracy"].isnan()
    outputs.loss.backward()
    assert gradient_size(model.student) > 0
    some = jets.particles.clone()
    some[::2, columns] = 0
    half = jets.with_particles(some)
    hidden = half.select_particles(masks.targets[0])
    known = particle_types(hidden) != UNKNOWN_TYPE
    context = model.student(half.select_particles(masks.context))
    logits = model.identification.heads["pid"](model.predictor(context.cls, hidden))
    expected = cross_entropy(logits[known], particle_types(hidden)[known])
    assert model(half, masks).parts["pid"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("counts", [[2] * 5, [2, 30], [128, 2, 128]], ids=str)
def test_awkward_batches_are_finite_and_train(counts):
    jets = make_jets(counts)
    model = build()
    masks = draw(model, jets)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], 3e-3)
    losses = []
    for _ in range(8):
        outputs = model(jets, masks)
        losses.append(outputs.loss.item())
        optimizer.zero_grad()
        outputs.loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        optimizer.step()
    assert losses[-1] < losses[0]


def test_the_teacher_follows_and_is_what_is_handed_on(jets):
    model = build(ema_start=0.5, ema_end=0.9)
    buffers = [b.clone() for b in model.teacher.buffers()]
    with torch.no_grad():
        for p in model.student.parameters():
            p.add_(1.0)
    before = [p.clone() for p in model.teacher.parameters()]
    model(jets, draw(model, jets))
    assert all(torch.equal(a, b) for a, b in zip(buffers, model.teacher.buffers(), strict=True))
    model.after_step(0.25)  # momentum 0.5 + 0.25 * 0.4
    pairs = zip(before, model.teacher.parameters(), model.student.parameters(), strict=True)
    assert all(torch.allclose(new, 0.6 * old + 0.4 * own.detach(), atol=1e-6) for old, new, own in pairs)
    assert model.encoder is model.teacher
    assert find_method("p-jepa").downstream == "teacher"


def test_sizes_of_the_slides():
    size = SIZES["p-jepa"]
    with torch.device("meta"):
        model = PJEPA("p-jepa")
    student, predictor = model.student, model.predictor
    assert student.width == 512
    assert [layer.out_features for layer in student.embed.layers if hasattr(layer, "out_features")] == [
        512
    ] * 3
    assert size.pair == (64, 64, 64)
    assert (len(student.trunk.blocks), len(student.trunk.cls_blocks)) == (16, 2)
    assert student.trunk.blocks[0].heads == 8
    assert (len(predictor.trunk.blocks), predictor.trunk.blocks[0].heads) == (4, 6)
    assert predictor.mask_token.shape == (192,)
    assert sum(p.numel() for p in predictor.parameters()) / 1e6 == pytest.approx(2.6, abs=0.05)
    assert len(PJEPA("nano").student.trunk.cls_blocks) == 1
    config = pretrain_config("p-jepa", "p-jepa")
    assert (config.objective, config.inputs) == (PJEPAConfig(), "full")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"targets": 2}, "targets = 2: P-JEPA hides one set"),
        ({"lambda_pid": -1}, "lambda_pid = -1.0"),
        ({"lambda_aggregated": "nan"}, "lambda_aggregated = nan"),
        ({"ema_end": 1.5}, "ema_end = 1.5"),
        ({"regulariser": "koleo"}, "unknown setting 'regulariser'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(JepalibError, match=message):
        pretrain_config("p-jepa", "nano", settings)


def test_pre_trains_and_adapts_as_any_other_method(store_path, tmp_path):
    quick = {"batch_size": 24, "steps": 4, "log_every": 2, "checkpoint_every": 2, "lr": 1e-3}
    run = pretrain(pretrain_config("p-jepa", "nano", quick), store_path, tmp_path / "run", quiet=True)
    metrics = run.metrics()
    assert {"loss_particle", "loss_aggregated", "loss_pid", "pid_accuracy", "rank_cls"} <= set(metrics)
    assert metrics.loss.notna().all()
    teacher, student = run.encoder().state_dict(), run.encoder("student").state_dict()
    handed_on = run.encoder("teacher").state_dict()
    assert all(torch.equal(teacher[name], value) for name, value in handed_on.items())
    assert any(not torch.equal(teacher[name], value) for name, value in student.items())
    settings = {
        "steps": 4, "checks": 2, "rates": (1e-3,), "encoder_scales": (1.0,), "val_jets": 20, "test_jets": 40,
    }  # fmt: skip
    out = tmp_path / "out"
    table = adapt(run.path, store_path, out, [60], ["frozen"], 1, ["mlp"], settings, 1, True)
    assert table.loc[0, "method"] == "p-jepa"
    assert 0 <= table.loc[0, "accuracy"] <= 1
