"""The closure tables of the simulation: composition, moments, masses, substructure beside JetClass.

    jepalib simulate OUT --split train --jets-per-class 5000
    python benchmarks/simulation_tables.py OUT/train

Prints markdown. Errors are statistical, with jets as the independent units.
"""

from __future__ import annotations

import sys
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from jepalib.schema import CLASSES, JET_FIELDS, PARTICLE_FIELDS, PROCESSES

COMPOSITION = {  # per jet in the real JetClass, all classes equally
    "isChargedHadron": 18.69,
    "isNeutralHadron": 4.22,
    "isPhoton": 16.03,
    "isElectron": 0.340,
    "isMuon": 0.235,
}
MOMENTS = {  # mean and standard deviation over particles in the real JetClass
    "ln pT": (0.138, 0.859),
    "ln E": (0.173, 0.867),
    "ln pT/pT_jet": (0.122, 0.858),
    "ln E/E_jet": (0.120, 0.852),
    "Delta R": (0.121, 0.718),
    "charge": (0.000, 0.698),
    "tanh d0": (0.000, 0.186),
    "d0err": (0.0148, 0.0266),
    "tanh dz": (-0.001, 0.203),
    "dzerr": (0.0376, 0.083),
    "Delta eta": (-0.005, 0.212),
    "Delta phi": (0.002, 0.206),
}
CONSTITUENTS = dict(zip(CLASSES, (32, 42, 39, 57, 49, 29, 34, 33, 51, 28)))
PEAKS = {"Wqq": 78, "Zqq": 86, "Hbb": 122, "Hcc": 122, "Hgg": 122, "H4q": 122, "Tbqq": 166}
TAU21 = {"QCD": 0.62, "Zqq": 0.37, "Wqq": 0.38, "Hbb": 0.33}
TAU32 = {"Tbqq": 0.51, "QCD": 0.76}


def read(folder: Path, name: str) -> ak.Array:
    """All jets of one class."""
    branches = [f"part_{f}" for f in PARTICLE_FIELDS] + [f"jet_{f}" for f in JET_FIELDS]
    paths = sorted(folder.glob(f"{PROCESSES[name]}_*.root"))
    return ak.concatenate([uproot.open(path)["tree"].arrays(branches) for path in paths])


def transformed(jets: ak.Array) -> dict[str, ak.Array]:
    """The inputs of ParT (arXiv:2202.03772, Tab. 2), one list per jet."""
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


def mean_and_error(values: ak.Array) -> tuple[float, float]:
    """Mean over particles and its standard error."""
    values = ak.values_astype(values, np.float64)
    mean = float(ak.mean(values))
    residual = ak.to_numpy(ak.sum(values - mean, axis=1))
    return mean, float(np.sqrt((residual**2).sum()) / ak.count(values))


def print_composition(samples: dict[str, ak.Array]) -> None:
    print("\n| per jet, all classes equally | real JetClass | here |\n|---|---|---|")
    for flag, real in [*COMPOSITION.items(), ("all", 39.5)]:
        counts = [
            ak.to_numpy(jets.jet_nparticles if flag == "all" else ak.sum(jets[f"part_{flag}"], axis=1))
            for jets in samples.values()
        ]
        error = np.sqrt(sum(c.var() / len(c) for c in counts)) / len(counts)
        print(f"| {flag} | {real} | {np.mean([c.mean() for c in counts]):.3f} ± {error:.3f} |")


def print_moments(samples: dict[str, ak.Array]) -> None:
    inputs = transformed(ak.concatenate(list(samples.values())))
    print("\n| input | real mean | here | real deviation | here | ratio |\n|---|---|---|---|---|---|")
    for name, (real, spread) in MOMENTS.items():
        mean, error = mean_and_error(inputs[name])
        variance, variance_error = mean_and_error((inputs[name] - mean) ** 2)
        deviation = np.sqrt(variance)
        print(
            f"| {name} | {real} | {mean:.4f} ± {error:.4f} | {spread} "
            f"| {deviation:.4f} ± {variance_error / (2 * deviation):.4f} | {deviation / spread:.3f} |"
        )


def peak(mass: np.ndarray) -> float:
    """Highest 4 GeV bin above 60 GeV, refined by the mean within 8 GeV of it."""
    counts, edges = np.histogram(mass, bins=np.arange(60.0, 260.0, 4.0))
    top = edges[counts.argmax()] + 2
    return float(mass[np.abs(mass - top) < 8].mean())


def print_classes(samples: dict[str, ak.Array]) -> None:
    print(
        "\n| class | jets | constituents (expected) | soft-drop peak, GeV (expected) "
        "| median tau21 (expected) | median tau32 (expected) | mean pT | share 500-550 GeV |"
        "\n|---|---|---|---|---|---|---|---|"
    )
    for name, jets in samples.items():
        tau1, tau2, tau3 = (ak.to_numpy(jets[f"jet_tau{n}"]) for n in (1, 2, 3))
        top = f"{peak(ak.to_numpy(jets.jet_sdmass)):.0f} ({PEAKS[name]})" if name in PEAKS else "-"
        pt = ak.to_numpy(jets.jet_pt)
        print(
            f"| {name} | {len(jets)} | {ak.mean(jets.jet_nparticles):.1f} ({CONSTITUENTS[name]}) | {top} "
            f"| {np.median(tau2[tau1 > 0] / tau1[tau1 > 0]):.3f} ({TAU21.get(name, '-')}) "
            f"| {np.median(tau3[tau2 > 0] / tau2[tau2 > 0]):.3f} ({TAU32.get(name, '-')}) "
            f"| {pt.mean():.0f} | {(pt < 550).mean():.3f} |"
        )


def main() -> None:
    folder = Path(sys.argv[1])
    samples = {name: read(folder, name) for name in CLASSES}
    print_composition(samples)
    print_moments(samples)
    print_classes(samples)


if __name__ == "__main__":
    main()
