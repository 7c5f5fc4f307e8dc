"""What an encoder makes of jets on the way: its representation after every layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.encoded import Encoded
from jepalib.models.layout import interleaved, sort_by_length, unsort
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.patch_transformer import PatchTransformer

EMBEDDING = "embedding"


def layer_names(encoder: nn.Module) -> list[str]:
    """The layers of `layer_outputs`, in their order.

    "embedding", "block 1" … and, where there is a class token, "class block 1" ….

    Raises:
        JepalibError: it is no particle or patch transformer.
    """
    if not isinstance(encoder, ParticleTransformer | PatchTransformer):
        raise JepalibError(
            f"layers of {type(encoder).__name__}: give a particle or patch transformer, such as "
            "Run.encoder() or the encoder of a classifier"
        )
    blocks, classes = len(encoder.trunk.blocks), len(getattr(encoder.trunk, "cls_blocks", ()))
    names = [f"block {i + 1}" for i in range(blocks)] + [f"class block {i + 1}" for i in range(classes)]
    return [EMBEDDING, *names]


@torch.no_grad()
def layer_outputs(encoder: nn.Module, jets: Jets) -> dict[str, Encoded]:
    """The representation of jets after every layer of an encoder, in the caller's order.

    The class token exists from the first class block on; these layers carry the last block's
    tokens along, which class blocks do not change. The last block of tokens and the last class
    block are given as the encoder gives them, after the norm that closes it (ParT has one on the
    class token only). Registers are left out.

    Args:
        encoder: in evaluation mode; it is the same afterwards.

    Returns:
        by the names of `layer_names`.

    Raises:
        JepalibError: it is no particle or patch transformer, or in training mode.
    """
    names = layer_names(encoder)
    if encoder.training:
        raise JepalibError("layers: the encoder is in training mode; call its eval() first")
    trunk, pieces = encoder.trunk, defaultdict(list)

    def keep(name: str) -> Callable[[nn.Module, tuple, Tensor], None]:
        return lambda module, given, output: pieces[name].append(output)

    modules = [*trunk.blocks, *getattr(trunk, "cls_blocks", ())]
    hooks = [
        module.register_forward_hook(keep(name)) for name, module in zip(names[1:], modules, strict=True)
    ]
    hooks.append(trunk.register_forward_pre_hook(lambda module, given: pieces[EMBEDDING].append(given[0])))
    try:
        whole = encoder(jets)
    finally:
        for hook in hooks:
            hook.remove()
    lead = len(getattr(encoder, "register_token", ()))
    edges = torch.arange(len(whole) + 1, device=whole.offsets.device) * lead
    order, offsets = interleaved([edges, whole.offsets])
    batch = sort_by_length(offsets, encoder.micro_batch)  # as the encoder has sorted them
    rows, layers = order[batch.tokens], {}
    for name in names[: 1 + len(trunk.blocks)]:
        layers[name] = Encoded(unsort(pieces[name], rows)[lead * len(whole) :], None, whole.offsets)
    layers[f"block {len(trunk.blocks)}"] = Encoded(whole.tokens, None, whole.offsets)
    for name in names[1 + len(trunk.blocks) :]:
        layers[name] = Encoded(whole.tokens, unsort(pieces[name], batch.jets), whole.offsets)
    return {**layers, names[-1]: whole}
