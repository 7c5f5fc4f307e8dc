"""What encoders and predictors give: one value, whatever their tokens are."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from jepalib.jets import gather_rows
from jepalib.models.layout import offsets_of


@dataclass(frozen=True)
class Encoded:
    """Representations of a batch of jets.

    Attributes:
        tokens: one representation per token (a particle or a patch), packed jet by jet.
        cls: one representation per jet; None where the network has no class token.
        offsets: tokens of jet i are rows offsets[i] to offsets[i + 1].
    """

    tokens: Float[Tensor, "tokens width"]
    cls: Float[Tensor, "jets jet_width"] | None
    offsets: Int[Tensor, " edges"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def take(self, rows: Int[Tensor, " chosen"]) -> Encoded:
        """The jets of the given places."""
        gather, offsets = gather_rows(self.offsets, rows)
        return Encoded(self.tokens[gather], None if self.cls is None else self.cls[rows], offsets)

    def to(self, device: torch.device | str) -> Encoded:
        """The same on another device."""
        cls = None if self.cls is None else self.cls.to(device)
        return Encoded(self.tokens.to(device), cls, self.offsets.to(device))

    def float(self) -> Encoded:
        """The same in float32."""
        cls = None if self.cls is None else self.cls.float()
        return replace(self, tokens=self.tokens.float(), cls=cls)


def join(parts: list[Encoded]) -> Encoded:
    """Several batches, of which all or none have class tokens, as one."""
    offsets = offsets_of(torch.cat([part.offsets.diff() for part in parts]))
    cls = None if parts[0].cls is None else torch.cat([part.cls for part in parts])
    return Encoded(torch.cat([part.tokens for part in parts]), cls, offsets)
