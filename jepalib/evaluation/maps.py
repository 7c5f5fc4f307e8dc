"""Maps of embeddings in two dimensions by t-SNE."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from jepalib.errors import JepalibError

COMPONENTS = 50  # principal components that t-SNE sees
PERPLEXITY = 30


def same_class_neighbours(
    x: Float[np.ndarray, "jets dims"], labels: Int[np.ndarray, " jets"], neighbours: int = 10
) -> float:
    """Share of the nearest neighbours (Euclidean, itself left out) that are of a jet's own class."""
    from sklearn.neighbors import NearestNeighbors

    near = NearestNeighbors(n_neighbors=neighbours + 1).fit(x).kneighbors(x, return_distance=False)
    return float((labels[near[:, 1:]] == labels[:, None]).mean())


def tsne_map(x: Float[np.ndarray, "jets dims"], seed: int = 0) -> Float[np.ndarray, "jets 2"]:
    """Places of the jets on a map on which neighbours stay neighbours (openTSNE).

    Columns are standardised, reduced to `COMPONENTS` principal components, and laid out from the first
    two of them. Distances between far groups mean nothing, and neither do the axes.

    Raises:
        JepalibError: fewer than 10 jets, values that are not finite, or embeddings that are all alike.
    """
    from openTSNE import TSNE
    from sklearn.decomposition import PCA

    x = np.asarray(x, np.float64)
    if len(x) < 10 or not np.isfinite(x).all():
        raise JepalibError(f"t-SNE: {len(x)} embeddings; give at least 10 that are finite")
    spread = x.std(0)
    alive = spread > 1e-9 * max(np.abs(x).max(), 1e-30)
    if not alive.any():
        raise JepalibError("t-SNE: all embeddings are alike, the representation has collapsed")
    x = (x[:, alive] - x[:, alive].mean(0)) / spread[alive]
    reduced = PCA(min(COMPONENTS, *x.shape), random_state=seed).fit_transform(x)
    perplexity = min(PERPLEXITY, (len(x) - 1) / 3)
    layout = TSNE(perplexity=perplexity, initialization="pca", random_state=seed, n_jobs=1, verbose=False)
    return np.asarray(layout.fit(reduced))
