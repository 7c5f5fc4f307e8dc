"""Sequencer and masks: what must hold for every jet, and what the papers ask."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets
from safetensors.torch import save_file

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import wrap_phi
from jepalib.masking import MaskConfig, Masks, draw_masks, draw_token_masks, greedy_order
from jepalib.masking.sequence import batched_order

counts_strategy = st.lists(st.integers(2, 128), min_size=1, max_size=8)
ratios = st.tuples(st.floats(0.01, 1.0), st.floats(0.01, 1.0)).map(lambda r: (min(r), max(r)))
kinds = st.sampled_from(["contiguous", "random"])
configs = st.builds(MaskConfig, st.integers(1, 5), ratios, st.none() | ratios, kinds, kinds)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def per_jet(jets: Jets, masks: Masks):
    """(order within the jet, context and targets along the sequence) of each jet."""
    for first, last in zip(jets.offsets[:-1].tolist(), jets.offsets[1:].tolist()):
        order = masks.order[first:last]
        yield order - first, masks.context[order], masks.targets[:, order]


def is_run(selected: torch.Tensor) -> bool:
    places = selected.nonzero()[:, 0]
    return bool((places.diff() == 1).all())


def reference_order(deta: torch.Tensor, dphi: torch.Tensor) -> list[int]:
    """The definition, word by word, for one jet."""
    left = list(range(len(deta)))
    order = [min(left, key=lambda i: (float(deta[i] + dphi[i]), i))]
    left.remove(order[0])
    while left:
        here = order[-1]
        a, b = deta - deta[here], wrap_phi(dphi - dphi[here])
        order.append(min(left, key=lambda i: (float(a[i] ** 2 + b[i] ** 2), i)))
        left.remove(order[-1])
    return order


@pytest.mark.parametrize("seed", range(4))
def test_greedy_order_is_the_nearest_neighbour_walk(seed):
    jets = make_jets([1, 2, 30, 128], seed)
    order = greedy_order(jets.column("deta"), jets.column("dphi"), jets.offsets)
    for i, (first, last) in enumerate(zip(jets.offsets[:-1], jets.offsets[1:])):
        one = jets.take([i])
        assert (order[first:last] - first).tolist() == reference_order(one.column("deta"), one.column("dphi"))


def test_greedy_order_wraps_phi_and_breaks_ties_by_row():
    # From -3.1 the particle at +3.1 is 0.083 away, the one at -2.9 is 0.2 away.
    order = greedy_order(torch.zeros(3), torch.tensor([-2.9, 3.1, -3.1]), torch.tensor([0, 3]))
    assert order.tolist() == [2, 1, 0]
    square = torch.tensor([[1.0, 1.0], [0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    order = greedy_order(square[:, 0], square[:, 1], torch.tensor([0, 5]))
    assert order.tolist() == [1, 4, 2, 0, 3]
    outside = greedy_order(
        torch.zeros(3), torch.tensor([-2.9, 3.1, -3.1]) + 2 * math.pi, torch.tensor([0, 3])
    )
    assert outside.tolist() == [2, 1, 0]


@settings(deadline=None, max_examples=40)
@given(counts_strategy, st.integers(0, 1000), st.sampled_from([None, 0.1, 0.5, 3.0]))
def test_torch_form_equals_numba(counts, seed, grid):
    """Also on a coarse grid, where many distances are equal, and far around in phi."""
    jets = make_jets(counts, seed)
    deta, dphi = jets.column("deta"), jets.column("dphi")
    if grid:
        deta, dphi = (deta / grid).round() * grid, wrap_phi((dphi * 20 / grid).round() * grid)
    expected = greedy_order(deta, dphi, jets.offsets)
    assert torch.equal(batched_order(deta, dphi, jets.offsets), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
@pytest.mark.parametrize("kind", ["contiguous", "random"])
def test_masks_on_a_gpu_equal_those_on_the_cpu(kind):
    generator = torch.Generator().manual_seed(3)
    jets = make_jets(torch.randint(2, 129, (500,), generator=generator).tolist())
    coarse = jets.particles.clone()
    coarse[::2, 4:6] = (coarse[::2, 4:6] * 10).round() / 10
    jets = jets.with_particles(coarse)
    config = MaskConfig(3, target_kind=kind, context_kind=kind)
    cpu, gpu = (draw_masks(jets.to(d), config, seeded()).to("cpu") for d in ("cpu", "cuda"))
    assert torch.equal(cpu.order, gpu.order)
    assert torch.equal(cpu.context, gpu.context)
    assert torch.equal(cpu.targets, gpu.targets)


@settings(deadline=None, max_examples=150)
@given(counts_strategy, configs, st.integers(0, 2**31))
def test_masks_hold_what_they_promise(counts, config, seed):
    jets = make_jets(counts)
    masks = draw_masks(jets, config, seeded(seed))
    assert masks.targets.shape == (config.targets, sum(counts))
    assert not (masks.context & masks.targets.any(0)).any()
    for order, context, targets in per_jet(jets, masks):
        n = len(order)
        assert sorted(order.tolist()) == list(range(n))
        assert context.any()
        lengths = targets.sum(1)
        low, high = (r * n for r in config.target_ratio)
        assert (lengths >= max(1, min(math.floor(low), n - 1))).all()
        assert (lengths <= max(1, min(math.ceil(high), n - 1))).all()
        if config.target_kind == "contiguous":
            assert all(is_run(target) for target in targets)
        if config.context_ratio is None:
            assert torch.equal(context, ~targets.any(0))
        else:
            assert context.sum() <= max(1, math.ceil(config.context_ratio[1] * n))


@settings(deadline=None, max_examples=40)
@given(counts_strategy, configs, st.integers(0, 2**31))
def test_same_generator_same_masks_and_each_jet_has_its_own_order(counts, config, seed):
    jets = make_jets(counts)
    first, again = (draw_masks(jets, config, seeded(seed)) for _ in range(2))
    assert torch.equal(first.context, again.context)
    assert torch.equal(first.targets, again.targets)
    rows = list(range(len(counts)))[::-1]
    reversed_order = draw_masks(jets.take(rows), config, seeded(seed)).order
    assert torch.equal(reversed_order, first.take(jets.offsets, rows).order)


def test_masks_depend_on_the_generator_alone(jets):
    torch.manual_seed(1)
    first = draw_masks(jets, MaskConfig(), seeded())
    torch.manual_seed(2)
    state = torch.random.get_rng_state()
    second = draw_masks(jets, MaskConfig(), seeded())
    assert torch.equal(first.context, second.context)
    assert torch.equal(state, torch.random.get_rng_state())
    assert not torch.equal(draw_masks(jets, MaskConfig(), seeded(1)).context, first.context)


@pytest.mark.parametrize("kind", ["contiguous", "random"])
def test_fractions_are_as_asked(kind):
    """Mean ratio within 4 standard errors, ends of the range reached, ratios drawn per jet."""
    n, number = 100, 2000
    jets = make_jets([n] * number)
    config = MaskConfig(2, (0.15, 0.35), (0.4, 0.7), kind, kind)
    masks = draw_masks(jets, config, seeded())
    ratio = masks.targets.reshape(2, number, n).sum(2) / n
    sigma = (0.35 - 0.15) / math.sqrt(12 * 2 * number)
    assert abs(ratio.mean() - 0.25) < 4 * sigma
    assert ratio.min() == 0.15
    assert ratio.max() == 0.35
    free = ~masks.targets.any(0).reshape(number, n)
    if kind == "random":  # the context block is independent of the targets
        share = masks.context.reshape(number, n).sum(1) / free.sum(1)
        assert abs(share.mean() - 0.55) < 0.01


def test_contiguous_contexts_are_their_own_block_less_the_targets():
    """The context block is drawn apart from the target: how much of it is left has a known mean.

    Of n places a block of c begins uniformly among n - c + 1, a target of t likewise; the
    mean number of places in the first and not in the second is counted over all pairs.
    """
    n, c, t, number = 20, 10, 6, 20_000
    jets = make_jets([n] * 200).take([i % 200 for i in range(number)])
    config = MaskConfig(1, (t / n, t / n), (c / n, c / n))
    masks = draw_masks(jets, config, seeded())
    left = masks.context.reshape(number, n).sum(1)
    pairs = [c - max(0, min(a + c, b + t) - max(a, b)) for a in range(n - c + 1) for b in range(n - t + 1)]
    expected = torch.tensor(pairs, dtype=torch.float64)
    assert abs(left.double().mean() - expected.mean()) < 4 * expected.std() / math.sqrt(number)
    found = left.bincount(minlength=c + 1) / number
    wanted = torch.tensor(pairs).bincount(minlength=c + 1) / len(pairs)
    assert (found - wanted).abs().max() < 4 * math.sqrt(0.25 / number)


def test_blocks_begin_anywhere_with_equal_probability():
    n, number = 20, 20_000
    jets = make_jets([n] * 200).take([i % 200 for i in range(number)])
    masks = draw_masks(jets, MaskConfig(1, (0.25, 0.25)), seeded())
    along = masks.targets[0, masks.order].reshape(number, n)
    starts = along.int().argmax(1).bincount(minlength=n)
    assert starts[16:].sum() == 0
    expected = number / 16
    chi2 = ((starts[:16] - expected) ** 2 / expected).sum()
    assert chi2 < 37.7  # 99.9 % of 15 degrees of freedom
    random = draw_masks(jets, MaskConfig(1, (0.25, 0.25), None, "random"), seeded())
    share = random.targets[0, random.order].reshape(number, n).float().mean(0)
    assert (share - 0.25).abs().max() < 4 * math.sqrt(0.25 * 0.75 / number)


def test_repairs_of_small_jets():
    """Two particles, many targets: all targets agree, and the other particle is the context."""
    jets = make_jets([2] * 300)
    masks = draw_masks(jets, MaskConfig(4, (0.5, 1.0), (0.1, 0.2)), seeded())
    assert (masks.targets == masks.targets[0]).all()
    assert torch.equal(masks.context, ~masks.targets[0])
    # One-particle contexts of three: what targets covered is replaced by either free one.
    jets = make_jets([3] * 3000)
    masks = draw_masks(jets, MaskConfig(1, (0.3, 0.4), (0.3, 0.4), "random", "random"), seeded())
    along = masks.context[masks.order].reshape(-1, 3)
    assert (along.sum(1) == 1).all()
    assert (along.float().mean(0) - 1 / 3).abs().max() < 4 * math.sqrt(2 / 9 / 3000)


def test_save_load_and_take(tmp_path, jets):
    masks = draw_masks(jets, MaskConfig(2), seeded())
    masks.save(tmp_path / "masks.safetensors")
    loaded = Masks.load(tmp_path / "masks.safetensors")
    for name in ("order", "context", "targets"):
        assert torch.equal(getattr(loaded, name), getattr(masks, name))
    chosen = masks.take(jets.offsets, [3, 0])
    few = jets.take([3, 0])
    assert torch.equal(chosen.order, greedy_order(few.column("deta"), few.column("dphi"), few.offsets))
    assert torch.equal(chosen.context[: few.counts[0]], masks.context[jets.offsets[3] : jets.offsets[4]])


def test_load_names_the_file(tmp_path):
    with pytest.raises(JepalibError, match="nothing"):
        Masks.load(tmp_path / "nothing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no masks")
    with pytest.raises(JepalibError, match="broken"):
        Masks.load(tmp_path / "broken.safetensors")
    good = {
        "order": torch.arange(4),
        "context": torch.zeros(4, dtype=torch.bool),
        "targets": torch.zeros(2, 4, dtype=torch.bool),
    }
    path = tmp_path / "changed.safetensors"
    save_file(good, path)
    assert len(Masks.load(path).targets) == 2
    changes = {
        "order": [torch.zeros(4), torch.zeros(2, 2, dtype=torch.long), torch.tensor(3)],
        "context": [torch.zeros(5, dtype=torch.bool), torch.zeros(4)],
        "targets": [
            torch.zeros(4, dtype=torch.bool),
            torch.zeros(2, 5, dtype=torch.bool),
            torch.tensor(True),
        ],
    }
    for name, values in changes.items():
        for value in values:
            save_file(good | {name: value}, path)
            with pytest.raises(JepalibError, match=r"changed\.safetensors: "):
                Masks.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("targets", 0),
        ("target_ratio", (0.0, 0.2)),
        ("target_ratio", (0.3, 0.2)),
        ("target_ratio", (float("nan"), 0.2)),
        ("context_ratio", (0.5, 1.1)),
        ("target_kind", "block"),
        ("context_kind", "Random"),
    ],
)
def test_a_bad_parameter_is_named(name, value):
    with pytest.raises(JepalibError, match=name):
        MaskConfig(**{name: value})


def test_jets_that_cannot_be_masked_are_counted():
    with pytest.raises(JepalibError, match="2 of 3 jets"):
        draw_masks(make_jets([1, 5, 1]), MaskConfig(), seeded())
    with pytest.raises(JepalibError, match="deta"):
        greedy_order(torch.tensor([0.0, math.nan]), torch.zeros(2), torch.tensor([0, 2]))


def test_masks_over_tokens_depend_on_their_places_through_the_order_alone(jets):
    """Other points, as many per jet: their own walk, and along it the same blocks."""
    config, offsets = MaskConfig(2), jets.offsets
    of_particles = draw_masks(jets, config, seeded())
    deta, dphi = -3 * jets.column("deta"), jets.column("deta") + jets.column("dphi")
    masks = draw_token_masks(deta, dphi, offsets, config, seeded())
    assert torch.equal(masks.order, greedy_order(deta, dphi, offsets))
    assert not torch.equal(masks.order, of_particles.order)
    assert torch.equal(masks.context[masks.order], of_particles.context[of_particles.order])
    assert torch.equal(masks.targets[:, masks.order], of_particles.targets[:, of_particles.order])
    with pytest.raises(JepalibError, match="1 of 2 jets"):
        draw_token_masks(deta[:4], dphi[:4], torch.tensor([0, 1, 4]), config, seeded())


def test_no_jets_give_no_masks():
    masks = draw_masks(make_jets([5]).take([]), MaskConfig(2), seeded())
    assert masks.order.shape == (0,)
    assert masks.targets.shape == (2, 0)
