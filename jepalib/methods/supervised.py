"""Supervised training on all labels: the other way to an encoder, which HEP-JEPA compares with.

It makes a run folder like any pre-training, so that its encoder is then frozen or fine-tuned
elsewhere by the same commands (HEP-JEPA Tables 2 and 3).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.methods.outputs import Outputs
from jepalib.models.encoders import KINDS, EncoderConfig, build_encoder
from jepalib.models.heads import ClassAttentionHead
from jepalib.models.patches import PatchConfig
from jepalib.models.pooling import mean_tokens
from jepalib.schema import CLASSES

ABOUT = """\
**Supervised training** uses the label of every jet: the encoder and a class-attention head learn to tell the
classes apart by cross-entropy. There is no mask, no teacher and no predictor; the encoder is kept for
transfer."""


@dataclass(frozen=True)
class SupervisedConfig:
    """What is trained; the head is two class-attention blocks and an MLP, as downstream.

    Attributes:
        encoder: "particles" or "patches".
        patches, registers, physics_bias: of the patch encoder.
        classes: number of classes of the training data.
    """

    encoder: str = "patches"
    patches: PatchConfig = field(default_factory=PatchConfig)
    registers: int = 8
    physics_bias: bool = True
    classes: int = len(CLASSES)

    def __post_init__(self) -> None:
        if self.encoder not in KINDS:
            raise JepalibError(f"encoder '{self.encoder}' is not one of {', '.join(KINDS)}")
        if self.classes < 2:
            raise JepalibError(f"classes = {self.classes}: give at least 2")


def architecture(size: str, inputs: str, config: SupervisedConfig) -> EncoderConfig:
    """The encoder under the head."""
    patch_settings = config.patches, config.registers, config.physics_bias
    return EncoderConfig(config.encoder, size, inputs, *patch_settings)


class Supervised(nn.Module):
    """An encoder and a class-attention head, trained with cross-entropy."""

    def __init__(
        self, size: str, config: SupervisedConfig | None = None, inputs: str = "full", micro_batch: int = 32
    ) -> None:
        super().__init__()
        self.config = config or SupervisedConfig()
        self.student = build_encoder(architecture(size, inputs, self.config), micro_batch)
        self.head = ClassAttentionHead(self.student.width, self.config.classes, micro_batch=micro_batch)

    @property
    def encoder(self) -> nn.Module:
        """The network that is used afterwards; there is no teacher."""
        return self.student

    def draw(self, jets: Jets, generator: torch.Generator) -> None:
        """Nothing is drawn: every particle is seen."""

    def forward(self, jets: Jets, view: None, generator: torch.Generator | None = None) -> Outputs:
        """Cross-entropy of the labels.

        Raises:
            JepalibError: a jet has no label, or one beyond `classes`.
        """
        wrong = int(((jets.labels < 0) | (jets.labels >= self.config.classes)).sum())
        if wrong:
            raise JepalibError(
                f"supervised: {wrong} of {len(jets)} jets have labels outside 0 to "
                f"{self.config.classes - 1}; set classes to the number of classes of the data"
            )
        encoded = self.student(jets)
        scores = self.head(encoded).float()
        loss = F.cross_entropy(scores, jets.labels)
        accuracy = (scores.argmax(1) == jets.labels).float().mean()
        embeddings = {"tokens": mean_tokens(encoded).detach()}
        return Outputs(
            loss, torch.zeros_like(loss), {"cross_entropy": loss}, {"accuracy": accuracy}, embeddings
        )

    def after_step(self, progress: float) -> None:
        """Nothing follows."""
