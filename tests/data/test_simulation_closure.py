"""The tables of the real JetClass reproduced by a few thousand simulated jets (minutes).

Tolerance of every entry: three statistical standard errors (jets are the independent
units) plus the systematic difference that is allowed and stated beside the value.
"""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest
import uproot

from jepalib.data.simulation import simulate
from jepalib.schema import CLASSES

pytestmark = pytest.mark.slow
JETS = 300  # per class

# Per jet, all classes equally: real JetClass, allowed systematic difference.
COMPOSITION = {
    "isChargedHadron": (18.69, 0.30),
    "isNeutralHadron": (4.22, 0.12),
    "isPhoton": (16.03, 0.25),
    "isElectron": (0.340, 0.035),  # 0.02 too many with 5,000 jets per class
    "isMuon": (0.235, 0.015),
}
# Transformed inputs per particle: real mean, allowed difference; real deviation, allowed ratio.
MOMENTS = {
    "ln pT": (0.138, 0.015, 0.859, 0.02),
    "ln E": (0.173, 0.025, 0.867, 0.02),
    "ln pT/pT_jet": (0.122, 0.015, 0.858, 0.02),
    "ln E/E_jet": (0.120, 0.015, 0.852, 0.02),
    "Delta R": (0.121, 0.025, 0.718, 0.06),  # known to be narrow
    "charge": (0.000, 0.005, 0.698, 0.01),
    "tanh d0": (0.000, 0.003, 0.186, 0.07),
    "d0err": (0.0148, 0.0008, 0.0266, 0.10),
    "tanh dz": (-0.001, 0.003, 0.203, 0.07),
    "dzerr": (0.0376, 0.0012, 0.083, 0.04),
    "Delta eta": (-0.005, 0.004, 0.212, 0.08),  # known to be narrow
    "Delta phi": (0.002, 0.004, 0.206, 0.03),
}
# Mean constituents of each class in the reference recipe; 4 % are allowed.
CONSTITUENTS = (32, 42, 39, 57, 49, 29, 34, 33, 51, 28)
# Soft-drop mass peak in GeV, 4 GeV are allowed; median tau ratios, 0.02 are allowed.
MASS_PEAKS = {"Wqq": 78, "Zqq": 86, "Hbb": 122, "Hgg": 122, "Tbqq": 166}
TAU21 = {"QCD": 0.62, "Zqq": 0.37, "Wqq": 0.38, "Hbb": 0.33}
TAU32 = {"Tbqq": 0.51, "QCD": 0.76}


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ak.Array]:
    """300 jets of every class."""
    out = tmp_path_factory.mktemp("closure")
    paths = simulate(out, "test", JETS, seed=11, quiet=True)
    return {name: uproot.open(path)["tree"].arrays() for name, path in zip(CLASSES, paths)}


@pytest.fixture(scope="module")
def jets(samples: dict[str, ak.Array]) -> ak.Array:
    return ak.concatenate(list(samples.values()))


def transformed(jets: ak.Array) -> dict[str, ak.Array]:
    """ParT's inputs, jagged, written out here independently of `jepalib.kinematics`."""
    pt = np.hypot(jets.part_px, jets.part_py)
    return {
        "ln pT": (np.log(pt) - 1.7) * 0.7,
        "ln E": (np.log(jets.part_energy) - 2.0) * 0.7,
        "ln pT/pT_jet": (np.log(pt / jets.jet_pt) + 4.7) * 0.7,
        "ln E/E_jet": (np.log(jets.part_energy / jets.jet_energy) + 4.7) * 0.7,
        "Delta R": (np.hypot(jets.part_deta, jets.part_dphi) - 0.2) * 4,
        "charge": jets.part_charge,
        "tanh d0": np.tanh(jets.part_d0val),
        "d0err": np.minimum(jets.part_d0err, 1),
        "tanh dz": np.tanh(jets.part_dzval),
        "dzerr": np.minimum(jets.part_dzerr, 1),
        "Delta eta": jets.part_deta,
        "Delta phi": jets.part_dphi,
    }


def ratio_error(values: ak.Array, mean: float) -> float:
    """Standard error of the mean over particles (jets are the independent units)."""
    residual = ak.to_numpy(ak.sum(values - mean, axis=1))
    return float(np.sqrt((residual**2).sum()) / ak.count(values))


@pytest.mark.parametrize("flag", list(COMPOSITION))
def test_composition(samples: dict[str, ak.Array], flag: str) -> None:
    real, systematic = COMPOSITION[flag]
    counts = [ak.to_numpy(ak.sum(jets[f"part_{flag}"], axis=1)) for jets in samples.values()]
    error = np.sqrt(np.mean([c.var() for c in counts]) / (len(counts) * JETS))
    assert abs(np.mean(counts) - real) < 3 * error + systematic


def test_all_constituents(samples: dict[str, ak.Array]) -> None:
    counts = [ak.to_numpy(jets.jet_nparticles) for jets in samples.values()]
    error = np.sqrt(np.mean([c.var() for c in counts]) / (len(counts) * JETS))
    assert abs(np.mean(counts) - 39.5) < 3 * error + 0.5


@pytest.mark.parametrize("name", list(MOMENTS))
def test_moments_of_the_inputs(jets: ak.Array, name: str) -> None:
    real_mean, shift, real_deviation, share = MOMENTS[name]
    values = transformed(jets)[name]
    mean = float(ak.mean(values))
    assert abs(mean - real_mean) < 3 * ratio_error(values, mean) + shift
    squares = (values - mean) ** 2
    variance = float(ak.mean(squares))
    relative = ratio_error(squares, variance) / (2 * variance)
    assert abs(np.sqrt(variance) / real_deviation - 1) < 3 * relative + share


@pytest.mark.parametrize(("name", "expected"), list(zip(CLASSES, CONSTITUENTS)))
def test_mean_constituents(samples: dict[str, ak.Array], name: str, expected: float) -> None:
    counts = ak.to_numpy(samples[name].jet_nparticles)
    assert abs(counts.mean() - expected) < 3 * counts.std() / np.sqrt(JETS) + 0.04 * expected


@pytest.mark.parametrize("name", list(MASS_PEAKS))
def test_soft_drop_mass_peaks(samples: dict[str, ak.Array], name: str) -> None:
    """The median of the masses within 20 GeV of the expected peak."""
    mass, peak = ak.to_numpy(samples[name].jet_sdmass), MASS_PEAKS[name]
    inside = mass[np.abs(mass - peak) < 20]
    assert len(inside) > 0.35 * JETS
    assert abs(np.median(inside) - peak) < 3 * 1.25 * inside.std() / np.sqrt(len(inside)) + 4


@pytest.mark.parametrize(
    ("name", "first", "value"),
    [(n, 2, v) for n, v in TAU21.items()] + [(n, 3, v) for n, v in TAU32.items()],
)
def test_median_tau_ratios(samples: dict[str, ak.Array], name: str, first: int, value: float) -> None:
    above, below = (ak.to_numpy(samples[name][f"jet_tau{n}"]) for n in (first, first - 1))
    ratio = above[below > 0] / below[below > 0]
    assert abs(np.median(ratio) - value) < 3 * 1.25 * ratio.std() / np.sqrt(len(ratio)) + 0.02
