"""The JetClass branches of reconstructed jets, and the file they are written to."""

from __future__ import annotations

import json
from pathlib import Path

import awkward as ak
import numpy as np
import uproot

from jepalib.data.simulation.angles import pt_eta_phi, wrapped
from jepalib.data.simulation.clustering import Clustered, substructure
from jepalib.data.simulation.detector import Objects
from jepalib.data.simulation.truth import Resonances
from jepalib.data.simulation.whole import not_whole, written_whole
from jepalib.schema import CLASSES, TREE

FLAGS = ("isChargedHadron", "isNeutralHadron", "isPhoton", "isElectron", "isMuon")
PARAMETERS = "parameters"  # name of the string in the file that says how it was made

# JetClass itself mixes the types of its labels.
LABEL_TYPES = {name: np.bool_ for name in CLASSES} | {
    "QCD": np.float32,
    "Zqq": np.int32,
    "Wqq": np.int32,
    "Tbqq": np.int32,
    "Tbl": np.int32,
}

Branches = dict[str, ak.Array | np.ndarray]


def jet_branches(
    name: str, objects: Objects, jets: Clustered, truth: Resonances, matched: np.ndarray
) -> Branches:
    """All branches of jets of class `name`: constituents, observables, labels, truth.

    Args:
        name: class of the jets.
        objects, jets: the batch's objects and the jets of them.
        truth, matched: resonances, and the row of each jet's own (-1: zeros are written).

    Returns:
        Branch -> one value or list per jet; "part" holds the constituents as records.
    """
    pt, eta, phi = pt_eta_phi(jets.p4)
    mass, taus = substructure(objects.p4[jets.members], jets.counts)
    branches: Branches = {"part": ak.unflatten(ak.zip(_constituents(objects, jets, eta, phi)), jets.counts)}
    flat = {"pt": pt, "eta": eta, "phi": phi, "energy": jets.p4[:, 3], "nparticles": jets.counts}
    flat |= {"sdmass": mass} | {f"tau{n + 1}": taus[:, n] for n in range(4)}
    branches |= {f"jet_{key}": values.astype(np.float32) for key, values in flat.items()}
    for label in CLASSES:
        branches[f"label_{label}"] = np.full(len(pt), label == name, dtype=LABEL_TYPES[label])
    return branches | _truth_branches(truth, matched)


def _constituents(
    objects: Objects, jets: Clustered, eta: np.ndarray, phi: np.ndarray
) -> dict[str, np.ndarray]:
    rows, jet = jets.members, np.repeat(np.arange(len(jets.counts)), jets.counts)
    px, py, pz, energy = objects.p4[rows].T
    _, own_eta, own_phi = pt_eta_phi(objects.p4[rows])
    d0, d0err, dz, dzerr = objects.impact[rows].T
    values = {
        "px": px,
        "py": py,
        "pz": pz,
        "energy": energy,
        "deta": np.where(eta[jet] >= 0, 1.0, -1.0) * (own_eta - eta[jet]),
        "dphi": wrapped(own_phi - phi[jet]),
        "d0val": d0,
        "d0err": d0err,
        "dzval": dz,
        "dzerr": dzerr,
        "charge": objects.charge[rows],
    }
    columns = {key: value.astype(np.float32) for key, value in values.items()}
    return columns | {flag: (objects.kind[rows] == i).astype(np.int32) for i, flag in enumerate(FLAGS)}


def _truth_branches(truth: Resonances, matched: np.ndarray) -> Branches:
    def of_jet(values: np.ndarray, kind: type) -> np.ndarray:
        chosen = np.zeros(len(matched), dtype=kind)
        chosen[matched >= 0] = values[matched[matched >= 0]]
        return chosen

    return {
        "aux_genpart_eta": of_jet(truth.eta, np.float32),
        "aux_genpart_phi": of_jet(truth.phi, np.float32),
        "aux_genpart_pid": of_jet(truth.pid, np.int32),
        "aux_genpart_pt": of_jet(truth.pt, np.float32),
        "aux_truth_match": of_jet(truth.code, np.int32),
    }


def join(chunks: list[Branches], jets: int) -> Branches:
    """The first `jets` jets of the chunks, one after another."""
    return {name: ak.concatenate([chunk[name] for chunk in chunks])[:jets] for name in chunks[0]}


def write_file(path: Path, branches: Branches, parameters: dict[str, object]) -> None:
    """Write one ROOT file, whole or not at all.

    Raises:
        JepalibError: the file cannot be written (no room, no permission).
    """
    with written_whole(path) as temporary, uproot.recreate(temporary, compression=uproot.ZLIB(9)) as file:
        types = {name: _branch_type(values) for name, values in branches.items()}
        file.mktree(TREE, types, initial_basket_capacity=2)  # all of it goes into one
        file[TREE].extend(branches)
        file[PARAMETERS] = json.dumps(parameters, sort_keys=True)


def _branch_type(values: ak.Array | np.ndarray) -> object:
    array = ak.Array(values)
    return array.type.content if array.ndim > 1 else ak.to_numpy(array).dtype


def read_parameters(path: Path) -> dict[str, object]:
    """How a simulated file was made, with the number of jets that it holds.

    Raises:
        JepalibError: the file cannot be read, or was not written by the simulation.
    """
    try:
        with uproot.open(path) as file:
            return json.loads(str(file[PARAMETERS])) | {"jets": int(file[TREE].num_entries)}
    except Exception as error:  # uproot raises many kinds for a broken file
        raise not_whole(path, error) from error
