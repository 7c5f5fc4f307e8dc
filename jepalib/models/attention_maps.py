"""The attention weights of a trained network, recomputed from what its blocks are given.

The CPU kernels never write the weights down, so they are made again in plain torch from the
queries, the keys and the pair bias of the forward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import four_vectors
from jepalib.models.attention import dense_bias
from jepalib.models.blocks import ClassAttentionBlock, ParticleAttentionBlock, PlainBlock
from jepalib.models.heads import ClassAttentionHead
from jepalib.models.layout import Layout, sort_by_length, unsort
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.patch_transformer import PatchTransformer
from jepalib.models.patches import Patches, make_patches

Encoder = ParticleTransformer | PatchTransformer


@dataclass(frozen=True)
class AttentionMap:
    """The attention of one block within one jet.

    Attributes:
        name: "block 3", "class block 1", or "head block 1" of a class-attention head.
        kind: "particles" (tokens attend to each other) or "class" (the class token to the tokens).
        weights: each row sums to one. Among tokens queries and keys are in the order of the tokens
            (particles as given, or registers and then patches); of a class block the one query is
            the class token, and the keys are the class token and then the tokens.
        registers: how many of the tokens, the first ones, are registers and no patches.
    """

    name: str
    kind: str
    weights: Float[Tensor, "heads queries keys"]
    registers: int = 0

    @property
    def to_tokens(self) -> Float[Tensor, "heads queries tokens"]:
        """The weights without registers and without the class token as a key; rows sum to at most one."""
        if self.kind == "class":
            return self.weights[:, :, 1:]
        return self.weights[:, self.registers :, self.registers :]


@dataclass(frozen=True)
class JetAttention:
    """All attention within one jet, and where and how hard its tokens are.

    Attributes:
        jet: a batch of this one jet, on the CPU.
        maps: of every block (see `attention_maps`).
        places: (Δη, Δφ) of each token: of a particle, or of the centre of a patch.
        pt: of each token, GeV; a patch has that of its summed particles.
        patches: how the jet is cut, None where tokens are particles.
    """

    jet: Jets
    maps: list[AttentionMap]
    places: Float[Tensor, "tokens 2"]
    pt: Float[Tensor, " tokens"]
    patches: Patches | None


def look(model: nn.Module, jets: Jets, row: int) -> JetAttention:
    """The attention of an encoder, or of a classifier, within one jet of a batch.

    Raises:
        JepalibError: a model without an encoder, or no such jet.
    """
    maps = attention_maps(model, jets, row)
    jet, encoder = jets.take([row]).to("cpu"), encoder_of(model)
    patches, p4, places = None, four_vectors(jet), jet.particles[:, 4:6]
    if isinstance(encoder, PatchTransformer):
        patches = make_patches(jet.column("deta"), jet.column("dphi"), jet.offsets, encoder.patches)
        places = places[patches.centres]
        p4 = p4.new_zeros(len(patches), 4).index_add_(0, patches.patch_of_member, p4[patches.members])
    return JetAttention(jet, maps, places, torch.hypot(p4[:, 0], p4[:, 1]), patches)


@torch.no_grad()
def attention_maps(model: nn.Module, jets: Jets, row: int) -> list[AttentionMap]:
    """The attention in every block of an encoder, or of a classifier on one, for one jet.

    Args:
        model: runs in evaluation mode, whatever its mode is, on the device that it is on.
        jets, row: the jet of this row of the batch, on any device.

    Returns:
        blocks in the order of the forward pass, weights on the CPU.

    Raises:
        JepalibError: a model without an encoder, or no such jet.
    """
    encoder = encoder_of(model)
    if not 0 <= row < len(jets):
        raise JepalibError(f"attention_maps: there is no jet {row}; rows are 0 to {len(jets) - 1}")
    registers = len(encoder.register_token) if isinstance(encoder, PatchTransformer) else 0
    found = []

    def note(name: str, block: nn.Module, *inputs: object) -> None:
        if isinstance(block, ClassAttentionBlock):
            cls, tokens, layout = inputs
            weights = block.weights(cls, block.keys(cls, tokens, layout), layout)[0, :, None]
            found.append(AttentionMap(name, "class", weights.float().cpu()))
        else:
            weights = _token_weights(block, *inputs)[0].cpu()
            found.append(AttentionMap(name, "particles", weights, registers))

    blocks = {f"block {i}": block for i, block in enumerate(encoder.trunk.blocks, start=1)}
    with _watched(model, blocks | _class_blocks(model), note):
        model(jets.take([row]).to(next(model.parameters()).device))
    return found


@torch.no_grad()
def class_attention(model: nn.Module, jets: Jets) -> Float[Tensor, " particles"]:
    """How much of its attention the class token gives to each particle, over a batch.

    The mean over heads and class attention blocks; a jet's values sum to at most one, the rest
    is the class token's attention to itself. The blocks are those of the head where it has
    some, else of the encoder. What goes to a patch is shared alike by its particles.

    Args:
        model: an encoder or a classifier; runs in evaluation mode, whatever its mode is.

    Raises:
        JepalibError: a model without an encoder, or without class attention: HEP-JEPA's encoder
            has no class token, so that only a classifier with a class-attention head serves.
    """
    encoder, blocks = encoder_of(model), _class_blocks(model)
    if not blocks:
        raise JepalibError(
            f"class_attention: this {type(model).__name__} has no class token; give a classifier with a "
            "class-attention head, or an encoder of particles"
        )
    head = {name: block for name, block in blocks.items() if name.startswith("head")}
    found: dict[str, list[Tensor]] = {}

    def note(name: str, block: ClassAttentionBlock, *inputs: object) -> None:
        cls, tokens, layout = inputs
        weights = block.weights(cls, block.keys(cls, tokens, layout), layout)
        to_tokens = weights.float().mean(1)[:, 1:, None]
        found.setdefault(name, []).append(layout.unpad(to_tokens))

    patches = None
    if isinstance(encoder, PatchTransformer):
        patches = make_patches(jets.column("deta"), jets.column("dphi"), jets.offsets, encoder.patches)
    offsets = jets.offsets if patches is None else patches.offsets
    with _watched(model, head or blocks, note):
        model(jets)
    order = sort_by_length(offsets, max(len(jets), 1)).tokens  # does not depend on the micro-batches
    attended = torch.stack([unsort(parts, order)[:, 0] for parts in found.values()]).mean(0)
    if patches is None:
        return attended
    share = attended / patches.member_offsets.diff()
    return share.new_zeros(len(jets.particles)).index_add_(0, patches.members, share[patches.patch_of_member])


def encoder_of(model: nn.Module) -> Encoder:
    """The encoder that a model is or holds.

    Raises:
        JepalibError: there is none.
    """
    for module in model.modules():
        if isinstance(module, Encoder):
            return module
    raise JepalibError(f"attention: {type(model).__name__} holds no particle or patch transformer")


def _class_blocks(model: nn.Module) -> dict[str, ClassAttentionBlock]:
    """Class attention blocks by name, in the order of the forward pass."""
    trunk, head = encoder_of(model).trunk, getattr(model, "head", None)
    blocks = {f"class block {i}": b for i, b in enumerate(getattr(trunk, "cls_blocks", ()), start=1)}
    if isinstance(head, ClassAttentionHead):
        blocks |= {f"head block {i}": block for i, block in enumerate(head.blocks, start=1)}
    return blocks


def _token_weights(
    block: ParticleAttentionBlock | PlainBlock,
    x: Float[Tensor, "tokens width"],
    layout: Layout,
    bias: Tensor | None,
) -> Float[Tensor, "jets heads length length"]:
    """softmax(q k' / sqrt(d) + bias) within each jet, as `attention.attention` has it."""
    norm = block.attention_norm if isinstance(block, PlainBlock) else block.pre_attn_norm
    qkv = layout.pad(block.attn.in_proj(norm(x)).float())
    q, k, _ = qkv.unflatten(2, (3, block.heads, -1)).permute(2, 0, 3, 1, 4)
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]) + layout.padding()
    if bias is not None:
        scores = scores + dense_bias(bias, layout, block.heads)
    return scores.softmax(-1)


@contextmanager
def _watched(model: nn.Module, blocks: dict[str, nn.Module], note: Callable[..., None]) -> Iterator[None]:
    """Calls note(name, block, *inputs) whenever a block runs; the model is in evaluation mode."""
    modes = {module: module.training for module in model.modules()}
    handles = [
        block.register_forward_pre_hook(lambda block, inputs, name=name: note(name, block, *inputs))
        for name, block in blocks.items()
    ]
    try:
        model.eval()
        yield
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes.items():
            module.training = mode
