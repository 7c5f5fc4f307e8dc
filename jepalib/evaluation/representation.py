"""What an embedding is worth: how much of its space it uses, and what simple probes read off it.

All functions take NumPy arrays or tensors of shape (n, D) and compute in double
precision. A collapsed embedding gives the limits of the definitions, never NaN.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from torch import Tensor

from jepalib.errors import JepalibError
from jepalib.schema import CLASSES

Embedding = Float[np.ndarray, "n dims"] | Float[Tensor, "n dims"]
TrainX = Float[np.ndarray, "train dims"] | Float[Tensor, "train dims"]
TrainY = Int[np.ndarray, " train"] | Int[Tensor, " train"]
TestX = Float[np.ndarray, "test dims"] | Float[Tensor, "test dims"]
TestY = Int[np.ndarray, " test"] | Int[Tensor, " test"]

COLLAPSED = 1e-12  # spread below this part of the embedding's norm is rounding
REGULARISATION = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # the C that `linear_probe` chooses from
ITERATIONS = 1000  # of L-BFGS at most


def _matrix(x: Embedding) -> Float[Tensor, "n dims"]:
    """`x` as a detached float64 tensor on its own device."""
    x = torch.as_tensor(x).detach().double()
    if len(x) < 2:
        raise JepalibError(f"representation: {len(x)} embeddings given, at least 2 needed")
    if not torch.isfinite(x).all():
        raise JepalibError("representation: the embeddings hold NaN or infinity")
    return x


def _singular_values(x: Embedding) -> Float[Tensor, " dims"]:
    """Singular values of the centred embedding, falling, D of them; all zero if it is collapsed."""
    x = _matrix(x)
    values = torch.linalg.svdvals(x - x.mean(0))
    padded = torch.zeros(x.shape[1], dtype=x.dtype, device=x.device)
    padded[: len(values)] = values
    return torch.where(values[0] > COLLAPSED * torch.linalg.norm(x), padded, 0.0)


def spectrum_auc(x: Embedding) -> float:
    """Area under the cumulative explained-variance spectrum, AUC = 1/D Σ_k c_k.

    c_k is the part of the variance in the k largest principal components. An isotropic
    embedding has (D + 1)/2D, about 0.5; one on a line, or on a point, has 1.
    """
    variance = _singular_values(x) ** 2
    if variance[0] == 0:
        return 1.0
    return float((variance.cumsum(0) / variance.sum()).mean())


def effective_rank(x: Embedding) -> float:
    """exp(-Σ p ln p) with p = σ/Σσ of the centred embedding (Roy and Vetterli, EUSIPCO 2007).

    Between 1 (on a line, or on a point) and D (isotropic).
    """
    values = _singular_values(x)
    if values[0] == 0:
        return 1.0
    return float(torch.special.entr(values / values.sum()).sum().exp())


def per_dimension_std(x: Embedding) -> Float[np.ndarray, " dims"]:
    """Standard deviation of each of the D coordinates."""
    return _matrix(x).std(0).cpu().numpy()


def ppe(centroids: Embedding) -> float:
    """Pre-training percent error of P centroids, 100 · (bound - ‖C‖_*) / bound.

    The rows of C are L2-normalised here, ‖·‖_* is the sum of singular values, and its
    bound √(P · min(P, D)) is reached by orthogonal rows: 0 is best, equal rows are worst.
    """
    unit = torch.nn.functional.normalize(_matrix(centroids), dim=1)
    rows, dims = unit.shape
    bound = (rows * min(rows, dims)) ** 0.5
    return float(100 * (bound - torch.linalg.svdvals(unit).sum()) / bound)


@dataclass(frozen=True)
class Probe:
    """What a probe reached on the test jets.

    Attributes:
        accuracy: on the test jets.
        probabilities: of the test jets; classes without training jets have 0.
        setting: the chosen C of `linear_probe`, the number of neighbours of `knn_probe`.
        converged: False if the last fit ran out of iterations.
    """

    accuracy: float
    probabilities: Float[np.ndarray, "n classes"]
    setting: float
    converged: bool = True


def linear_probe(train_x: TrainX, train_y: TrainY, test_x: TestX, test_y: TestY, seed: int = 0) -> Probe:
    """Logistic regression on standardised embeddings.

    C is the best of `REGULARISATION` on a fifth of the training jets (at least one of
    each class), held out with the classes in proportion by `seed`; the probe is then
    fitted again on all of them.

    Raises:
        JepalibError: a class has too few training jets to hold one out.
    """
    train_x, test_x = (_matrix(x).cpu().numpy() for x in (train_x, test_x))
    train_y, test_y = np.asarray(train_y), np.asarray(test_y)
    held = max(len(np.unique(train_y)), round(0.2 * len(train_y)))
    try:
        fit_x, held_x, fit_y, held_y = train_test_split(
            train_x, train_y, test_size=held, stratify=train_y, random_state=seed
        )
    except ValueError as error:
        raise JepalibError(f"linear_probe: {len(train_y)} training jets cannot be split: {error}") from error

    def fitted(c: float, x: np.ndarray, y: np.ndarray) -> tuple[Pipeline, bool]:
        model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=ITERATIONS))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model.fit(x, y)
        return model, not caught

    scores = [fitted(c, fit_x, fit_y)[0].score(held_x, held_y) for c in REGULARISATION]
    best = REGULARISATION[int(np.argmax(scores))]
    model, converged = fitted(best, train_x, train_y)
    return _on_test(model, test_x, test_y, best, converged)


def knn_probe(train_x: TrainX, train_y: TrainY, test_x: TestX, test_y: TestY, neighbours: int = 20) -> Probe:
    """Vote of the nearest training jets by cosine distance of standardised embeddings.

    With fewer training jets than `neighbours`, all of them vote.
    """
    train_x, test_x = (_matrix(x).cpu().numpy() for x in (train_x, test_x))
    neighbours = min(neighbours, len(train_x))
    # Euclidean distance of unit vectors orders as cosine distance does.
    model = make_pipeline(StandardScaler(), Normalizer(), KNeighborsClassifier(neighbours, algorithm="brute"))
    model.fit(train_x, np.asarray(train_y))
    return _on_test(model, test_x, np.asarray(test_y), float(neighbours), True)


def _on_test(model: Pipeline, x: np.ndarray, y: np.ndarray, setting: float, converged: bool) -> Probe:
    seen = model[-1].classes_
    probabilities = np.zeros((len(y), max(len(CLASSES), int(seen.max()) + 1)))
    probabilities[:, seen] = model.predict_proba(x)
    accuracy = float((probabilities.argmax(1) == y).mean())
    return Probe(accuracy, probabilities, setting, converged)
