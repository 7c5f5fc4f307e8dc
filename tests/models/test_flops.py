"""Operations counted while networks run: against torch's own counter, and against hand-made sums."""

from __future__ import annotations

import pytest
import torch
from made_jets import make_jets
from torch.utils.flop_counter import FlopCounterMode

from jepalib.jets import Jets
from jepalib.methods.registry import METHODS
from jepalib.models import linear
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.flops import KINDS, counting, encoder_flops, step_flops
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import SIZES, Size
from jepalib.schema import INPUT_SETS
from jepalib.training.presets import pretrain_config

SIZE = Size(16, (16, 32, 16), 2, 3, 2, (8, 4), 16, 2, 1, 1)


@pytest.fixture
def plain_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linear layers as torch has them, which its counter knows."""
    monkeypatch.setattr(linear, "_ONEDNN", False)


@pytest.mark.usefixtures("plain_products")
def test_agrees_with_torch_forward_and_backward() -> None:
    """Dropout has attention done by torch; jets of one length need no padding there."""
    jets = make_jets([9] * 5)
    network = ParticleTransformer(SIZE, dropout=1e-9)
    network.trunk.train()
    network.pair_embed.eval()  # no sample of pairs for the statistics of a batch
    network.requires_grad_(False)
    with counting(network) as forward, FlopCounterMode(display=False) as theirs:
        network(jets)
    assert sum(forward.values()) == theirs.get_total_flops()
    network.requires_grad_(True)
    with counting(network) as both, FlopCounterMode(display=False) as theirs:
        encoded = network(jets)
        (encoded.tokens.square().sum() + encoded.cls.square().sum()).backward()
    assert {kind: both[kind] / forward[kind] for kind in KINDS} == dict.fromkeys(KINDS, 3.0)
    made_again = forward["pairs"]  # the network of pairs runs once more in the backward pass
    assert sum(both.values()) == theirs.get_total_flops() - made_again


@pytest.mark.usefixtures("plain_products")
def test_a_frozen_aggregator_passes_gradient_to_its_tokens_alone() -> None:
    """As in P-JEPA: products towards the tokens are counted, those towards the weights are not."""
    jets = make_jets([6] * 3)
    network = ParticleTransformer(SIZE).eval().requires_grad_(False)
    tokens = torch.randn(18, SIZE.width, requires_grad=True)
    with counting(network) as ours, FlopCounterMode(display=False) as theirs:
        network.aggregate(tokens, jets.offsets).sum().backward()
    assert sum(ours.values()) == theirs.get_total_flops()


@pytest.mark.parametrize("counts", [[7], [2, 11, 5]])
def test_a_particle_transformer_by_hand(counts: list[int]) -> None:
    """The sum of the formulas, with the true numbers of particles of jets of several lengths."""
    w, heads = SIZE.width, SIZE.heads
    particles, squares = sum(counts), sum(n * n for n in counts)
    pairs = (squares + particles) // 2
    jets = len(counts)
    embedding = INPUT_SETS["full"] * 16 + 16 * 32 + 32 * 16
    linear_layers = particles * (embedding + SIZE.blocks * 12 * w * w)  # qkv 3, out 1, feed-forward 8
    linear_layers += jets * SIZE.cls_blocks * 9 * w * w  # out 1, feed-forward 8
    class_attention = SIZE.cls_blocks * (jets * 3 * w * w + 2 * heads * (particles + jets) * w)
    by_hand = {
        "linear": 2 * linear_layers,
        "attention": SIZE.blocks * 4 * squares * w,
        "class attention": 2 * class_attention,
        "pairs": 2 * pairs * (4 * 8 + 8 * 4 + 4 * heads),
    }
    found = encoder_flops(ParticleTransformer(SIZE).eval(), make_jets(counts))
    assert found == pytest.approx({kind: count / jets for kind, count in by_hand.items()})


def test_cutting_and_company_change_nothing() -> None:
    """Neither micro-batches nor jets of other lengths beside it change what a jet costs."""
    counts = [3, 30, 4, 17, 60]
    whole = encoder_flops(ParticleTransformer(SIZE, micro_batch=32).eval(), make_jets(counts))
    network = ParticleTransformer(SIZE, micro_batch=2).eval()
    alone = [encoder_flops(network, make_jets([n])) for n in counts]
    for kind in KINDS:
        assert whole[kind] == pytest.approx(sum(one[kind] for one in alone) / len(counts))


def step(name: str, jets: Jets) -> tuple[dict[str, float], torch.nn.Module]:
    config = pretrain_config(name, "femto")
    method = METHODS[name].module("femto", config.objective, config.inputs, 8)
    return step_flops(method, jets, torch.Generator().manual_seed(0)), method


@pytest.mark.parametrize("name", METHODS)
def test_a_step_of_every_method_costs_what_its_parts_do(name: str) -> None:
    """More than the student on half a jet, and less than three times student and teacher on all of it."""
    jets = make_jets([40, 25, 60, 33])
    found, method = step(name, jets)
    whole = sum(encoder_flops(method.student.eval(), jets).values())
    assert set(found) == set(KINDS)
    assert 0.5 * whole < sum(found.values()) < 7 * whole
    assert min(found["attention"], found["pairs"]) > 0


def test_a_teacher_costs_one_pass_and_probes_nothing() -> None:
    jets = make_jets([40, 25, 60, 33])
    config = pretrain_config("jp-jepa", "femto")
    method = METHODS["jp-jepa"].module("femto", config.objective, "full", 8)
    masks = method.draw(jets, torch.Generator().manual_seed(0))
    parts = {}
    for part in ("teacher", "student", "predictor", "probes"):
        with counting(getattr(method, part)) as counts:
            method(jets, masks, torch.Generator().manual_seed(1))
        parts[part] = sum(counts.values())
    context = jets.select_particles(masks.context)
    assert parts["teacher"] == pytest.approx(len(jets) * sum(encoder_flops(method.teacher, jets).values()))
    # the predictor shares the student's network of pairs, and is counted with it
    alone = 3 * len(jets) * sum(encoder_flops(method.student.eval(), context).values())
    assert parts["student"] > alone
    assert parts["probes"] > 0
    with counting(method) as counts:
        method(jets, masks, torch.Generator().manual_seed(1))
    assert sum(counts.values()) == parts["teacher"] + parts["student"] + parts["predictor"]


def test_hooks_are_gone_afterwards() -> None:
    network = build_encoder(EncoderConfig("patches", "femto")).eval()
    jets = make_jets([12, 20])
    with torch.no_grad(), counting(network) as counts:
        network(jets)
    before = dict(counts)
    with torch.no_grad():
        network(jets)
    assert dict(counts) == before
    assert not any(module._forward_hooks for module in network.modules())


def test_larger_sizes_cost_more() -> None:
    jets = make_jets([30, 50])
    costs = []
    for name in ("atto", "femto", "pico", "nano", "mini"):
        costs.append(sum(encoder_flops(ParticleTransformer(SIZES[name]).eval(), jets).values()))
    assert costs == sorted(costs)
    assert costs[-1] > 100 * costs[0]
