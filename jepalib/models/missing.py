"""Networks from which some of the 17 inputs are hidden, to see what they rely on."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy

import torch
from torch import nn

from jepalib.errors import JepalibError
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.patch_transformer import PatchTransformer
from jepalib.schema import INPUT_SETS, INPUTS


def without_inputs(model: nn.Module, names: Collection[str]) -> nn.Module:
    """A copy of a trained network whose encoder reads the named inputs as missing, in evaluation mode.

    Missing is the value zero of the *transformed* input (`kinematics.model_inputs`). For the pid
    and td groups that is how data without them are represented, in training too. For the five
    logarithms and ΔR zero is a typical particle, the centre that the standardisation takes away
    (pT = 5.5 GeV, E = 7.4 GeV, 0.9 % of the jet, ΔR = 0.2), and for Δη, Δφ it is the jet axis.

    Hidden is only what is listed: pairwise features still come from the four-vectors, and a
    patch encoder still cuts patches at the true places and knows masses and where centres lie;
    for it Δη, Δφ are those from the centre of the patch. Inputs that the encoder never had
    change nothing.

    Args:
        model: an encoder, or anything that holds one, such as a classifier; stays as it is.
        names: of `schema.INPUTS`.

    Raises:
        JepalibError: an unknown input, or a model without an encoder.
    """
    unknown = [name for name in names if name not in INPUTS]
    if unknown:
        raise JepalibError(f"without_inputs: no input {', '.join(unknown)}; there are {', '.join(INPUTS)}")
    model = deepcopy(model).eval()
    encoders = [m for m in model.modules() if isinstance(m, ParticleTransformer | PatchTransformer)]
    if not encoders:
        raise JepalibError(f"without_inputs: {type(model).__name__} holds no particle or patch transformer")
    for encoder in encoders:
        known = INPUT_SETS[encoder.inputs]
        _hide(encoder, [INPUTS.index(name) for name in names if INPUTS.index(name) < known])
    return model


@torch.no_grad()
def _hide(encoder: ParticleTransformer | PatchTransformer, columns: list[int]) -> None:
    """Make the first layer give what it gives for a zero in these columns, whatever stands there."""
    if isinstance(encoder, PatchTransformer):
        encoder.tokeniser.before[0].weight[:, columns] = 0
        return
    norm = encoder.input_bn
    zero = norm(norm.running_mean.new_zeros(1, norm.num_features))[0]
    norm.weight[columns] = 0
    norm.bias[columns] = zero[columns]
