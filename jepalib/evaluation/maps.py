"""Maps of embeddings in two dimensions by t-SNE: made, kept on disk, and new jets placed on them."""

from __future__ import annotations

import os
import zipfile
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from jepalib.errors import JepalibError

COMPONENTS = 50  # principal components that t-SNE sees
PERPLEXITY = 30.0
PLACING = 5.0  # perplexity for new jets, which are laid out among the jets of the map only
STILL = 1e-6  # a column that varies by less of the largest value is constant: rounding of float32

# Jets on the map and new jets differ in number.
NewJets = Float[np.ndarray, "_ _"]


@dataclass(frozen=True)
class JetMap:
    """Places of jets on a map on which neighbours stay neighbours (openTSNE).

    Columns that vary are standardised, reduced to at most `COMPONENTS` principal components, and
    laid out from the first two of them. Distances between far groups mean nothing, and neither do
    the axes. All that is needed to place new jets is plain arrays, and is what `save` writes: no
    pickle, so that a map can be opened by other versions of the libraries and trusted from others.

    Attributes:
        places: of the jets that the map was made from.
        reduced: their principal components.
        alive: columns of the embedding that vary; the others are left out.
        mean, spread: of these columns.
        axes: the principal axes, in standardised columns.
        seed: of the layout.
    """

    places: Float[np.ndarray, "jets 2"]
    reduced: Float[np.ndarray, "jets components"]
    alive: Bool[np.ndarray, " dims"]
    mean: Float[np.ndarray, " alive"]
    spread: Float[np.ndarray, " alive"]
    axes: Float[np.ndarray, "components alive"]
    seed: int

    @classmethod
    def fit(cls, x: Float[np.ndarray, "jets dims"], seed: int = 0) -> JetMap:
        """The map of these embeddings; the same for the same seed.

        Raises:
            JepalibError: fewer than 10 jets, values that are not finite, or embeddings of a
                representation that has collapsed: (almost) all alike.
        """
        from openTSNE import TSNE
        from sklearn.decomposition import PCA

        x = _finite(x, least=10)
        spread = x.std(0)
        alive = spread > STILL * max(np.abs(x).max(), 1e-30)
        if not alive.any():
            raise JepalibError("t-SNE: all embeddings are alike, the representation has collapsed")
        mean, spread = x[:, alive].mean(0), spread[alive]
        standard = (x[:, alive] - mean) / spread
        if (different := len(np.unique(standard.round(6), axis=0))) < 10:
            raise JepalibError(
                f"t-SNE: {len(x)} jets have only {different} different embeddings, the representation has "
                "collapsed; a map needs at least 10"
            )
        axes = PCA(min(COMPONENTS, *standard.shape), random_state=seed).fit(standard).components_
        reduced = standard @ axes.T
        perplexity = _perplexity(len(x))
        layout = TSNE(perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1, verbose=False)
        return cls(np.asarray(layout.fit(reduced)), reduced, alive, mean, spread, axes, seed)

    def place(self, x: NewJets) -> Float[np.ndarray, "_ 2"]:
        """Places of other jets on this map, each by itself; the jets of the map stay where they are.

        Args:
            x: embeddings by the same encoder, as many columns as those of the map.

        Raises:
            JepalibError: another number of columns, or values that are not finite.
        """
        x = _finite(x, least=1)
        if x.shape[1] != len(self.alive):
            raise JepalibError(f"t-SNE: the map is of {len(self.alive)} columns, {x.shape[1]} given")
        reduced = ((x[:, self.alive] - self.mean) / self.spread) @ self.axes.T
        return np.asarray(
            self._layout.transform(reduced, perplexity=min(PLACING, _perplexity(len(self.places))))
        )

    @cached_property
    def _layout(self) -> Any:
        """openTSNE's object of the finished map, from the arrays alone, before and after saving."""
        from openTSNE import TSNEEmbedding
        from openTSNE.affinity import PerplexityBasedNN

        near = PerplexityBasedNN(
            self.reduced, _perplexity(len(self.places)), n_jobs=1, random_state=self.seed, verbose=False
        )
        return TSNEEmbedding(self.places, near, random_state=self.seed, n_jobs=1)

    def save(self, path: str | Path) -> Path:
        """All of it into one .npz file, written whole or not at all."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with open(temporary, "wb") as handle:
            np.savez(handle, **asdict(self))
        os.replace(temporary, path)
        return path

    @classmethod
    def load(cls, path: str | Path) -> JetMap:
        """A saved map.

        Raises:
            JepalibError: there is none, or the file is something else or damaged.
        """
        names = [field.name for field in fields(cls)]
        try:
            with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
                arrays = {name: file[name] for name in names}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise JepalibError(f"{path} holds no saved map ({error}); make one with JetMap.save") from None
        return cls(**{**arrays, "seed": int(arrays["seed"])})


def _perplexity(jets: int) -> float:
    return min(PERPLEXITY, (jets - 1) / 3)


def _finite(x: NewJets, least: int) -> NewJets:
    x = np.asarray(x, np.float64)
    if len(x) < least or not np.isfinite(x).all():
        raise JepalibError(f"t-SNE: {len(x)} embeddings; give at least {least} that are finite")
    return x


def same_class_neighbours(
    x: Float[np.ndarray, "jets dims"],
    labels: Int[np.ndarray, " jets"],
    neighbours: int = 10,
    others: tuple[NewJets, Int[np.ndarray, " _"]] | None = None,
) -> float:
    """Share of the nearest neighbours (Euclidean) that are of a jet's own class.

    Args:
        others: places and labels of other jets, each of which looks for its neighbours among `x`;
            by default those of `x` do, themselves left out.

    Raises:
        JepalibError: there are no more jets than neighbours.
    """
    near = _neighbours(x, neighbours, None if others is None else others[0])
    own = labels if others is None else others[1]
    return float((labels[near] == own[:, None]).mean())


def follows(x: Float[np.ndarray, "jets dims"], table: pd.DataFrame, neighbours: int = 10) -> dict[str, float]:
    """How far each column of `table` is ordered on a map: R² of a jet's rank from its neighbours' mean.

    1 where neighbours are equal in it, about -1/neighbours where they tell nothing. Ranks, so
    that a few extreme jets do not decide. Jets without a value are left out for that column, which
    is NaN where no more than `neighbours` have one, as all of a data set that lacks it.
    """
    found = {}
    for name in table:
        there = table[name].notna().to_numpy()
        if there.sum() <= neighbours:
            found[name] = float("nan")
            continue
        rank = table.loc[there, name].rank().to_numpy()
        guess = rank[_neighbours(x[there], neighbours)].mean(1)
        found[name] = float(1 - np.mean((rank - guess) ** 2) / max(rank.var(), 1e-30))
    return found


def _neighbours(x: NewJets, number: int, of: NewJets | None = None) -> Int[np.ndarray, "_ _"]:
    """Rows of `x` nearest to each of `of`, or to each of `x` itself, which is left out."""
    from sklearn.neighbors import NearestNeighbors

    if len(x) <= number:
        raise JepalibError(f"neighbours: {number} of {len(x)} jets asked for; give more jets")
    search = NearestNeighbors(n_neighbors=number).fit(x)
    return search.kneighbors(of, return_distance=False)
