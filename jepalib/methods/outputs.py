"""What every method's forward pass returns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Outputs:
    """What one forward pass of a method gives.

    Attributes:
        loss: the objective, whose gradient reaches the encoder.
        probe_loss: sum of the losses of the stopped probes, which train themselves alone.
        parts: its parts and the probes' losses by name, not weighted.
        figures: readable figures such as probe accuracy.
        embeddings: teacher's mean particle and [CLS] per jet, detached, for diagnostics.
    """

    loss: Float[Tensor, ""]
    probe_loss: Float[Tensor, ""]
    parts: dict[str, Float[Tensor, ""]]
    figures: dict[str, Float[Tensor, ""]]
    embeddings: dict[str, Float[Tensor, "jets width"]]
