"""Complete pre-training configurations by method and size; the defaults live here, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from jepalib.errors import JepalibError
from jepalib.masking import MaskConfig
from jepalib.methods.jp_jepa import JPJEPAConfig
from jepalib.training.config import PretrainConfig, override

# What each size changes in the published setting (JP-JEPA Tables 6 and 7): Small needs a
# lower rate, more decay in the predictor and clipping; Nano is made for two CPU cores,
# where a run has thousands of steps and not half a million, so that the teacher follows
# faster, the batch is smaller, the two costly pair probes are left out, and larger
# micro-batches spread the fixed cost of small operations (430 against 230 jets/s).
PUBLISHED = PretrainConfig(
    method="jp-jepa",
    size="mini",
    objective=JPJEPAConfig(masks=MaskConfig(targets=1, target_ratio=(0.25, 0.35), context_ratio=(0.4, 0.7))),
    steps=500_000,
    batch_size=2048,
)


def jp_jepa(size: str) -> PretrainConfig:
    """JP-JEPA at a size."""
    config = replace(PUBLISHED, size=size)
    if size == "nano":
        objective = replace(config.objective, ema_start=0.99, ema_end=0.9999, probes=("pid", "td", "lmv"))
        return replace(
            config,
            objective=objective,
            steps=2000,
            batch_size=256,
            micro_batch=128,
            log_every=20,
            checkpoint_every=200,
            clip=1.0,
        )
    if size != "mini":
        return replace(config, lr=5e-4, predictor_weight_decay=0.05, clip=0.5)
    return config


PRESETS = {"jp-jepa": jp_jepa}


def pretrain_config(method: str, size: str, overrides: Mapping[str, object] | None = None) -> PretrainConfig:
    """The configuration of a method at a size, with settings replaced by name.

    Raises:
        JepalibError: unknown method, size or setting.
    """
    if method not in PRESETS:
        raise JepalibError(f"unknown method '{method}'; known are {', '.join(PRESETS)}")
    return override(PRESETS[method](size), overrides or {})
