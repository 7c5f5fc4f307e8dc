"""Which encoder: the configuration that every stage rebuilds a network from."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from jepalib.errors import JepalibError
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.patch_transformer import PatchTransformer
from jepalib.models.patches import PatchConfig
from jepalib.models.sizes import PATCH_SIZES, SIZES
from jepalib.schema import INPUT_SETS

KINDS = ("particles", "patches")


@dataclass(frozen=True)
class EncoderConfig:
    """An encoder, complete.

    Attributes:
        kind: "particles" (`ParticleTransformer`) or "patches" (`PatchTransformer`).
        size: a name in `sizes.SIZES` or `sizes.PATCH_SIZES`.
        inputs: kin, kinpid or full.
        patches, registers, physics_bias: of the patch encoder.
    """

    kind: str = "particles"
    size: str = "nano"
    inputs: str = "full"
    patches: PatchConfig = field(default_factory=PatchConfig)
    registers: int = 8
    physics_bias: bool = True

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise JepalibError(f"encoder '{self.kind}' is not one of {', '.join(KINDS)}")
        for name, known in (("size", sizes_of(self.kind)), ("inputs", INPUT_SETS)):
            if getattr(self, name) not in known:
                raise JepalibError(
                    f"{name} '{getattr(self, name)}' of {self.kind} is not one of {', '.join(known)}"
                )
        if self.registers < 0:
            raise JepalibError(f"registers = {self.registers}: give at least 0")


def sizes_of(kind: str) -> dict:
    """The architecture presets of a kind of encoder."""
    return SIZES if kind == "particles" else PATCH_SIZES


def build_encoder(config: EncoderConfig, micro_batch: int = 32) -> nn.Module:
    """A fresh network; it has `width` (of tokens) and `jet_width` (of `pooling.jet_vector`)."""
    size = sizes_of(config.kind)[config.size]
    if config.kind == "particles":
        return ParticleTransformer(size, inputs=config.inputs, micro_batch=micro_batch)
    return PatchTransformer(
        size, config.inputs, config.patches, config.registers, config.physics_bias, micro_batch
    )
