"""A trained encoder or classifier on one's own files: arrays in the same row order out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import nn

from jepalib.data.datasets import entries_of_file, iterate_files
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.pooling import jet_vector, pool, pooled_names
from jepalib.progress import Progress
from jepalib.training.classifiers import load_classifier
from jepalib.training.runs import Run


def embed(run: Path, files: Sequence[Path], out: Path, quiet: bool = False) -> int:
    """Embeddings of every jet of the files, as Parquet.

    Columns: ``file``, ``row`` (entry in the file), then ``cls_000 …`` (where the
    encoder has a class token), ``mean_000 …`` and ``max_000 …``: the jet representation, and
    mean and maximum of the tokens'.

    Args:
        run: a run folder; the network that its method hands on is used (`Run.encoder`).
        files: of any data set (`data.datasets`), labels not needed.
        out: the Parquet file, replaced in one go at the end.

    Returns:
        Number of rows, equal to the number of jets in the files. Jets that cannot be
        read (no particles, values that are not finite) are rows of NaN, and are counted.

    Raises:
        JepalibError: no such run, or a file that cannot be read.
    """
    encoder = Run.open(run).encoder().to(_device())
    names = pooled_names(encoder.width, with_cls=encoder.has_cls)
    return _write(files, out, names, lambda jets: pool(encoder(jets)), "embed", quiet)


def predict(adapted: Path, files: Sequence[Path], out: Path, quiet: bool = False) -> int:
    """Class probabilities of every jet of the files, as Parquet.

    Columns: ``file``, ``row``, then ``prob_<class>`` for every class. Rows as in `embed`.

    Args:
        adapted: a classifier's folder, such as OUT/models/fine-tuned_mlp_2000_seed0.
    """
    classifier, config = load_classifier(adapted)
    classifier.to(_device())
    names = [f"prob_{name}" for name in config.classes]
    return _write(files, out, names, lambda jets: classifier(jets).softmax(dim=1), "predict", quiet)


def _write(
    files: Sequence[Path],
    out: Path,
    names: list[str],
    function: Callable[[Jets], torch.Tensor],
    title: str,
    quiet: bool,
) -> int:
    """Stream the files through `function` into one Parquet file, chunk by chunk."""
    if not files:
        raise JepalibError(f"{title}: no files given")
    out = Path(out)
    if not out.parent.is_dir():
        raise JepalibError(f"{out}: the folder {out.parent} does not exist")
    if out.is_dir():
        raise JepalibError(f"{out} is a folder; give the name of a file, such as {out / 'jets.parquet'}")
    fields = [pa.field("file", pa.string()), pa.field("row", pa.int64())]
    schema = pa.schema(fields + [pa.field(name, pa.float32()) for name in names])
    total = sum(entries_of_file(Path(f), allow_unlabelled=True) for f in files)
    temporary = out.with_name(f".{out.name}.tmp")
    left_out = 0
    try:
        with pq.ParquetWriter(temporary, schema) as writer, Progress(total, title, quiet=quiet) as bar:
            for file in files:
                for chunk in iterate_files(Path(file), allow_unlabelled=True):
                    values = np.full((chunk.stop - chunk.start, len(names)), np.nan, np.float32)
                    if len(chunk.jets):
                        values[chunk.kept] = _apply(function, chunk.jets)
                    left_out += int((~chunk.kept).sum())
                    columns = [[str(file)] * len(values), np.arange(chunk.start, chunk.stop), *values.T]
                    writer.write_table(pa.table([pa.array(c) for c in columns], schema=schema))
                    bar.add(len(values))
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    if left_out:
        print(f"{title}: {left_out} of {total} jets cannot be read; their rows are NaN", file=sys.stderr)
    return total


def jet_vectors(encoder: nn.Module, jets: Jets) -> Float[np.ndarray, "jets features"]:
    """One vector per jet (`pooling.jet_vector`) of jets in memory, in their order."""
    encoder = encoder.to(_device()).eval()
    return _apply(lambda some: jet_vector(encoder(some)), jets)


@torch.no_grad()
def _apply(
    function: Callable[[Jets], torch.Tensor], jets: Jets, batch: int = 512
) -> Float[np.ndarray, "jets columns"]:
    """`function` in batches, in the order of the jets."""
    rows = torch.arange(len(jets)).split(batch)
    return torch.cat([function(jets.take(r).to(_device())) for r in rows]).float().cpu().numpy()


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
