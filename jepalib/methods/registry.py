"""The methods by name. A new objective is one module, a line here and a preset (training.presets).

A method is an `nn.Module` built as ``Method.module(size, config, inputs, micro_batch)``
with ``forward(jets, masks, generator) -> Outputs``, ``mask_config``, ``student``,
``encoder`` and ``after_step(progress)``; everything after pre-training needs the encoder only.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from jepalib.errors import JepalibError
from jepalib.methods.jp_jepa import JPJEPA, JPJEPAConfig


@dataclass(frozen=True)
class Method:
    """A method's module and its frozen configuration class."""

    module: type[nn.Module]
    config: type


METHODS = {"jp-jepa": Method(JPJEPA, JPJEPAConfig)}


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        JepalibError: there is none; the message lists those that are.
    """
    if name not in METHODS:
        raise JepalibError(f"unknown method '{name}'; known are {', '.join(METHODS)}")
    return METHODS[name]
