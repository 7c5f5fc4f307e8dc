"""From the tokens of a jet to one vector per jet."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from jepalib.models.encoded import Encoded
from jepalib.models.layout import jet_of_token


def mean_tokens(encoded: Encoded) -> Float[Tensor, "jets width"]:
    """Mean token representation of each jet (zeros for a jet without tokens)."""
    total = encoded.tokens.new_zeros(len(encoded), encoded.tokens.shape[1])
    total = total.index_add(0, jet_of_token(encoded.offsets), encoded.tokens)
    return total / encoded.offsets.diff().clamp_min(1)[:, None]


def max_tokens(encoded: Encoded) -> Float[Tensor, "jets width"]:
    """Largest value of each channel over the tokens of a jet (zeros for a jet without tokens)."""
    place = jet_of_token(encoded.offsets)[:, None].expand_as(encoded.tokens)
    largest = encoded.tokens.new_zeros(len(encoded), encoded.tokens.shape[1])
    return largest.scatter_reduce(0, place, encoded.tokens, "amax", include_self=False)


def jet_vector(encoded: Encoded) -> Float[Tensor, "jets features"]:
    """What a head reads that wants one vector per jet: [CLS], or max ‖ mean without one (HEP-JEPA)."""
    if encoded.cls is not None:
        return encoded.cls
    return torch.cat([max_tokens(encoded), mean_tokens(encoded)], dim=1)


def pool(encoded: Encoded) -> Float[Tensor, "jets features"]:
    """What linear probes see: [CLS] (if there is one) ‖ mean ‖ max over the tokens."""
    encoded = encoded.float()
    cls = [] if encoded.cls is None else [encoded.cls]
    return torch.cat([*cls, mean_tokens(encoded), max_tokens(encoded)], dim=1)


def pooled_names(width: int, with_cls: bool) -> list[str]:
    """Names of the columns of `pool`."""
    kinds = ("cls", "mean", "max") if with_cls else ("mean", "max")
    return [f"{kind}_{i:03d}" for kind in kinds for i in range(width)]
