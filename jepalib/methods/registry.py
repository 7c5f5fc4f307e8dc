"""The methods by name. A new objective is one module, a line here and a preset (training.presets).

A method is an `nn.Module` built as ``Method.module(size, config, inputs, micro_batch)``.
For each batch ``draw(jets, generator)`` makes what is random (masks, augmentation), then
``forward(jets, drawn, generator)`` gives `Outputs`, and after the optimiser's step comes
``after_step(progress)``. It has ``student`` and ``encoder``; everything after pre-training needs
the encoder only, whose architecture ``Method.architecture(size, inputs, config)`` tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from jepalib.errors import JepalibError
from jepalib.methods import hep_jepa, jet_targets, jp_jepa, p_jepa, supervised
from jepalib.methods.hep_jepa import HEPJEPA, HEPJEPAConfig
from jepalib.methods.jet_targets import JetTargets, JetTargetsConfig
from jepalib.methods.jp_jepa import JPJEPA, JPJEPAConfig
from jepalib.methods.p_jepa import PJEPA, PJEPAConfig
from jepalib.methods.supervised import Supervised, SupervisedConfig
from jepalib.models.encoders import EncoderConfig


@dataclass(frozen=True)
class Method:
    """One way to an encoder.

    Attributes:
        module, config: the `nn.Module` and its frozen configuration class.
        architecture: the encoder that it trains, from size, inputs and configuration.
        head: the classification head that its paper puts on the encoder.
        downstream: which network that is, "teacher" or "student".
        about: what is trained, in a paragraph of Markdown for the notebooks.
    """

    module: type[nn.Module]
    config: type
    architecture: Callable[[str, str, Any], EncoderConfig]
    head: str
    downstream: str
    about: str


METHODS = {
    "jp-jepa": Method(JPJEPA, JPJEPAConfig, jp_jepa.architecture, "mlp", "teacher", jp_jepa.ABOUT),
    "hep-jepa": Method(
        HEPJEPA, HEPJEPAConfig, hep_jepa.architecture, "class-attention", "student", hep_jepa.ABOUT
    ),
    "p-jepa": Method(PJEPA, PJEPAConfig, p_jepa.architecture, "mlp", "teacher", p_jepa.ABOUT),
    "jet-targets": Method(
        JetTargets, JetTargetsConfig, jet_targets.architecture, "mlp", "teacher", jet_targets.ABOUT
    ),
    "supervised": Method(
        Supervised, SupervisedConfig, supervised.architecture, "class-attention", "student", supervised.ABOUT
    ),
}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        JepalibError: there is none; the message lists those that are.
    """
    if name not in METHODS:
        raise JepalibError(f"unknown method '{name}'; known are {', '.join(METHODS)}")
    return METHODS[name]
