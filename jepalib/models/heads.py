"""Heads that turn encoded jets into class scores, and the classifier made of both.

Every head is called with what the encoder returned. MLP and linear head read one vector
per jet (`pooling.jet_vector`, of the encoder's `jet_width`), class attention reads the tokens.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepalib.jets import Jets
from jepalib.models.blocks import ClassAttentionBlock, initialise
from jepalib.models.encoded import Encoded
from jepalib.models.layout import sort_by_length, unsort
from jepalib.models.pooling import jet_vector
from jepalib.schema import CLASSES


class MLPHead(nn.Module):
    """The published fine-tuning head: two hidden layers of 128 on the jet representation.

    Each is (linear without bias, batch norm, ReLU, dropout 0.5); the last layer is
    linear with bias. A training batch needs at least two jets.
    """

    def __init__(
        self,
        width: int,
        classes: int = len(CLASSES),
        hidden: tuple[int, ...] = (128, 128),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for a, b in zip((width, *hidden[:-1]), hidden, strict=True):
            layers += [nn.Linear(a, b, bias=False), nn.BatchNorm1d(b), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden[-1], classes))

    def forward(self, encoded: Encoded) -> Float[Tensor, "jets classes"]:
        return self.layers(jet_vector(encoded))


class LinearHead(nn.Module):
    """One linear layer on the jet representation; the head of the published ParT."""

    def __init__(self, width: int, classes: int = len(CLASSES)) -> None:
        super().__init__()
        self.linear = nn.Linear(width, classes)

    def forward(self, encoded: Encoded) -> Float[Tensor, "jets classes"]:
        return self.linear(jet_vector(encoded))


class ClassAttentionHead(nn.Module):
    """A fresh class token, class attention blocks over the tokens, an MLP of one hidden layer.

    HEP-JEPA and MPM use it on frozen encoders: it reads the token representations
    only, not the encoder's own jet representation.
    """

    def __init__(
        self, width: int, classes: int = len(CLASSES), heads: int = 8, blocks: int = 2, micro_batch: int = 32
    ) -> None:
        super().__init__()
        self.micro_batch = micro_batch
        self.token = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(ClassAttentionBlock(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, classes))
        initialise(self)
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, encoded: Encoded) -> Float[Tensor, "jets classes"]:
        batch = sort_by_length(encoded.offsets, self.micro_batch)
        packed = encoded.tokens[batch.tokens]
        tokens = []
        for part in batch.micro_batches:
            token = self.token.expand(part.layout.jets, -1)
            for block in self.blocks:
                token = block(token, packed[part.tokens], part.layout)
            tokens.append(token)
        return self.mlp(self.norm(unsort(tokens, batch.jets)))


class Classifier(nn.Module):
    """An encoder and a head on it: jets in, one score (logit) per class out."""

    def __init__(self, encoder: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, jets: Jets) -> Float[Tensor, "jets classes"]:
        return self.head(self.encoder(jets))
