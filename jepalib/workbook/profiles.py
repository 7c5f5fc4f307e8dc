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
    snapshots: int = 10  # kept on the way: at a half, a quarter, an eighth … of the jets
    batch_size: int = 2048
    # few-shot adaptation
    shipped: str = ""  # the encoder that comes along: too small for this, and of simulated jets
    labels: tuple[int, ...] = (500, 2_000, 10_000, 100_000, 1_000_000)
    seeds: int = 5
    adapt_steps: int = 2_000  # at 500 labels; grows with the square root of the labels
    rates: tuple[float, ...] = (1e-3, 3e-4)  # the tuning grid, the same for every mode
    encoder_scales: tuple[float, ...] = (0.1, 1.0)
    lengths: tuple[float, ...] = (1.0, 3.0)  # multiples of adapt_steps
    few_passes: int = 10
    test_jets: int = 100_000  # jets that the adapted models are judged on
    # ablations of HEP-JEPA: the published setting, repeated
    ablation_rows: tuple[str, ...] = ()  # all
    ablation_seeds: int = 3
    ablation_size: str = "mini"
    ablation_steps: int = 48_000
    ablation_batch: int = 2048
    probe_jets: int = 50_000  # training jets, and validation jets, of the linear machine
    # HEP-JEPA and its transfer
    patch_size: str = "mini"
    patch_steps: int = 200_000
    percent: tuple[float, ...] = (0.05, 0.5, 2.0, 10.0, 100.0)  # of the training set, as labels
    table_seeds: int = 3
    table_steps: int = 2_000  # at 500 labels; grows with the square root of the labels
    choose_jets: int = 20_000  # validation jets that settings are chosen on
    map_jets: int = 20_000
    mc_passes: int = 50  # of Monte-Carlo dropout
    layer_jets: int = 20_000  # training jets, and as many test jets, of each layer's numbers
    new_jets: int = 5_000  # placed on a finished map
    twin_train: int = 0  # simulated jets of each class of top and quark–gluon tagging
    twin_val: int = 0
    twin_test: int = 0
    supervised_steps: int = 200_000
    transfer_steps: int = 1_000
    transfer_seeds: int = 3
    # robustness
    robust_labels: int = 100_000
    robust_jets: int = 20_000
    robust_seeds: int = 5
    tune_again: bool = True
    drop_fractions: tuple[float, ...] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    smear_widths: tuple[float, ...] = (0.05, 0.1, 0.2, 0.4)
    dead_sides: tuple[float, ...] = (0.1, 0.2, 0.4, 0.8)
    shifts_mm: tuple[float, ...] = (0.02, 0.1, 0.5)
    # scaling
    scaling_sizes: tuple[str, ...] = ("nano", "tiny", "small", "mini")  # unique jets are varied with the last
    scaling_jets: tuple[int, ...] = (10_000, 100_000, 1_000_000, 10_000_000)
    scaling_views: tuple[int, ...] = (1_000_000, 3_000_000, 10_000_000, 30_000_000, 60_000_000, 100_000_000)
    scaling_batch: int = 1024
    scaling_warmup: int = 50_000
    scaling_seeds: tuple[int, ...] = (0, 1, 2)
    scaling_probe_jets: int = 50_000
    # anomaly search
    search_signals: tuple[str, ...] = ()  # all
    sample_jets: int = 100_000
    search_jets: int = 500_000
    signal_jets: int = 20_000
    told_jets: int = 20_000
    signal_counts: tuple[int, ...] = (100, 300, 1_000, 3_000, 10_000)
    class_count: int = 1_000
    search_seeds: int = 5
    tree_members: int = 10
    tuned_counts: tuple[int, ...] = (1_000, 3_000)
    tuned_seeds: int = 3
    tuned_steps: int = 200  # at 500 jets; grows with the square root of the jets
    tuned_rate: float = 1e-3
    tuned_scale: float = 1.0
    unseen_steps: int = 50_000
    unseen_seeds: int = 3
    # jets as pictures
    display_jets: int = 5_000
    gallery_jets: int = 8
    attention_jets: int = 500
    # bump hunt
    background_events: int = 0  # to simulate (0: lhco_file must be given)
    signal_events: int = 0
    file_events: tuple[int, ...] = (200_000, 2_000)  # background and signal, chosen of lhco_file
    injections: tuple[int, ...] = (0, 100, 200, 400, 800)
    hunt_seeds: int = 10
    hunt_folds: int = 5
    hunt_toys: int = 1_000
    tree_toys: int = 200
    least_toys: int = 100
    efficiencies: tuple[float, ...] = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
    announced_cut: float = 0.02
    trees: int = 10
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
    snapshots=5,
    batch_size=256,
    shipped="data/models/jet-targets-nano",
    labels=(500, 2_000),
    seeds=3,
    adapt_steps=200,
    rates=(1e-3, 3e-3),
    encoder_scales=(0.3, 1.0),
    lengths=(1.0,),
    test_jets=5_000,
    patch_size="nano",
    patch_steps=200,
    table_seeds=2,
    table_steps=40,
    choose_jets=1_000,
    map_jets=3_000,
    mc_passes=30,
    layer_jets=2_000,
    new_jets=500,
    display_jets=500,
    gallery_jets=4,
    attention_jets=50,
    twin_train=1_000,
    twin_val=200,
    twin_test=1_000,
    supervised_steps=200,
    transfer_steps=50,
    transfer_seeds=2,
    robust_labels=500,
    robust_jets=500,
    robust_seeds=1,
    tune_again=False,
    drop_fractions=(0.1, 0.3, 0.5, 0.7, 0.9),
    sample_jets=1_000,
    search_jets=10_000,
    signal_jets=200,
    told_jets=50,
    signal_counts=(10, 30, 100, 200),
    class_count=100,
    search_seeds=3,
    tree_members=2,
    tuned_counts=(200,),
    tuned_seeds=2,
    tuned_steps=30,
    unseen_steps=40,
    unseen_seeds=1,
    ablation_seeds=2,
    ablation_size="nano",
    ablation_steps=150,
    ablation_batch=64,
    probe_jets=5_000,
    background_events=10_000,
    signal_events=300,
    file_events=(10_000, 300),
    injections=(0, 50, 100),
    hunt_seeds=3,
    hunt_folds=3,
    hunt_toys=200,
    tree_toys=20,
    efficiencies=(0.2, 0.1, 0.05, 0.02, 0.01),
    trees=3,
    scaling_sizes=("atto", "femto", "pico", "nano"),
    scaling_jets=(100, 300, 1_000),
    scaling_views=(1_000, 2_000, 4_000, 8_000),
    scaling_batch=64,
    scaling_warmup=128,
    scaling_seeds=(0, 1),
    scaling_probe_jets=2_000,
)
SMOKE = replace(
    LAPTOP,
    train_jets_per_class=LAPTOP.train_jets_per_class // 40,
    val_jets_per_class=LAPTOP.val_jets_per_class // 20,
    test_jets_per_class=LAPTOP.test_jets_per_class // 20,
    explore_jets=500,
    pretrain_steps=LAPTOP.pretrain_steps // 10,
    snapshots=2,
    batch_size=LAPTOP.batch_size // 4,
    labels=(100, 200),
    seeds=2,
    adapt_steps=LAPTOP.adapt_steps // 10,
    rates=(1e-3,),
    encoder_scales=(1.0,),
    test_jets=250,
    ablation_rows=("baseline", "untrained", "registers"),
    ablation_seeds=1,
    ablation_steps=LAPTOP.ablation_steps // 15,
    patch_steps=20,
    percent=(2.0, 100.0),
    table_seeds=1,
    table_steps=10,
    choose_jets=100,
    map_jets=250,
    mc_passes=5,
    layer_jets=200,
    new_jets=50,
    display_jets=250,
    gallery_jets=2,
    attention_jets=10,
    twin_train=60,
    twin_val=20,
    twin_test=60,
    supervised_steps=20,
    transfer_steps=10,
    transfer_seeds=1,
    robust_labels=100,
    robust_jets=50,
    drop_fractions=(0.5, 0.9),
    smear_widths=(0.2,),
    dead_sides=(0.2, 0.8),
    shifts_mm=(0.1,),
    search_signals=("Hbb", "Wqq", "Tbqq"),
    sample_jets=80,
    search_jets=200,
    signal_jets=25,
    told_jets=15,
    signal_counts=(8, 40),
    class_count=20,
    search_seeds=2,
    tree_members=1,
    tuned_counts=(40,),
    tuned_seeds=1,
    tuned_steps=5,
    unseen_steps=3,
    unseen_seeds=2,
    background_events=800,
    signal_events=60,
    file_events=(800, 60),
    injections=(0, 40),
    hunt_seeds=1,
    hunt_folds=2,
    hunt_toys=20,
    tree_toys=8,
    least_toys=8,
    efficiencies=(0.5, 0.2),
    announced_cut=0.2,
    trees=1,
    scaling_sizes=("atto", "femto", "pico"),
    scaling_jets=(60,),
    scaling_views=(200, 400, 800),
    scaling_batch=32,
    scaling_warmup=32,
    scaling_seeds=(0,),
    scaling_probe_jets=200,
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
