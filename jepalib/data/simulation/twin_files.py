"""The files of the twins, in exactly the layouts of the public data sets."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from jepalib import __version__
from jepalib.data.simulation.whole import not_whole, written_whole

TOP_CONSTITUENTS = 200  # columns E_0 … PZ_199
TABLE = "table"
PARAMETERS = "parameters"  # how a file was made, in JSON
TTV = (0, 2, 1)  # train, val, test; the public column repeats what the file's name says


@dataclass(frozen=True)
class TwinJets:
    """Jets on the way to a file.

    Attributes:
        p4: (px, py, pz, E) in GeV of the particles, falling pT, one jet after another.
        pid: PDG id of each (0 in top tagging, which has none).
        counts: particles of each jet.
        labels: class of each jet.
        truth: four-momentum of the top (zero where there is none).
    """

    p4: Float[np.ndarray, "particles 4"]
    pid: Int[np.ndarray, " particles"]
    counts: Int[np.ndarray, " jets"]
    labels: Int[np.ndarray, " jets"]
    truth: Float[np.ndarray, "jets 4"]

    def take(self, rows: Int[np.ndarray, " chosen"]) -> TwinJets:
        """The jets of the given rows, in that order."""
        counts = self.counts[rows]
        first = (np.cumsum(self.counts) - self.counts)[rows]
        own = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(first, counts) + own
        return TwinJets(self.p4[places], self.pid[places], counts, self.labels[rows], self.truth[rows])

    def padded(self, length: int, values: Float[np.ndarray, "particles 4"]) -> np.ndarray:
        """`values` as (jets, length, 4), zero padded, the softest cut."""
        jet = np.repeat(np.arange(len(self.counts)), self.counts)
        rank = np.arange(len(jet)) - np.repeat(np.cumsum(self.counts) - self.counts, self.counts)
        inside = rank < length
        table = np.zeros((len(self.counts), length, 4))
        table[jet[inside], rank[inside]] = values[inside]
        return table


def join_jets(parts: list[TwinJets]) -> TwinJets:
    """The jets of all parts, one after another."""
    names = ("p4", "pid", "counts", "labels", "truth")
    return TwinJets(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def write_twin(path: Path, dataset: str, jets: TwinJets, split: int, parameters: dict[str, object]) -> None:
    """Write one file of data set `dataset` ("top" or "quark-gluon"), whole or not at all.

    Args:
        split: 0 train, 1 val, 2 test.
        parameters: how it was made; written into the file.

    Raises:
        JepalibError: the file cannot be written (no room, no permission).
    """
    made_by = {"jepalib": __version__, "pythia8mc": version("pythia8mc"), "fastjet": version("fastjet")}
    note = json.dumps(parameters | made_by, sort_keys=True)
    with written_whole(path) as temporary:
        if dataset == "top":
            frame = top_table(jets, split)
            with pd.HDFStore(temporary, "w", complevel=5, complib="blosc") as store:
                store.put(TABLE, frame, format="table", track_times=False)
                store.get_storer(TABLE).attrs[PARAMETERS] = note
        else:
            x, y = quark_gluon_arrays(jets)
            with temporary.open("wb") as file:
                np.savez_compressed(file, X=x, y=y, **{PARAMETERS: np.array(note)})


def top_table(jets: TwinJets, split: int) -> pd.DataFrame:
    """Columns E_0, PX_0, PY_0, PZ_0 … PZ_199, truthE … truthPZ, ttv, is_signal_new."""
    table = jets.padded(TOP_CONSTITUENTS, jets.p4)[..., [3, 0, 1, 2]].astype(np.float32)
    columns = [f"{c}_{i}" for i in range(TOP_CONSTITUENTS) for c in ("E", "PX", "PY", "PZ")]
    columns += ["truthE", "truthPX", "truthPY", "truthPZ"]
    truth = jets.truth[:, [3, 0, 1, 2]].astype(np.float32)
    frame = pd.DataFrame(np.concatenate([table.reshape(len(table), -1), truth], axis=1), columns=columns)
    flags = pd.DataFrame({"ttv": np.full(len(frame), TTV[split]), "is_signal_new": jets.labels})
    return pd.concat([frame, flags.astype(np.int64)], axis=1)


def quark_gluon_arrays(
    jets: TwinJets,
) -> tuple[Float[np.ndarray, "jets length 4"], Float[np.ndarray, " jets"]]:
    """X (pT, rapidity, phi in [0, 2 pi), PDG id; as long as the longest jet) and y."""
    px, py, pz, energy = jets.p4.T
    transverse = np.sqrt(np.maximum(energy**2 - pz**2, 1e-18))
    rapidity = np.arcsinh(pz / transverse)
    phi = np.remainder(np.arctan2(py, px), 2 * np.pi)
    values = np.stack([np.hypot(px, py), rapidity, phi, jets.pid.astype(np.float64)], axis=1)
    return jets.padded(int(jets.counts.max()), values), jets.labels.astype(np.float64)


def read_twin_parameters(path: Path) -> dict[str, object]:
    """How a simulated file was made, with the number of jets that it holds.

    Raises:
        JepalibError: the file cannot be read, or was not written by the simulation.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                return json.loads(str(arrays[PARAMETERS])) | {"jets": len(arrays["y"])}
        with pd.HDFStore(path, "r") as store:
            storer = store.get_storer(TABLE)
            return json.loads(storer.attrs[PARAMETERS]) | {"jets": int(storer.nrows)}
    except Exception as error:  # a broken file raises many kinds
        raise not_whole(path, error) from error
