"""`vector_branches.root`: ten jets with `std::vector` branches, as CERN's ROOT writes them.

uproot cannot write such branches, and the downloads hold nothing else. The file was made by
``python tests/data/vector_fixture.py`` in an environment with ``pip install root numpy``
(ROOT 6.40); `values` gives its content, exact in float32, to compare with.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

PATH = Path(__file__).with_name("vector_branches.root")
COUNTS = (3, 1, 7, 130, 2, 40, 5, 12, 9, 4)
CLASSES = ("QCD", "Hbb", "Hcc", "Hgg", "H4q", "Hqql", "Zqq", "Wqq", "Tbqq", "Tbl")
PARTICLE = (
    "px", "py", "pz", "energy", "deta", "dphi", "d0val", "d0err", "dzval", "dzerr",
    "charge", "isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon",
)  # fmt: skip
JET = ("pt", "eta", "phi", "energy", "nparticles", "sdmass", "tau1", "tau2", "tau3", "tau4")
LABEL_LEAVES = "F" + 5 * "O" + 4 * "I"  # float, bool and int32, as in the downloads


def values(jet: int) -> tuple[np.ndarray, np.ndarray]:
    """Particles (n, 16) in falling pT, and observables (10), of one jet; its class is `jet`."""
    number = np.arange(COUNTS[jet])[:, None]
    column = np.arange(16)[None]
    particles = column + number / 8 + 32 * jet
    particles[:, 0] = 256 - number[:, 0]
    particles[:, 1] = 0
    particles[:, 11:] = (number + column[:, 11:]) % 2
    return particles.astype(np.float32), (100 * jet + np.arange(10) / 4).astype(np.float32)


def write() -> None:
    """Writes the file with ROOT."""
    import ROOT

    file = ROOT.TFile(str(PATH), "RECREATE")
    tree = ROOT.TTree("tree", "tree")
    vectors = {name: ROOT.std.vector("int" if name.startswith("is") else "float")() for name in PARTICLE}
    for name, vector in vectors.items():
        tree.Branch(f"part_{name}", vector)
    flat = {name: np.zeros(1, np.float32) for name in JET}
    for name, value in flat.items():
        tree.Branch(f"jet_{name}", value, f"jet_{name}/F")
    types = {"F": np.float32, "O": np.bool_, "I": np.int32}
    labels = {name: np.zeros(1, types[leaf]) for name, leaf in zip(CLASSES, LABEL_LEAVES)}
    for (name, value), leaf in zip(labels.items(), LABEL_LEAVES):
        tree.Branch(f"label_{name}", value, f"label_{name}/{leaf}")
    for jet in range(len(COUNTS)):
        particles, observables = values(jet)
        for column, (name, vector) in enumerate(vectors.items()):
            vector.clear()
            for value in particles[:, column]:
                vector.push_back(int(value) if name.startswith("is") else float(value))
        for column, name in enumerate(JET):
            flat[name][0] = observables[column]
        for number, name in enumerate(CLASSES):
            labels[name][0] = number == jet
        tree.Fill()
    tree.Write()
    file.Close()


if __name__ == "__main__":
    write()
