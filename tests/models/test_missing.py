"""Hidden inputs: the network does not see them, sees everything else, and stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from jepalib.errors import JepalibError
from jepalib.kinematics import model_inputs
from jepalib.models import particle_transformer, patch_transformer
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.missing import without_inputs
from jepalib.perturb import remove_group, remove_input
from jepalib.schema import INPUT_GROUPS, INPUTS, KIN_INPUTS, PID_INPUTS, TD_INPUTS


def encoder(kind: str = "particles", inputs: str = "full") -> nn.Module:
    """A network with statistics of its inputs and random weights of its batch norms, in evaluation mode."""
    torch.manual_seed(0)
    model = build_encoder(EncoderConfig(kind=kind, inputs=inputs)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    return model


@torch.no_grad()
def tokens(model: nn.Module, jets) -> torch.Tensor:
    return model(jets).tokens


@pytest.mark.parametrize("name", [*INPUTS, INPUTS])
def test_particles_are_read_as_if_the_transformed_input_were_zero(jets, name, monkeypatch):
    names = [name] if isinstance(name, str) else list(name)
    model = encoder()
    hidden = tokens(without_inputs(model, names), jets)

    def zeroed(some):
        inputs = model_inputs(some)
        inputs[:, [INPUTS.index(n) for n in names]] = 0
        return inputs

    assert (hidden - tokens(model, jets)).abs().max() > 1e-3
    monkeypatch.setattr(particle_transformer, "model_inputs", zeroed)
    assert torch.allclose(hidden, tokens(model, jets), atol=1e-4)


@pytest.mark.parametrize("kind", ["particles", "patches"])
def test_agrees_with_what_is_removed_from_the_jets(jets, kind):
    model = encoder(kind)
    for names, removed in (
        (["isMuon"], remove_input(jets, "isMuon")),
        (["tanh_d0"], remove_input(jets, "tanh_d0")),
        (PID_INPUTS, remove_group(jets, "pid")),
        (TD_INPUTS, remove_group(jets, "td")),
    ):
        hidden = without_inputs(model, names)
        assert torch.allclose(tokens(hidden, jets), tokens(model, removed), atol=1e-4)
        assert torch.equal(tokens(hidden, jets), tokens(hidden, removed)), "whatever stands there"


def test_patches_read_zero_too_but_know_where_they_are(jets, monkeypatch):
    model = encoder("patches")
    hidden = tokens(without_inputs(model, ["log_pt", "delta_r"]), jets)

    def zeroed(some):
        inputs = model_inputs(some)
        inputs[:, [0, 4]] = 0
        return inputs

    monkeypatch.setattr(patch_transformer, "model_inputs", zeroed)
    assert torch.allclose(hidden, tokens(model, jets), atol=1e-4)
    monkeypatch.undo()
    placeless = without_inputs(model, ["deta", "dphi"])
    assert not placeless.tokeniser.before[0].weight[:, 5:7].any()
    assert (tokens(placeless, jets) - tokens(model, jets)).abs().max() > 1e-3


def test_the_network_itself_stays_and_a_classifier_may_hold_it(jets):
    model = nn.ModuleDict({"encoder": encoder()}).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hidden = without_inputs(model, KIN_INPUTS)
    assert model.training
    assert not hidden.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not hidden["encoder"].input_bn.weight[INPUT_GROUPS["kin"]].any()


def test_inputs_that_it_never_had_change_nothing(jets):
    model = encoder(inputs="kin")
    assert torch.equal(tokens(without_inputs(model, TD_INPUTS), jets), tokens(model, jets))
    assert torch.equal(tokens(without_inputs(model, []), jets), tokens(model, jets))


def test_mistakes_are_named():
    with pytest.raises(JepalibError, match="no input d0; there are log_pt"):
        without_inputs(encoder(), ["charge", "d0"])
    with pytest.raises(JepalibError, match="Linear holds no particle or patch transformer"):
        without_inputs(nn.Linear(2, 2), ["charge"])
