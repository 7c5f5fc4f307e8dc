"""Monte-Carlo dropout: what is random in it, what is not, and what it averages to."""

import numpy as np
import pytest
import torch
from torch import nn

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.models.encoders import EncoderConfig
from jepalib.models.heads import Classifier, MLPHead
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import SIZES
from jepalib.training.classifiers import ClassifierConfig, build, probabilities
from jepalib.training.dropout import dropping_layers, mc_probabilities, plain_and_dropped

CPU = torch.device("cpu")
ROWS = np.arange(700, 760)


@pytest.fixture
def store(store_path):
    return JetStore.open(store_path)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return build(ClassifierConfig(EncoderConfig(size="nano"), "mlp")).eval()


def counted(module: nn.Module) -> list[int]:
    """Jets of each call of a module."""
    calls = []
    module.register_forward_hook(lambda _, args, __: calls.append(len(args[0])))
    return calls


def test_passes_differ_come_again_and_leave_the_network_as_it_was(classifier, store):
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    stream = torch.random.get_rng_state()
    first = mc_probabilities(classifier, store, ROWS, CPU, 4, seed=1)
    assert torch.equal(torch.random.get_rng_state(), stream)
    assert first.shape == (4, 60, 10)
    np.testing.assert_allclose(first.sum(2), 1, atol=1e-5)
    assert min(np.abs(first[0] - first[i]).max() for i in (1, 2, 3)) > 1e-3
    assert np.array_equal(mc_probabilities(classifier, store, ROWS, CPU, 4, seed=1), first)
    assert np.abs(mc_probabilities(classifier, store, ROWS, CPU, 4, seed=2) - first).max() > 1e-3
    assert not any(layer.training for layer in classifier.modules())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_only_dropout_is_switched_on(classifier, store):
    """With nothing dropped the passes are the scores: the batch normalisation has not moved."""
    for layer in classifier.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean.normal_(std=0.1)
    with pytest.raises(JepalibError, match="nothing drops in it"):
        mc_probabilities(without_dropout(classifier), store, ROWS, CPU, 2, seed=0)
    layers = dropping_layers(classifier)
    assert layers == []
    for layer in (layer for layer in classifier.modules() if isinstance(layer, nn.Dropout)):
        layer.p = 1e-12
    samples = mc_probabilities(classifier, store, ROWS, CPU, 2, seed=0)
    expected = probabilities(classifier, store, ROWS, CPU)
    np.testing.assert_allclose(samples, np.stack([expected, expected]), atol=1e-6)


def without_dropout(classifier: Classifier) -> Classifier:
    for layer in dropping_layers(classifier):
        layer.p = 0.0
    return classifier


def test_each_jet_is_encoded_once_and_the_order_is_that_of_the_rows(classifier, store):
    calls = counted(classifier.encoder)
    samples = mc_probabilities(classifier, store, ROWS, CPU, 300, seed=0)
    assert sum(calls) == len(ROWS)
    backwards = mc_probabilities(classifier, store, ROWS[::-1], CPU, 300, seed=5)
    means, error = samples.mean(0), samples.std(0) * np.sqrt(2 / 300)
    assert np.abs((backwards.mean(0)[::-1] - means) / error).max() < 5
    assert np.abs((backwards.mean(0) - means) / error).max() > 5  # jets do differ


def test_the_spread_is_that_of_the_dropped_units_by_hand(store):
    """One unit, dropped half of the time and doubled else: two values, equally often."""

    class One(nn.Module):
        def forward(self, jets):
            return torch.ones(len(jets), 1)

    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(1, 2))
    with torch.no_grad():
        head[1].weight.copy_(torch.tensor([[0.0], [1.0]]))
        head[1].bias.zero_()
    samples = mc_probabilities(Classifier(One(), head), store, ROWS, CPU, 400, seed=0)[:, :, 1]
    kept = 1 / (1 + np.exp(-2.0))
    assert np.unique(samples) == pytest.approx([0.5, kept], abs=1e-6)
    assert (samples > 0.6).mean() == pytest.approx(0.5, abs=5 * 0.5 / np.sqrt(samples.size))


def test_an_encoder_that_drops_is_run_in_every_pass(store):
    torch.manual_seed(0)
    encoder = ParticleTransformer(SIZES["nano"], dropout=0.1)
    calls = counted(encoder)
    classifier = Classifier(encoder, MLPHead(encoder.jet_width, dropout=0.0))
    samples = mc_probabilities(classifier, store, ROWS[:20], CPU, 3, seed=0)
    assert calls == [20, 20, 20, 20]  # once more with nothing dropped
    assert min(np.abs(samples[0] - samples[i]).max() for i in (1, 2)) > 1e-6


def test_plain_scores_come_along(classifier, store):
    calls = counted(classifier.encoder)
    plain, samples = plain_and_dropped(classifier, store, ROWS, CPU, 3, seed=1)
    assert sum(calls) == len(ROWS)
    np.testing.assert_allclose(plain, probabilities(classifier, store, ROWS, CPU), atol=1e-6)
    assert np.array_equal(samples, mc_probabilities(classifier, store, ROWS, CPU, 3, seed=1))


def test_no_passes_or_no_jets_are_refused(classifier, store):
    with pytest.raises(JepalibError, match="0 passes over 60 jets"):
        mc_probabilities(classifier, store, ROWS, CPU, 0, seed=0)
    with pytest.raises(JepalibError, match="3 passes over 0 jets"):
        mc_probabilities(classifier, store, ROWS[:0], CPU, 3, seed=0)
