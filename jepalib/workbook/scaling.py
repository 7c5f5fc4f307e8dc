"""The sweep of `13_scaling`: pre-trainings over sizes and unique jets, measured on their way.

The learning rate is constant after a warm-up of so many jets, the same for all lengths, and so is
the pace of a teacher. A snapshot is then what a run that ended there would be; under a cosine,
snapshots have too high a rate for their length and look worse than runs of their own (Hoffmann et
al., arXiv:2203.15556; Hägele et al., arXiv:2405.18392, on constant rates). One run gives a whole curve.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from jepalib.data.store import JetStore
from jepalib.errors import JepalibError
from jepalib.evaluation.scaling import FOR_LAW, PowerLaw, fit_power_law, frontier
from jepalib.methods.registry import find_method
from jepalib.models.encoders import sizes_of
from jepalib.training.config import PretrainConfig, setting_names
from jepalib.training.presets import pretrain_config
from jepalib.workbook.sweeps import Point, Sweep

AXES = {"views": "jets_seen", "unique jets": "different", "parameters": "parameters", "operations": "flops"}


def sweep(
    data_dir: str,
    method: str,
    scaling_sizes: list[str],
    scaling_jets: list[int],
    scaling_views: list[int],
    scaling_batch: int,
    scaling_warmup: int,
    scaling_seeds: list[int],
    scaling_probe_jets: int,
) -> Sweep:
    """A point for every size on all jets, and for the last size on fewer; each with every seed.

    Args:
        scaling_jets: numbers of unique jets beside all of them.
        scaling_views: increasing numbers of jets seen at which each point is measured; those on
            fewer jets at the last alone.
        scaling_warmup: jets over which the learning rate rises.

    Raises:
        JepalibError: no size or seed, an unknown size, or views that do not increase.
    """
    preset = pretrain_config(method, "nano")
    known = sizes_of(find_method(method).architecture("nano", preset.inputs, preset.objective).kind)
    for size in scaling_sizes:
        if size not in known:
            raise JepalibError(f"scaling_sizes: no size '{size}' of {method}; there are: {', '.join(known)}")
    if not scaling_sizes or not scaling_seeds:
        raise JepalibError("scaling_sizes, scaling_seeds: give at least one of each")
    if not scaling_views or scaling_views[0] < 1 or np.any(np.diff(scaling_views) <= 0):
        raise JepalibError(f"scaling_views = {scaling_views}: give numbers of jets, increasing")
    if any(jets < 1 for jets in scaling_jets):
        raise JepalibError(
            f"scaling_jets = {scaling_jets}: give numbers of jets; all of them come by themselves"
        )
    kinds = [(size, 0, list(scaling_views)) for size in scaling_sizes]
    kinds += [(scaling_sizes[-1], jets, [scaling_views[-1]]) for jets in scaling_jets]
    if not 0 <= scaling_warmup <= scaling_views[0]:
        raise JepalibError(
            f"scaling_warmup = {scaling_warmup}: give a number of jets, at most the first of scaling_views"
        )
    common = {"data_dir": data_dir, "method": method, "scaling_batch": scaling_batch}
    common["scaling_warmup"] = scaling_warmup
    points = tuple(
        Point(
            f"{size}-{jets or 'all'}-seed{seed}",
            {
                **common,
                "size": size,
                "unique_jets": jets,
                "views": views,
                "scaling_probe_jets": scaling_probe_jets,
                "seed": seed,
            },
        )
        for seed in scaling_seeds
        for size, jets, views in reversed(kinds)  # the costly ones first
    )
    return Sweep("13_scaling", "scaling", points, () if data_dir else ("01_explore",))


def point_config(
    store: JetStore,
    method: str,
    size: str,
    unique_jets: int,
    views: list[int],
    batch_size: int,
    warmup_jets: int,
    seed: int,
) -> PretrainConfig:
    """A pre-training that sees the last of `views` jets and keeps snapshots at the others.

    Args:
        unique_jets: how many different ones; 0 for all of the training split.
        warmup_jets: over which the learning rate rises.
    """
    there = len(store.rows("train"))
    unique = min(unique_jets or there, there)
    batches = -(-unique // batch_size)  # in an epoch, nearly equal
    steps = -(-views[-1] * batches // unique)
    config = pretrain_config(method, size)
    settings = {"steps": steps, "batch_size": batch_size, "seed": seed, "lr_final": config.lr}
    settings["warmup"] = warmup_jets * batches / (steps * unique)
    settings |= {"max_jets": unique_jets if unique_jets < there else 0, "snapshots": tuple(views[:-1])}
    settings |= {"log_every": max(1, steps // 10), "checkpoint_every": max(1, steps // 4)}
    if any(name.endswith("ema_end") for name in setting_names(config)):
        settings["ema_end"] = config.objective.ema_start
    return pretrain_config(method, size, settings)


def measurements(points: pd.DataFrame) -> pd.DataFrame:
    """A row per point and number of views: `loss`, `error` of the probe, and the numbers on the axes.

    Args:
        points: of `sweeps.run_points`.
    """
    rows = []
    for point in points.to_dict("records"):
        for measured in point.pop("measured"):
            flops = measured["jets_seen"] * point["step_flops"]
            different = min(point["unique"], measured["jets_seen"])  # a short run does not see all of them
            rows.append(
                {
                    **point,
                    **measured,
                    "flops": flops,
                    "different": different,
                    "error": 1 - measured["accuracy"],
                }
            )
    return pd.DataFrame(rows).sort_values(["parameters", "unique", "views", "seed"], ignore_index=True)


def axis_rows(table: pd.DataFrame, axis: str, size: str) -> pd.DataFrame:
    """The measurements that lie on one of `AXES`.

    Args:
        size: whose jets seen and unique jets are varied.
    """
    whole = table[table.unique == table.unique.max()]
    last = table[table.views == table.views.max()]
    if axis == "views":
        return whole[whole["size"] == size]
    if axis == "unique jets":
        return last[last["size"] == size]
    if axis == "parameters":
        return whole[whole.views == table.views.max()]
    means = whole.groupby(["size", "views"], sort=False)[["flops", "loss"]].mean()
    best = means[frontier(means.flops.to_numpy(), means.loss.to_numpy())].index
    return whole[pd.MultiIndex.from_frame(whole[["size", "views"]]).isin(best)]


def as_grid(rows: pd.DataFrame, axis: str, what: str) -> tuple[np.ndarray, np.ndarray]:
    """x of every point of an axis, and its values by seed; points that a seed lacks are left out."""
    grid = rows.pivot_table(what, ["size", "unique", "views"], "seed").dropna()
    x = rows.groupby(["size", "unique", "views"])[AXES[axis]].mean().loc[grid.index].to_numpy(float)
    order = np.argsort(x)
    return x[order], grid.to_numpy(float)[order]


def laws(table: pd.DataFrame, what: str, size: str) -> dict[str, PowerLaw]:
    """The power law along each axis that has points enough.

    Args:
        what: "loss", or "error" of the probe.
    """
    found = {}
    for axis in AXES:
        x, values = as_grid(axis_rows(table, axis, size), axis, what)
        if len(x) >= FOR_LAW:
            found[axis] = fit_power_law(x, values)
    return found
