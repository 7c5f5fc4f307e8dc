"""Writes energyflow_reference.json: EFPs of four random jets as the energyflow package gives them.

energyflow 1.4.0 imports only with numpy < 2, because of its wasserstein part, so it has no
place among the requirements. In an environment of its own:

    pip install "numpy<2" energyflow==1.4.0 wasserstein==1.1.0
    python tests/evaluation/energyflow_reference.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np


def main() -> None:
    import energyflow

    efps = energyflow.EFPSet("d<=4", "p==1", measure="hadr", beta=1, normed=True, coords="ptyphim")
    rng = np.random.default_rng(1)
    jets = []
    for count in (2, 3, 12, 40):
        pt = np.sort(np.exp(rng.uniform(0, 5, count)))[::-1]
        events = np.column_stack([pt, rng.normal(0, 0.25, (count, 2))]).astype(np.float32)
        values = efps.compute(events.astype(float))
        jets.append({"particles": events.tolist(), "values": values.tolist()})
    reference = {"version": energyflow.__version__, "graphs": efps.graphs(), "jets": jets}
    Path(__file__).with_suffix(".json").write_text(json.dumps(reference, default=np.ndarray.tolist) + "\n")


if __name__ == "__main__":
    main()
