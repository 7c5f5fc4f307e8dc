"""The packed batch: choosing, padding and joining lose and mix nothing."""

import pytest
import torch
from made_jets import make_jets

from jepalib.errors import JepalibError
from jepalib.jets import concatenate, pad, unpad


def test_take_gives_the_particles_of_the_chosen_jets(jets):
    chosen = jets.take([3, 0, 3])
    assert chosen.counts.tolist() == [40, 2, 40]
    start, stop = jets.offsets[3:5].tolist()
    assert torch.equal(chosen.particles[:40], jets.particles[start:stop])
    assert torch.equal(chosen.particles[42:], jets.particles[start:stop])
    assert chosen.index.tolist() == [3, 0, 3]


def test_negative_rows_count_from_the_end(jets):
    chosen, expected = jets.take([-1, 2, -12]), jets.take([11, 2, 0])
    assert chosen.counts.tolist() == [8, 5, 2]
    for name in ("particles", "offsets", "observables", "labels", "index"):
        assert torch.equal(getattr(chosen, name), getattr(expected, name)), name
    with pytest.raises(IndexError):
        jets.take([12])


def test_select_particles_keeps_jets_and_their_observables(jets):
    keep = torch.zeros(len(jets.particles), dtype=torch.bool)
    keep[jets.offsets[:-1] + 1] = True  # the second particle of each jet
    keep[: jets.offsets[1]] = False  # and none of the first jet
    selected = jets.select_particles(keep)
    assert selected.counts.tolist() == [0] + [1] * 11
    assert torch.equal(selected.particles, jets.particles[keep])
    assert torch.equal(selected.observables, jets.observables)


def test_pad_and_unpad_are_inverse(jets):
    padded, mask = pad(jets.particles, jets.offsets)
    assert padded.shape == (12, 128, 16)
    assert mask.sum(1).tolist() == jets.counts.tolist()
    assert (padded[~mask] == 0).all()
    assert torch.equal(unpad(padded, mask), jets.particles)
    with pytest.raises(JepalibError, match="shorter than the longest jet"):
        pad(jets.particles, jets.offsets, 100)


def test_concatenate_undoes_a_split(jets):
    joined = concatenate([jets.take([0, 1, 2, 3, 4]), jets.take(list(range(5, 12)))])
    assert torch.equal(joined.particles, jets.particles)
    assert torch.equal(joined.offsets, jets.offsets)
    assert torch.equal(joined.labels, jets.labels)
    with pytest.raises(JepalibError):
        concatenate([])


def test_jet_of_particle_counts_every_particle():
    jets = make_jets([1, 0, 3])
    assert jets.jet_of_particle.tolist() == [0, 2, 2, 2]
