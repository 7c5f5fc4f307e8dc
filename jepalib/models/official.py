"""Official ParT weights: checkpoints of weaver-core's `ParticleTransformer` as ours.

The mapping is one to one. weaver has the inputs in another order (kin without Delta
eta and Delta phi, then pid, td, and those two last) and its pair network as one
sequence of 1x1 convolutions and batch norms. Before its version 0.5, as in the published
checkpoints, a block also left its channels in another order (`_transpose_heads`).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from jepalib.errors import JepalibError
from jepalib.models.heads import Classifier, LinearHead
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.sizes import Size
from jepalib.schema import INPUT_SETS

WRAPPERS = ("module.", "_orig_mod.", "mod.")  # of data-parallel, compiled and published models
LEGACY = ".attn.in_proj_weight"  # name before weaver 0.5, from torch's MultiheadAttention
INPUTS_OF_DIM = {dim: name for name, dim in INPUT_SETS.items()}


def load_part_checkpoint(path: Path | str, pre_activation_pair: bool = False) -> Classifier:
    """A ParT with its linear head from an official checkpoint (`.pt` or `.safetensors`).

    Args:
        path: a state dict of tensors; nothing else is ever unpickled.
        pre_activation_pair: weaver's argument `use_pre_activation_pair`, which the
            weights do not tell. The published JetClass models have False.

    Returns:
        the classifier in evaluation mode. Class order is that of the checkpoint: for
        the published ones `schema.CLASSES`.

    Raises:
        JepalibError: the file is missing, holds anything but tensors, or is no ParT.
    """
    path = Path(path)
    mapped = from_weaver_state(_read(path))
    size, inputs, classes = _describe(mapped, pre_activation_pair)
    model = Classifier(ParticleTransformer(size, inputs), LinearHead(size.width, classes))
    try:
        model.load_state_dict(mapped)
    except RuntimeError as error:
        raise JepalibError(f"{path}: not the weights of a published ParT: {error}") from error
    return model.eval()


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise JepalibError(f"{path}: no such file; give the path of a ParT checkpoint")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, SafetensorError, RuntimeError, EOFError, KeyError) as error:
        raise JepalibError(
            f"{path}: not a file of tensors only ({type(error).__name__}); give a state dict, "
            "saved with torch.save(model.state_dict(), path) or as safetensors"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise JepalibError(f"{path}: holds no state dict (a mapping from names to tensors)")
    return state


def from_weaver_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """weaver's state dict under our names: those of `Classifier(ParticleTransformer, LinearHead)`.

    Without a head in `state` (weaver's `fc_params=None`) there is none in the result.

    Raises:
        JepalibError: the first layers are missing or the number of inputs is not that of
            a set in `schema.INPUT_SETS`.
    """
    plain = {_unwrapped(name): value for name, value in state.items() if "trimmer." not in name}
    if "embed.input_bn.weight" not in plain:
        raise JepalibError("no weaver ParticleTransformer: 'embed.input_bn.weight' is missing")
    inputs = len(plain["embed.input_bn.weight"])
    if inputs not in INPUTS_OF_DIM:
        raise JepalibError(f"checkpoint of {inputs} inputs; known are {INPUT_SETS}")
    order = weaver_columns(inputs)
    mapped = {}
    for name, value in plain.items():
        if (name.startswith("embed.input_bn.") and value.ndim) or name.startswith("embed.embed.0."):
            value = value[order]
        elif name == "embed.embed.1.weight":
            value = value[:, order]
        elif name.startswith("pair_embed.") and value.ndim == 3:
            value = value[:, :, 0]
        elif name == "cls_token":
            value = value.reshape(-1)
        mapped[_renamed(name)] = value
    for name in plain:
        if name.endswith(LEGACY):
            _transpose_heads(mapped, f"encoder.trunk.{name.removesuffix(LEGACY)}")
    return mapped


def _transpose_heads(mapped: dict[str, Tensor], block: str) -> None:
    """Writes what weaver before 0.5 did after attention into the block's output projection.

    There the output of H heads of D channels was scaled by c and reordered from (head,
    channel) to (channel, head): row d H + h of the projection is c[h] times row h D + d.
    """
    names = [f"{block}.c_attn", f"{block}.attn.out_proj.weight", f"{block}.attn.out_proj.bias"]
    if not all(name in mapped for name in names):
        return  # loading will say what is missing
    scale = mapped[names[0]]
    mapped[names[0]] = torch.ones_like(scale)
    for name in names[1:]:
        by_head = mapped[name].unflatten(0, (len(scale), -1))
        scaled = by_head * scale.reshape(-1, *[1] * (by_head.ndim - 1))
        mapped[name] = scaled.transpose(0, 1).flatten(0, 1)


def weaver_columns(inputs: int) -> list[int]:
    """Where in weaver's order each of our inputs stands: Delta eta and Delta phi come last there."""
    return [*range(5), inputs - 2, inputs - 1, *range(5, inputs - 2)]


def _unwrapped(name: str) -> str:
    while name.startswith(WRAPPERS):
        name = name.split(".", 1)[1]
    return name


def _renamed(name: str) -> str:
    if name.startswith("fc."):
        return re.sub(r"^fc\.0\.", "head.linear.", name)
    name = re.sub(r"\.in_proj_(weight|bias)$", r".in_proj.\1", name)  # of torch's MultiheadAttention
    name = re.sub(r"^embed\.input_bn\.", "input_bn.", name)
    name = re.sub(r"^embed\.embed\.", "embed.layers.", name)
    name = re.sub(r"^(blocks|cls_blocks|norm|cls_token)", r"trunk.\1", name)
    pair = re.match(r"pair_embed\.embed\.(\d+)\.(.+)", name)
    if pair:  # batch norm 0, then (convolution, batch norm, GELU) from 1 on
        place = int(pair[1])
        kind, number = ("linears", place // 3) if place % 3 == 1 else ("norms", (place + 1) // 3)
        name = f"pair_embed.{kind}.{number}.{pair[2]}"
    return f"encoder.{name}"


def _describe(mapped: Mapping[str, Tensor], pre_activation_pair: bool) -> tuple[Size, str, int]:
    """Size, input set and number of classes that mapped weights have."""
    try:
        width = len(mapped["encoder.trunk.cls_token"])
        heads = len(mapped["encoder.trunk.blocks.0.c_attn"])
        classes = len(mapped["head.linear.bias"])
        inputs = INPUTS_OF_DIM[len(mapped["encoder.input_bn.weight"])]
    except KeyError as error:
        raise JepalibError(f"not the weights of a published ParT: {error} is missing") from error
    embed = _outputs(mapped, r"encoder\.embed\.layers")
    pair = _outputs(mapped, r"encoder\.pair_embed\.linears")
    size = Size(
        width, embed, heads,
        _numbered(mapped, "blocks"), _numbered(mapped, "cls_blocks"), pair[:-1],
        width // 2, heads, 4, 1, pre_activation_pair,
    )  # fmt: skip
    return size, inputs, classes


def _outputs(mapped: Mapping[str, Tensor], layers: str) -> tuple[int, ...]:
    """Outputs of the linear layers of a sequence, in the order of their numbers."""
    matches = [re.fullmatch(rf"{layers}\.(\d+)\.weight", name) for name in mapped]
    found = {int(m[1]): mapped[m[0]] for m in matches if m}
    return tuple(len(found[number]) for number in sorted(found) if found[number].ndim == 2)


def _numbered(mapped: Mapping[str, Tensor], kind: str) -> int:
    found = [re.match(rf"encoder\.trunk\.{kind}\.(\d+)\.", name) for name in mapped]
    return 1 + max((int(m[1]) for m in found if m), default=-1)
