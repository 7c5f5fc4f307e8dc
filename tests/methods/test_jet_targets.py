"""Jet-level targets: numbers that mean what they say, learnt from a part of the jet."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from made_jets import make_jets

from jepalib.cones import find_cones
from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.masking import MaskConfig
from jepalib.methods.jet_targets import JetTargetHead, JetTargets, JetTargetsConfig
from jepalib.schema import PARTICLE_COLUMN
from jepalib.summary import NUMBERS, jet_summary


def number(jets, name):
    return jet_summary(jets)[:, NUMBERS.index(name)]


def test_numbers_of_a_jet_written_by_hand(jets):
    jet = jets.take([0])  # two particles
    particles = torch.zeros(2, 16)
    for row, (px, d0) in enumerate(((30.0, 0.4), (10.0, 0.0))):
        particles[row, :4] = torch.tensor([px, 0.0, 0.0, px])
        particles[row, PARTICLE_COLUMN["d0val"]] = d0
    particles[:, PARTICLE_COLUMN["d0err"]] = 0.1
    particles[:, PARTICLE_COLUMN["deta"]] = torch.tensor([0.0, 0.3])
    particles[:, PARTICLE_COLUMN["charge"]] = torch.tensor([1.0, -1.0])
    particles[0, PARTICLE_COLUMN["isMuon"]] = 1
    particles[1, PARTICLE_COLUMN["isChargedHadron"]] = 1
    jet = jet.with_particles(particles)
    wanted = {
        "log_pt": math.log(40),
        "log_mass": 0.0,  # collinear
        "girth": 0.25 * 0.3,
        "pt_dispersion": math.sqrt(0.75**2 + 0.25**2),
        "z_within_0.2": 0.75,
        "log_multiplicity": math.log(3),
        "charge": math.sqrt(0.75) - math.sqrt(0.25),
        "n_isMuon": math.log(2), "z_isMuon": 0.75, "n_isPhoton": 0.0,
        "n_d0_2": math.log(2), "z_d0_2": 0.75, "n_d0_5": 0.0, "n_dz_2": 0.0,
        "log_mean_d0": math.log(0.4 * 0.75 + 1e-4),
        "z_hardest_2": 0.25, "r_hardest_2": 0.3, "z_hardest_3": 0.0,
    }  # fmt: skip
    for name, value in wanted.items():
        assert float(number(jet, name)) == pytest.approx(value, abs=1e-6), name


def test_subjets_and_correlations_written_by_hand(jets):
    """Two prongs half a radian apart, of two and of one constituent, and a soft one in between."""
    jet = jets.take([0])
    particles = torch.zeros(4, 16)
    for row, (pt, place) in enumerate(((60.0, 0.25), (30.0, -0.26), (8.0, 0.30), (2.0, 0.0))):
        particles[row, :4] = torch.tensor([pt * math.cos(place), pt * math.sin(place), 0.0, pt])
        particles[row, PARTICLE_COLUMN["dphi"]] = place
    particles[1, PARTICLE_COLUMN["isElectron"]] = 1
    jet = replace(jet, particles=particles, offsets=torch.tensor([0, 4]))
    cones = find_cones(jet, 3)
    assert cones.member.tolist() == [0, 1, 0, 2]
    centre = (60 * 0.25 + 8 * 0.30) / 68
    assert cones.axes[0, :, 1].tolist() == pytest.approx([centre, -0.26, 0.0])
    masses = [math.sqrt(2 * 60 * 8 * (1 - math.cos(0.05))), math.sqrt(2 * 60 * 30 * (1 - math.cos(0.51)))]
    both = math.sqrt(masses[0] ** 2 + masses[1] ** 2 + 2 * 8 * 30 * (1 - math.cos(0.56)))
    wanted = {
        "z_subjet_1": 0.68, "z_subjet_2": 0.30, "z_subjet_3": 0.02, "z_subjet_4": 0.0,
        "r_subjet_1": centre, "log_multiplicity_subjet_1": math.log(3), "z_lepton_subjet_2": 0.30,
        "log_mass_subjet_1": math.log1p(masses[0]), "log_mass_subjets_12": math.log1p(both),
        "log_mass_subjets_14": 0.0,
        "correlation_3": 2 * 0.6 * 0.08,  # 0.04 to 0.06
        "correlation_11": 2 * 0.3 * (0.6 + 0.08), "correlation_13": 0.0,  # 0.51 and 0.56
    }  # fmt: skip
    for name, value in wanted.items():
        assert float(number(jet, name)) == pytest.approx(value, abs=1e-4), name


def test_cones_hold_what_is_near_and_nothing_twice(jets, store_path):
    some = JetStore.open(store_path).read(range(100))
    cones, jet = find_cones(some, 4), some.jet_of_particle
    places = torch.stack([some.column("deta"), some.column("dphi")], 1).double()
    pt = torch.hypot(some.column("px"), some.column("py"))
    for n in range(4):
        here = cones.member == n
        seeded = torch.zeros(len(some), dtype=torch.bool)
        apart = (places - cones.axes[jet, n]).norm(dim=1)
        for one in range(len(some)):
            left = (jet == one) & ((cones.member >= n) | (cones.member < 0))
            if left.any():  # the hardest that is left is in this cone
                assert cones.member[left][pt[left].argmax()] == n
                seeded[one] = True
        assert (apart[here] < 0.2).float().mean() > 0.99  # a seed may be left behind by its axis
        near = (apart < 0.2) & seeded[jet]
        assert ((cones.member[near] >= 0) & (cones.member[near] <= n)).all()


def test_numbers_are_finite_and_do_not_know_the_label(jets, store_path):
    for some in (jets, JetStore.open(store_path).read(range(200)), make_jets([0, 1, 0, 2])):
        numbers = jet_summary(some)
        assert numbers.shape == (len(some), len(NUMBERS))
        assert torch.isfinite(numbers).all()
        unlabelled = replace(some, labels=torch.full_like(some.labels, -1))
        assert torch.equal(jet_summary(unlabelled), numbers)


def test_the_numbers_of_a_jet_do_not_depend_on_its_neighbours(jets):
    together = jet_summary(jets)
    alone = torch.cat([jet_summary(jets.take([i])) for i in range(len(jets))])
    torch.testing.assert_close(together, alone)


def test_the_network_sees_only_what_is_not_hidden(jets):
    torch.manual_seed(0)
    model = JetTargets("nano", JetTargetsConfig(MaskConfig(1, (0.5, 0.5), None, "random"))).eval()
    masks = model.draw(jets, torch.Generator().manual_seed(1))
    changed = jets.particles.clone()
    changed[masks.targets[0], 6:16] = 0  # pid and displacement of the hidden ones
    ours = model.student(jets.select_particles(masks.context)).cls
    theirs = model.student(jets.with_particles(changed).select_particles(masks.context)).cls
    assert torch.equal(ours, theirs)
    assert not torch.equal(
        jet_summary(jets), jet_summary(jets.with_particles(changed))
    )  # the targets see them


def test_it_learns_and_the_average_follows(jets):
    torch.manual_seed(0)
    model = JetTargets("nano", JetTargetsConfig(ema_start=0.5, ema_end=0.5))
    before = model.encoder.trunk.cls_token.clone()
    optimizer = torch.optim.AdamW(model.student.parameters(), 2e-3)
    optimizer.add_param_group({"params": model.head.parameters()})
    generator, r2 = torch.Generator().manual_seed(0), []
    for step in range(40):
        outputs = model(jets, model.draw(jets, generator), generator)
        optimizer.zero_grad()
        outputs.loss.backward()
        optimizer.step()
        model.after_step(step / 40)
        r2.append(outputs.figures["jet_r2"].item())
    assert r2[-1] > max(r2[0] + 0.3, 0.3)
    assert all(p.grad is None for p in model.encoder.parameters())
    assert not torch.equal(model.encoder.trunk.cls_token, before)


def test_a_number_that_is_the_same_for_all_jets_does_no_harm(jets):
    plain = jets.with_particles(torch.cat([jets.particles[:, :6], torch.zeros(len(jets.particles), 10)], 1))
    loss, r2 = JetTargetHead(8)(torch.randn(len(jets), 8), plain)
    assert torch.isfinite(loss)
    assert torch.isfinite(r2)


def test_foreign_settings_are_refused():
    with pytest.raises(JepalibError, match="targets = 2"):
        JetTargetsConfig(MaskConfig(2, (0.1, 0.2), None, "random"))
    with pytest.raises(JepalibError, match="ema_start"):
        JetTargetsConfig(ema_start=1.5)


def test_targets_are_standardised_over_all_jets_so_far(jets):
    """Not over their own batch: what a jet should say does not hang on the jets beside it."""
    head = JetTargetHead(4)
    batches = jets.take([0, 1, 2, 3]), jets.take([4, 5, 6, 7])
    for batch in batches:
        head(torch.zeros(4, 4), batch)
    sums = [jet_summary(batch).float() for batch in batches]
    mean = torch.stack([numbers.mean(0) for numbers in sums]).mean(0)
    variance = torch.stack([numbers.var(0) for numbers in sums]).mean(0)
    torch.testing.assert_close(head.standardise.running_mean, mean)
    torch.testing.assert_close(head.standardise.running_var, variance)
    head.eval()
    with torch.no_grad():
        for layer in (head.head[0], head.head[2]):
            layer.weight.zero_(), layer.bias.zero_()
    one, _ = head(torch.zeros(1, 4), jets.take([5]))
    wanted = ((sums[1][1] - mean) / (variance + 1e-5).sqrt()).clamp(-5, 5).abs()
    torch.testing.assert_close(one, torch.where(wanted < 1, 0.5 * wanted**2, wanted - 0.5).mean())
