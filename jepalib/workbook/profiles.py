"""How large a run of the workbook is. The full profile is `paper`; the others are cut from it.

A notebook takes from its profile the values it has parameters for. The numbers in the
notebooks' own parameters cells are those of `laptop`; a test keeps them equal.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from jepalib.errors import JepalibError


@dataclass(frozen=True)
class Profile:
    """Sizes of data, model, pre-training and few-shot comparison."""

    # simulated jets per class, where no data_dir is given (0: data_dir must be given)
    train_jets_per_class: int = 0
    val_jets_per_class: int = 0
    test_jets_per_class: int = 0
    explore_jets: int = 100_000  # jets that the figures of 01 and 02 are drawn from
    # pre-training: the published JP-JEPA sizes
    size: str = "small"
    pretrain_steps: int = 500_000
    batch_size: int = 2048
    # few-shot adaptation
    labels: tuple[int, ...] = (500, 2_000, 10_000, 100_000, 1_000_000)
    seeds: int = 5
    adapt_steps: int = 2_000  # at 500 labels; grows with the square root of the labels
    rates: tuple[float, ...] = (1e-3, 3e-4)  # the tuning grid, the same for every mode
    encoder_scales: tuple[float, ...] = (0.1, 1.0)
    test_jets: int = 100_000  # jets that the adapted models are judged on
    seed: int = 0


PAPER = Profile()
LAPTOP = replace(
    PAPER,
    train_jets_per_class=2_000,
    val_jets_per_class=200,
    test_jets_per_class=500,
    explore_jets=10_000,
    size="nano",
    pretrain_steps=300,
    batch_size=256,
    labels=(500, 2_000),
    seeds=3,
    adapt_steps=200,
    rates=(1e-3,),
    encoder_scales=(0.3, 1.0),
    test_jets=5_000,
)
SMOKE = replace(
    LAPTOP,
    train_jets_per_class=LAPTOP.train_jets_per_class // 40,
    val_jets_per_class=LAPTOP.val_jets_per_class // 20,
    test_jets_per_class=LAPTOP.test_jets_per_class // 20,
    explore_jets=500,
    pretrain_steps=LAPTOP.pretrain_steps // 10,
    batch_size=LAPTOP.batch_size // 4,
    labels=(100, 200),
    seeds=2,
    adapt_steps=LAPTOP.adapt_steps // 10,
    encoder_scales=(1.0,),
    test_jets=250,
)
PROFILES = {"smoke": SMOKE, "laptop": LAPTOP, "paper": PAPER}


def profile_values(name: str) -> dict[str, Any]:
    """The parameters of a profile by name, as a notebook takes them.

    Raises:
        JepalibError: there is no such profile.
    """
    if name not in PROFILES:
        raise JepalibError(f"no profile '{name}'; there are: {', '.join(PROFILES)}")
    values = asdict(PROFILES[name])
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
