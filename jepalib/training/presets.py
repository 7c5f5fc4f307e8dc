"""Complete pre-training configurations by method and size; the defaults live here, once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from operator import attrgetter
from typing import Any

from jepalib.errors import JepalibError
from jepalib.masking import MaskConfig
from jepalib.methods.hep_jepa import HEPJEPAConfig
from jepalib.methods.jet_targets import JetTargetsConfig
from jepalib.methods.jp_jepa import JPJEPAConfig
from jepalib.methods.p_jepa import PJEPAConfig
from jepalib.methods.supervised import SupervisedConfig
from jepalib.training.config import PretrainConfig, override, setting_names

# Learning rates of short runs on two cores: Nano, and those below it. The best rate of Adam falls as the
# width grows, about as its inverse (Yang et al., arXiv:2203.03466); so it does here: after 12,000 jets of
# jet-targets, four times the rate lowered the loss of Femto by 7 % and raised that of Nano by 4 %.
CPU_SIZES = {"atto": 8e-3, "femto": 4e-3, "pico": 2e-3, "nano": 1e-3}

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
    if size in CPU_SIZES:
        objective = replace(_quick_teacher(config.objective), probes=("pid", "td", "lmv"))
        return _small(replace(config, objective=objective))
    if size != "mini":
        return replace(config, lr=5e-4, predictor_weight_decay=0.05, clip=0.5)
    return config


def hep_jepa(size: str) -> PretrainConfig:
    """HEP-JEPA at a size, on kinematics alone as in the paper.

    Mini has the paper's size and length: 4 epochs of 100 M jets, 15,000 warm-up steps. The
    learning rate is not published.
    """
    objective = HEPJEPAConfig()
    config = PretrainConfig(method="hep-jepa", size=size, inputs="kin", objective=objective)
    if size not in CPU_SIZES:
        return replace(config, steps=200_000, batch_size=2048, warmup=0.075)
    return _small(replace(config, objective=_quick_teacher(objective)))


def p_jepa(size: str) -> PretrainConfig:
    """P-JEPA at a size; "p-jepa" is that of the slides, which tell no rates, steps or batches: JP-JEPA's."""
    objective = PJEPAConfig() if size not in CPU_SIZES else _quick_teacher(PJEPAConfig())
    return replace(jp_jepa(size), method="p-jepa", objective=objective)


def jet_targets(size: str) -> PretrainConfig:
    """Jet-level targets at a size, otherwise as JP-JEPA."""
    objective = JetTargetsConfig() if size not in CPU_SIZES else _quick_teacher(JetTargetsConfig())
    return replace(jp_jepa(size), method="jet-targets", objective=objective)


def supervised(size: str) -> PretrainConfig:
    """Training with labels at a size: HEP-JEPA's encoder and inputs unless `encoder`, `inputs` say others."""
    config = PretrainConfig(method="supervised", size=size, inputs="kin", objective=SupervisedConfig())
    return _small(config) if size in CPU_SIZES else replace(config, steps=200_000)


def _quick_teacher(objective: Any) -> Any:
    """A run of thousands of steps needs a teacher that follows faster than the papers' do."""
    return replace(objective, ema_start=0.99, ema_end=0.9999)


def _small(config: PretrainConfig) -> PretrainConfig:
    """Steps and batches for two CPU cores."""
    config = replace(config, lr=CPU_SIZES[config.size], steps=2000, batch_size=256, micro_batch=128, clip=1.0)
    return replace(config, log_every=20, checkpoint_every=200)


PRESETS = {
    "jp-jepa": jp_jepa,
    "hep-jepa": hep_jepa,
    "p-jepa": p_jepa,
    "jet-targets": jet_targets,
    "supervised": supervised,
}


def pretrain_config(method: str, size: str, overrides: Mapping[str, object] | None = None) -> PretrainConfig:
    """The configuration of a method at a size, with settings replaced by name.

    Raises:
        JepalibError: unknown method, size or setting.
    """
    if method not in PRESETS:
        raise JepalibError(f"unknown method '{method}'; known are {', '.join(PRESETS)}")
    return override(PRESETS[method](size), overrides or {})


def changes(config: PretrainConfig) -> dict[str, object]:
    """The settings in which a configuration differs from its method's at its size, by dotted name.

    ``pretrain_config(config.method, config.size, changes(config))`` is the configuration again.
    """
    preset = pretrain_config(config.method, config.size)
    values = {name: attrgetter(name)(config) for name in setting_names(config)}
    return {name: value for name, value in values.items() if value != attrgetter(name)(preset)}
