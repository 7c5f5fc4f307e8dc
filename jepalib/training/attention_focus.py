"""What the heads of a network look at, over many jets: near or far, soft or hard."""

from __future__ import annotations

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import wrap_phi
from jepalib.models.attention_maps import AttentionMap, JetAttention, look

NUMBERS = ("delta_r", "delta_r_ratio", "pt_share", "pt_ratio", "elsewhere")


def attention_focus(model: nn.Module, jets: Jets) -> pd.DataFrame:
    """Attention-weighted mean ΔR and mean pT share of what each head attends to.

    Weights are those on tokens, made to sum to one; the mean over the queries of a jet, then
    over jets of at least two tokens. ΔR is that from the query to the key, for the class token
    from the jet axis to the key. A ratio compares with a head that attends to all tokens alike:
    below one it looks nearer (ΔR), above one it looks at what is harder (pT).

    Returns:
        A row per head: block, kind, head (from 1), delta_r, delta_r_ratio, pt_share, pt_ratio,
        the standard errors of both ratios over jets (delta_r_error, pt_error), elsewhere (the
        share of attention on registers or on the class token itself), jets.

    Raises:
        JepalibError: a model without an encoder, or no jet of at least two tokens.
    """
    found = [look(model, jets, row) for row in (jets.counts > 1).nonzero()[:, 0].tolist()]
    found = [seen for seen in found if len(seen.pt) > 1]
    if not found:
        raise JepalibError("attention_focus: there is no jet of at least two tokens")
    tables = []
    for maps in zip(*(seen.maps for seen in found), strict=True):
        values = torch.stack([_of_block(seen, one) for seen, one in zip(found, maps, strict=True)])
        table = pd.DataFrame(values.mean(0).numpy(), columns=NUMBERS)
        errors = (values.var(0, correction=0) / (len(found) - 1)).sqrt()  # NaN of a single jet
        table["delta_r_error"], table["pt_error"] = errors[:, 1].numpy(), errors[:, 3].numpy()
        table.insert(0, "head", range(1, len(table) + 1))
        table.insert(0, "kind", maps[0].kind)
        table.insert(0, "block", maps[0].name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True).assign(jets=len(found))


def _of_block(seen: JetAttention, attention: AttentionMap) -> Float[Tensor, "heads numbers"]:
    """`NUMBERS` of each head of one block in one jet."""
    inside = attention.to_tokens.double().sum(2)
    weights = attention.to_tokens.double() / inside[:, :, None].clamp_min(1e-12)
    distance, share = _distances(seen, attention.kind), (seen.pt / seen.pt.sum()).double()
    delta_r, pt_share = (weights * distance).sum(2).mean(1), (weights @ share).mean(1)
    even = distance.mean().clamp_min(1e-12)
    elsewhere = (1 - inside.mean(1)).clamp_min(0)
    return torch.stack([delta_r, delta_r / even, pt_share, pt_share / share.mean(), elsewhere], 1)


def _distances(seen: JetAttention, kind: str) -> Float[Tensor, "queries tokens"]:
    """ΔR from each query to each token; the query of a class block lies on the jet axis."""
    places = seen.places.double()
    queries = torch.zeros(1, 2, dtype=torch.float64) if kind == "class" else places
    apart = queries[:, None] - places
    return torch.hypot(apart[..., 0], wrap_phi(apart[..., 1]))
