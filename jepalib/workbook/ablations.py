"""The ablations of HEP-JEPA (arXiv:2502.03933, Tables 4 to 8) as points of a sweep.

In the paper's five tables the row that all others are compared with reads 0.557: contiguous
masks with four targets and no physics bias, registers or augmentations. Every ablation
switches one thing of this baseline. Table 5 says of itself that it has one target.
"""

from __future__ import annotations

import difflib

import numpy as np
import pandas as pd

from jepalib.errors import JepalibError
from jepalib.evaluation.contrasts import contrast, pooled_spread
from jepalib.evaluation.published import published_table
from jepalib.workbook.sweeps import Point, Sweep

PAPER = "2502.03933"
UNTRAINED = "untrained"  # how the rows begin whose encoder keeps its random weights
BASELINE = {
    "masks.targets": "4",
    "masks.target_kind": "contiguous",
    "masks.target_ratio": "0.15,0.2",
    "masks.context_ratio": "0.4,0.75",
    "physics_bias": "false",
    "registers": "0",
}
# What a row changes of the baseline. The widths of the augmentations are not published.
ROWS: dict[str, dict[str, str]] = {
    "baseline": {},
    "random": {"masks.target_kind": "random"},
    "one-target": {"masks.targets": "1"},
    "eight-targets": {"masks.targets": "8"},
    "wide-context": {"masks.targets": "1", "masks.context_ratio": "0.85,1.0"},
    "physics-bias": {"physics_bias": "true"},
    "registers": {"registers": "8"},
    "augmentations": {"augment.rotation": "3.141592", "augment.smearing": "0.05", "augment.boost": "0.5"},
    UNTRAINED: {},
    f"{UNTRAINED}-physics-bias": {"physics_bias": "true"},
    f"{UNTRAINED}-registers": {"registers": "8"},
}
# The published rows of each table and ours; the first is what the others are compared with.
TABLES: dict[int, dict[str, str]] = {
    4: {
        "contiguous; 4 targets": "baseline",
        "contiguous; 1 target": "one-target",
        "contiguous; 8 targets": "eight-targets",
        "random; 4 targets": "random",
    },
    5: {
        "contiguous; context ratio 0.4 to 0.75": "one-target",
        "contiguous; context ratio 0.85 to 1.0": "wide-context",
    },
    6: {"no physics bias": "baseline", "physics bias": "physics-bias"},
    7: {"no registers": "baseline", "registers": "registers"},
    8: {"no augmentations": "baseline", "augmentations": "augmentations"},
}


def sweep(
    data_dir: str,
    ablation_rows: list[str],
    ablation_seeds: int,
    ablation_size: str,
    ablation_steps: int,
    ablation_batch: int,
    probe_jets: int,
    seed: int,
) -> Sweep:
    """A point for every row and seed; arguments are parameters of the notebook `07_ablations`.

    Args:
        ablation_rows: names in `ROWS`; all of them if empty.
        ablation_seeds: how many seeds, from `seed` on.

    Raises:
        JepalibError: there is no such row, none that is trained, or no seed.
    """
    if ablation_seeds < 1:
        raise JepalibError(f"ablation_seeds = {ablation_seeds}: give at least 1")
    for row in ablation_rows:
        if row not in ROWS:
            near = difflib.get_close_matches(row, ROWS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(ROWS)}"
            raise JepalibError(f"ablation_rows: no row '{row}'; {hint}")
    if ablation_rows and all(row.startswith(UNTRAINED) for row in ablation_rows):
        raise JepalibError("ablation_rows: name at least one row that is trained, such as baseline")
    common = {"data_dir": data_dir, "ablation_size": ablation_size, "ablation_batch": ablation_batch}
    points = tuple(
        Point(
            f"{row}-seed{number}",
            {
                **common,
                "row": row,
                "settings": [f"{name}={value}" for name, value in (BASELINE | ROWS[row]).items()],
                "ablation_steps": 0 if row.startswith(UNTRAINED) else ablation_steps,
                "probe_jets": probe_jets,
                "seed": number,
            },
        )
        for number in range(seed, seed + ablation_seeds)
        for row in ablation_rows or ROWS
    )
    return Sweep("07_ablations", "ablation", points, () if data_dir else ("01_explore",))


def summary(points: pd.DataFrame) -> pd.DataFrame:
    """A line per row of `ROWS`: mean over seeds, and `spread`, their standard deviation.

    Args:
        points: of `sweeps.run_points`.
    """
    grouped = points.groupby("row")
    means = grouped[["accuracy", "rank", "loss", "jets_per_second"]].mean()
    means.insert(1, "spread", grouped.accuracy.std())
    counts = grouped.agg(
        seeds=("seed", "nunique"), steps=("steps", "first"), jets_seen=("jets_seen", "first")
    )
    return means.join(counts).reindex([row for row in ROWS if row in means.index])


def beside_published(points: pd.DataFrame) -> pd.DataFrame:
    """Every row of Tables 4 to 8 that was made: `table`, `setting`, ours and `published` accuracy.

    A row that stands in several tables of the paper does so here. The reference of each
    table comes first.
    """
    ours = summary(points)
    lines = []
    for number, rows in TABLES.items():
        theirs = published_table(PAPER, number).set_index("setting").value
        for setting, row in rows.items():
            if row in ours.index:
                lines.append({"table": number, "setting": setting, "row": row, **ours.loc[row]})
                lines[-1]["published"] = float(theirs[setting])
    return pd.DataFrame(lines).astype({"seeds": int, "steps": int, "jets_seen": int})


def trends(points: pd.DataFrame) -> pd.DataFrame:
    """Each row of a table against the table's reference: published and our difference, and the verdict.

    The columns `error`, `low` and `high` are those of `evaluation.contrasts`.
    """
    right = {
        str(row): np.stack([np.load(file) for file in group.sort_values("seed").correct])
        for row, group in points.groupby("row")
    }
    trained = points[~points.row.str.startswith(UNTRAINED)]  # those without training spread otherwise
    spread, freedom = pooled_spread([list(group.accuracy) for _, group in trained.groupby("row")])
    lines = []
    for number, rows in TABLES.items():
        theirs = published_table(PAPER, number).set_index("setting").value
        (against, reference), *others = rows.items()
        for setting, row in others:
            if not {row, reference} <= set(right):
                continue
            found = contrast(right[row], right[reference], spread, freedom)
            published = round(float(theirs[setting] - theirs[against]), 3)
            line = {"table": number, "setting": setting, "against": against, "published": published}
            line |= {"difference": found.difference, "error": found.error, "low": found.low}
            lines.append({**line, "high": found.high, "verdict": found.verdict(published)})
    return pd.DataFrame(lines)
