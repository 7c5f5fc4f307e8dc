"""AdamW groups and the learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn

from jepalib.training.config import PretrainConfig


def parameter_groups(
    method: nn.Module, weight_decay: float, other_weight_decay: float
) -> list[dict[str, object]]:
    """Encoder and other weights with their decay; tokens, biases and normalisations without.

    Matrices decay (two or more dimensions, not a token); everything else does not
    (JP-JEPA section 4.4).
    """
    groups: dict[float, list[nn.Parameter]] = {}
    for name, parameter in method.named_parameters():
        if not parameter.requires_grad:
            continue
        matrix = parameter.ndim >= 2 and parameter.numel() > max(parameter.shape) and "token" not in name
        decay = weight_decay if name.startswith(("student.", "encoder.")) else other_weight_decay
        groups.setdefault(decay if matrix else 0.0, []).append(parameter)
    return [{"params": parameters, "weight_decay": decay} for decay, parameters in groups.items()]


def warm_cosine(share: float, peak: float, warmup: float, first: float = 0.0, last: float = 0.0) -> float:
    """Linear warm-up from `first` to `peak`, then a cosine to `last`, over a share from 0 to 1."""
    if share < warmup:
        return first + (peak - first) * share / warmup
    rest = (share - warmup) / (1 - warmup)
    return last + (peak - last) * 0.5 * (1 + math.cos(math.pi * rest))


def learning_rate(config: PretrainConfig, share: float) -> float:
    """Rate of a pre-training that has seen this share (0 to 1) of all its jets."""
    return warm_cosine(share, config.lr, config.warmup, config.lr_start, config.lr_final)


def adamw(config: PretrainConfig, method: nn.Module) -> torch.optim.AdamW:
    """The optimiser of a pre-training (fused where the device has it)."""
    groups = parameter_groups(method, config.weight_decay, config.predictor_weight_decay)
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, fused=True)
