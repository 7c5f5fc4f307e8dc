"""The probes: what they regress is right, and no case makes them fail."""

import pytest
import torch
from made_jets import make_jets

from jepalib.kinematics import four_vectors, pair_features
from jepalib.methods.probes import PROBES, Probes, _pfpim, pairs_within_jets


def test_pairs_are_all_pairs_of_each_jet():
    offsets = torch.tensor([0, 3, 3, 4, 8])
    a, b = pairs_within_jets(offsets)
    expected = {(1, 0), (2, 0), (2, 1)} | {(i, j) for i in range(4, 8) for j in range(4, i)}
    assert set(zip(a.tolist(), b.tolist())) == expected
    assert len(a) == len(expected)


def test_pfpim_recombines_by_the_formulas():
    # A head that hands the true components through gives the true pair quantities.
    jets = make_jets([5], seed=4)
    p4 = four_vectors(jets).double()
    pt = p4[:, :2].norm(dim=1)
    y, phi = torch.atanh(p4[:, 2] / p4[:, 3]), torch.atan2(p4[:, 1], p4[:, 0])
    before_softplus = torch.log(torch.expm1(pt))
    components = torch.stack([y, phi, before_softplus, *p4.unbind(1)], dim=1)
    a, b = pairs_within_jets(jets.offsets)
    got = _pfpim(torch.nn.Identity(), components, a, b)
    assert torch.allclose(got, pair_features(p4[a], p4[b]), atol=1e-3)


@pytest.mark.parametrize("counts", [[1], [1, 1, 1], [2], [0, 3, 1]])
def test_all_probes_are_finite_on_few_particles(counts):
    jets = make_jets(counts)
    probes = Probes(16, PROBES)
    z = torch.randn(sum(counts), 16, generator=torch.Generator().manual_seed(0), requires_grad=True)
    losses, _ = probes(dict.fromkeys(PROBES, z), jets)
    sum(losses.values()).backward()
    assert set(losses) == set(PROBES)
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert torch.isfinite(z.grad).all()


def test_probes_learn_what_the_representation_holds():
    # Representations that are the inputs themselves: every probe's loss falls.
    jets = make_jets([20] * 16)
    inputs = torch.cat([jets.particles / jets.particles.std(0).clamp_min(1e-6), four_vectors(jets) / 30], 1)
    torch.manual_seed(0)
    probes = Probes(inputs.shape[1], PROBES)
    optimizer = torch.optim.Adam(probes.parameters(), 1e-2)
    history = []
    for _ in range(60):
        losses, figures = probes(dict.fromkeys(PROBES, inputs), jets)
        history.append({k: v.item() for k, v in losses.items()})
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert all(history[-1][name] < 0.8 * history[0][name] for name in PROBES)
    assert figures["pid_accuracy"] > 0.9


def test_pid_without_identification_gives_no_loss():
    jets = make_jets([4, 4])
    raw = jets.particles.clone()
    raw[:, 10:] = 0
    losses, figures = Probes(8, ("pid",))({"pid": torch.randn(8, 8)}, jets.with_particles(raw))
    assert losses["pid"].item() == 0
    assert torch.isnan(figures["pid_accuracy"])
