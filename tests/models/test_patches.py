"""Patches: the definition word by word, equal forms, and jets of every size."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.kinematics import wrap_phi
from jepalib.models.patches import (
    PatchConfig,
    Patches,
    batched_patches,
    make_patches,
    seen_of_targets,
    uncovered,
)

counts_strategy = st.lists(st.integers(0, 128), min_size=1, max_size=6)
configs = st.builds(PatchConfig, st.floats(0.01, 1.0), st.integers(1, 12), st.integers(1, 40))
NAMES = ("centres", "offsets", "members", "member_offsets")


def cut(jets, config: PatchConfig | None = None) -> Patches:
    return make_patches(jets.column("deta"), jets.column("dphi"), jets.offsets, config or PatchConfig())


def points(*places: tuple[float, float], config: PatchConfig) -> Patches:
    """Patches of one jet of the given (Δη, Δφ)."""
    deta, dphi = torch.tensor(places).reshape(-1, 2).unbind(1)
    return make_patches(deta, dphi, torch.tensor([0, len(places)]), config)


def groups(patches: Patches) -> list[list[int]]:
    edges = patches.member_offsets.tolist()
    return [patches.members[a:b].tolist() for a, b in itertools.pairwise(edges)]


def assert_equal(first: Patches, second: Patches) -> None:
    for name in NAMES:
        assert torch.equal(getattr(first, name), getattr(second, name)), name


def reference(deta: torch.Tensor, dphi: torch.Tensor, config: PatchConfig) -> list[list[int]]:
    """The definition for one jet: its groups, each with its centre first."""
    n = len(deta)
    if n == 0:
        return []
    a, b = deta[:, None] - deta, (dphi[:, None] - dphi).abs()
    b = torch.minimum(b, torch.tensor(2 * math.pi) - b)
    apart = a * a + b * b
    radius = deta * deta + dphi * dphi
    chosen = [min(range(n), key=lambda i: (float(radius[i]), i))]
    while len(chosen) < min(n, max(config.least, math.floor(config.fraction * n + 0.5))):
        left = [i for i in range(n) if i not in chosen]
        chosen.append(min(left, key=lambda i: (-min(float(apart[i, c]) for c in chosen), i)))
    found = []
    for centre in chosen:
        others = sorted((i for i in range(n) if i != centre), key=lambda i: (float(apart[centre, i]), i))
        found.append([centre, *others[: config.neighbours - 1]])
    return found


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=4), configs, st.sampled_from([None, 0.1, 0.5]))
def test_patches_are_those_of_the_definition(counts, config, grid):
    """Also on a coarse grid, where many distances are equal and particles coincide."""
    jets = make_jets(counts)
    deta, dphi = jets.column("deta"), wrap_phi(6 * jets.column("dphi"))
    if grid:
        deta, dphi = (deta / grid).round() * grid, wrap_phi((dphi / grid).round() * grid)
    patches = make_patches(deta, dphi, jets.offsets, config)
    found, edges = groups(patches), patches.offsets.tolist()
    assert [group[0] for group in found] == patches.centres.tolist()
    for jet, (first, last) in enumerate(zip(jets.offsets[:-1].tolist(), jets.offsets[1:].tolist())):
        expected = reference(deta[first:last], dphi[first:last], config)
        mine = found[edges[jet] : edges[jet + 1]]
        assert [[i - first for i in group] for group in mine] == expected


@settings(deadline=None, max_examples=60)
@given(counts_strategy, configs, st.integers(0, 1000), st.sampled_from([None, 0.1, 0.5, 3.0]))
def test_torch_form_equals_numba(counts, config, seed, grid):
    jets = make_jets(counts, seed)
    deta, dphi = jets.column("deta"), jets.column("dphi")
    if grid:
        deta, dphi = (deta / grid).round() * grid, wrap_phi((dphi * 20 / grid).round() * grid)
    expected = make_patches(deta, dphi, jets.offsets, config)
    assert_equal(batched_patches(deta, dphi, jets.offsets, config), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_patches_on_a_gpu_equal_those_on_the_cpu():
    generator = torch.Generator().manual_seed(3)
    jets = make_jets(torch.randint(0, 129, (500,), generator=generator).tolist())
    coarse = jets.particles.clone()
    coarse[::2, 4:6] = (coarse[::2, 4:6] * 10).round() / 10
    jets = jets.with_particles(coarse)
    assert_equal(cut(jets.to("cuda")).to("cpu"), cut(jets))


@settings(deadline=None, max_examples=40)
@given(counts_strategy, configs, st.integers(0, 1000))
def test_order_of_the_particles_does_not_matter(counts, config, seed):
    """The same tokens, as sets of particles, and in the same order of sampling."""
    jets = make_jets(counts, seed)
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.argsort(
        jets.jet_of_particle + 0.9 * torch.rand(len(jets.particles), generator=generator)
    )
    other = cut(jets.with_particles(jets.particles[shuffled]), config)
    patches = cut(jets, config)
    assert torch.equal(shuffled[other.centres], patches.centres)
    assert torch.equal(shuffled[other.members], patches.members)
    assert torch.equal(other.offsets, patches.offsets)


def test_a_rotation_of_the_jet_does_not_matter(jets):
    angle = 0.7
    turned = jets.particles.clone()
    deta, dphi = jets.particles[:, 4], jets.particles[:, 5]
    turned[:, 4] = math.cos(angle) * deta - math.sin(angle) * dphi
    turned[:, 5] = math.sin(angle) * deta + math.cos(angle) * dphi
    assert_equal(cut(jets.with_particles(turned)), cut(jets))


@settings(deadline=None, max_examples=30)
@given(counts_strategy, configs)
def test_a_jet_alone_has_the_patches_that_it_has_in_a_batch(counts, config):
    """Neither other jets nor padding have any part in it; in both forms."""
    jets = make_jets(counts)
    batch = cut(jets, config)
    for row in range(len(jets)):
        alone = cut(jets.take([row]), config)
        assert_equal(batch.take(jets.offsets, [row]), alone)
        one = jets.take([row, row])
        twice = batched_patches(one.column("deta"), one.column("dphi"), one.offsets, config)
        assert_equal(twice.take(one.offsets, [1]), alone)
    rows = list(range(len(counts)))[::-1]
    assert_equal(batch.take(jets.offsets, rows), cut(jets.take(rows), config))


def test_numbers_of_centres_and_neighbours():
    """n/4 rounded with halves up, at least 4, never more than there are; likewise neighbours."""
    counts = [0, 1, 2, 3, 5, 16, 17, 18, 19, 40, 128]
    jets = make_jets(counts)
    patches = cut(jets)
    assert patches.counts.tolist() == [0, 1, 2, 3, 4, 4, 4, 5, 5, 10, 32]
    sizes = patches.member_offsets.diff()
    assert torch.equal(sizes, jets.counts.clamp(max=8)[patches.jet_of_patch])
    assert torch.equal(jets.jet_of_particle[patches.centres], patches.jet_of_patch)
    of_members = patches.jet_of_patch[patches.patch_of_member]
    assert torch.equal(jets.jet_of_particle[patches.members], of_members)


def test_jets_of_one_and_two_particles_and_none():
    config = PatchConfig()
    assert groups(points((0.1, 0.2), config=config)) == [[0]]
    assert groups(points((0.3, 0.2), (0.1, 0.0), config=config)) == [[1, 0], [0, 1]]
    for make in (make_patches, batched_patches):
        for offsets in (torch.tensor([0]), torch.tensor([0, 0, 0])):
            nothing = make(torch.zeros(0), torch.zeros(0), offsets, config)
            assert len(nothing) == 0
            assert torch.equal(nothing.offsets, offsets)
            assert nothing.member_offsets.tolist() == [0]


def test_more_centres_and_neighbours_than_particles():
    jets = make_jets([3, 7])
    patches = cut(jets, PatchConfig(1.0, 50, 10**9))
    assert patches.counts.tolist() == [3, 7]
    assert patches.member_offsets.diff().tolist() == [3] * 3 + [7] * 7
    assert sorted(patches.centres.tolist()) == list(range(10))


def test_phi_wraps():
    """From 3.1 the particle at -3.1 is 0.083 away, that at 2.9 is 0.2 away."""
    places = ((0.0, 3.1), (0.0, 2.9), (0.0, -3.1), (0.0, -2.0))
    found = groups(points(*places, config=PatchConfig(1.0, 1, 2)))
    assert [0, 2] in found
    assert [2, 0] in found
    assert found[:2] == [[3, 2], [1, 0]]  # 2.9 is 1.38 from -2, and farther than the others
    around = tuple((eta, phi + 2 * math.pi) for eta, phi in places)
    assert groups(points(*around, config=PatchConfig(1.0, 1, 2))) == found


def test_coincident_particles_are_each_a_centre_once():
    patches = points(*[(0.1, 0.1)] * 6, config=PatchConfig(1.0, 1, 3))
    assert patches.centres.tolist() == [0, 1, 2, 3, 4, 5]
    assert groups(patches)[4] == [4, 0, 1]


def test_uncovered_particles_are_those_in_no_group():
    """A centre of 4 near the axis takes two neighbours; one far particle is the second centre."""
    places = ((0.0, 0.0), (0.1, 0.0), (0.0, 0.15), (0.3, 0.0), (-2.0, 0.0))
    patches = points(*places, config=PatchConfig(0.4, 1, 2))
    assert groups(patches) == [[0, 1], [4, 0]]
    assert uncovered(patches, 5).tolist() == [False, False, True, True, False]
    jets = make_jets([40] * 50)
    assert not uncovered(cut(jets, PatchConfig(1.0)), 2000).any()
    share = uncovered(cut(jets), 2000).float().mean()
    assert 0 < share < 0.1
    assert uncovered(cut(jets, PatchConfig(neighbours=4)), 2000).float().mean() > share


def test_gradients_and_other_floats_are_no_matter(jets):
    places = jets.particles[:, 4:6].double().requires_grad_()
    patches = make_patches(places[:, 0], places[:, 1], jets.offsets, PatchConfig())
    assert_equal(patches, cut(jets))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1e7])
def test_bad_coordinates_are_named(bad):
    with pytest.raises(JepalibError, match=r"make_patches: .*deta"):
        points((0.0, 0.0), (bad, 0.0), config=PatchConfig())
    with pytest.raises(JepalibError, match=r"make_patches: .*dphi"):
        points((0.0, 0.0), (0.0, bad), config=PatchConfig())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fraction", 0.0),
        ("fraction", 1.5),
        ("fraction", math.nan),
        ("least", 0),
        ("neighbours", 0),
    ],
)
def test_a_bad_parameter_is_named(name, value):
    with pytest.raises(JepalibError, match=name):
        PatchConfig(**{name: value})


def test_shared_particles_of_targets_are_counted():
    """Six particles on a line, three patches of three: the middle one shares with both."""
    members = torch.tensor([0, 1, 2, 2, 1, 3, 3, 4, 5])
    patches = Patches(torch.tensor([0, 2, 3]), torch.tensor([0, 3]), members, torch.tensor([0, 3, 6, 9]))
    context, target = torch.tensor([True, False, False]), torch.tensor([False, True, False])
    assert seen_of_targets(patches, context, target, 6) == pytest.approx(2 / 3)
    assert seen_of_targets(patches, context, torch.tensor([False, False, True]), 6) == 0
