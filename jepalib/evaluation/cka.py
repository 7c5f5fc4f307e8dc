"""How alike two representations of the same jets are: linear centred kernel alignment (CKA).

Kornblith et al., "Similarity of neural network representations revisited" (arXiv:1905.00414),
Sec. 3. Rotating or scaling a representation, or shifting it, changes nothing, so that networks of
other widths and other seeds can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from jepalib.errors import JepalibError
from jepalib.evaluation.representation import COLLAPSED

Matrix = Float[np.ndarray, "_ _"]  # a row per jet; two representations differ in width


def linear_cka(x: Matrix, y: Matrix, debiased: bool = True) -> float:
    """Similarity of two representations of the same jets: 1 if they differ by a rotation and a scale.

    With centred columns CKA = ‖XᵀY‖² / (‖XᵀX‖ ‖YᵀY‖) (Frobenius norms): only D × D matrices are
    made. On n jets this is too large by about D/n even where the two have nothing in common. The
    debiased form replaces each of the three by the unbiased estimate of the Hilbert–Schmidt
    independence criterion (Song et al., JMLR 13 (2012) 1393, Eq. 5; constants cancel): it is 0 on
    average for independent ones, and may be a little below.

    Args:
        x, y: one row per jet, any number of columns each.

    Raises:
        JepalibError: rows that do not fit, fewer than 4 jets, values that are not finite, or a
            representation that is the same for all jets.
    """
    if len(x) != len(y):
        raise JepalibError(f"CKA: {len(x)} jets in one representation, {len(y)} in the other")
    return float(_cka(_prepared(x), _prepared(y), debiased))


def cka_table(
    rows: Mapping[str, Matrix], columns: Mapping[str, Matrix], debiased: bool = True
) -> pd.DataFrame:
    """`linear_cka` of each of `rows` with each of `columns`, by their names.

    Raises:
        JepalibError: as `linear_cka`.
    """
    prepared = {id(x): _prepared(x) for x in (*rows.values(), *columns.values())}
    if len({len(x) for x in prepared.values()}) > 1:
        raise JepalibError("CKA: the representations are not all of the same number of jets")
    values = [
        [_cka(prepared[id(x)], prepared[id(y)], debiased) for y in columns.values()] for x in rows.values()
    ]
    return pd.DataFrame(values, index=list(rows), columns=list(columns))


def chance(x: Matrix, y: Matrix, permutations: int, seed: int = 0) -> Float[np.ndarray, " permutations"]:
    """The debiased CKA of jets paired with other jets: what is left of it is chance."""
    rng, x, y = np.random.default_rng(seed), _prepared(x), _prepared(y)
    return np.array([_cka(x, y[rng.permutation(len(y))], True) for _ in range(permutations)])


def _prepared(x: Matrix) -> Matrix:
    """Centred, in double precision, and scaled to a mean square row of 1."""
    x = np.asarray(x, np.float64)
    if len(x) < 4 or not np.isfinite(x).all():
        raise JepalibError(f"CKA: {len(x)} embeddings; give at least 4 that are finite")
    centred = x - x.mean(0)
    size = np.linalg.norm(centred)
    if size <= COLLAPSED * max(np.linalg.norm(x), 1e-300):
        raise JepalibError("CKA: all embeddings are alike, the representation has collapsed")
    return centred * (len(x) ** 0.5 / size)


def _cka(x: Matrix, y: Matrix, debiased: bool) -> float:
    product = _dependence(x, x, debiased) * _dependence(y, y, debiased)
    return _dependence(x, y, debiased) / np.sqrt(product)


def _dependence(x: Matrix, y: Matrix, debiased: bool) -> float:
    """‖XᵀY‖² of centred columns, or n(n - 3) times the unbiased HSIC of their linear kernels."""
    biased = float(np.sum((x.T @ y) ** 2))
    if not debiased:
        return biased
    n, k, l = len(x), (x**2).sum(1), (y**2).sum(1)  # noqa: E741  diagonals of the kernels K and L
    return biased - n / (n - 2) * float(k @ l) + float(k.sum() * l.sum()) / ((n - 1) * (n - 2))
