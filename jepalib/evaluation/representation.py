"""What an embedding is worth: how much of its space it uses, and what simple probes read off it.

All functions take NumPy arrays or tensors of shape (n, D) and compute in double
precision. A collapsed embedding gives the limits of the definitions, never NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.optimize import minimize
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

COLLAPSED = 1e-6  # spread below this part of the embedding's norm is rounding of float32 networks
REGULARISATION = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # the C that `linear_probe` chooses from
SVM_REGULARISATION = (1e-4, 1e-3, 1e-2, 1e-1)  # the C that `svm_probe` chooses from, rising
ITERATIONS = 1000  # of L-BFGS at most


def _matrix(x: Embedding) -> Float[Tensor, "n dims"]:
    """`x` as a detached float64 tensor on its own device."""
    x = torch.as_tensor(x).detach().double()
    if len(x) < 2:
        raise JepalibError(f"representation: {len(x)} embeddings given, at least 2 needed")
    if not torch.isfinite(x).all():
        raise JepalibError("representation: the embeddings hold NaN or infinity")
    return x


def _labels(y: Int[np.ndarray, " n"] | Int[Tensor, " n"]) -> Int[np.ndarray, " n"]:
    """Class indices as an array; an unlabelled jet would be taken for one of the last class."""
    y = np.asarray(y)
    if missing := int((y < 0).sum()):
        raise JepalibError(f"representation: {missing} of {len(y)} jets have no label; leave them out")
    return y


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


def class_centroids(
    x: Float[np.ndarray, "n dims"], labels: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "classes dims"]:
    """Mean of the L2-normalised embeddings of each class that is there, in the order of the labels."""
    unit = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-30)
    return np.stack([unit[labels == label].mean(0) for label in np.unique(labels)]).astype(np.float64)


@dataclass(frozen=True)
class Probe:
    """What a probe reached on the test jets.

    Attributes:
        accuracy: on the test jets.
        predicted: class index of each test jet.
        probabilities: of the test jets; classes without training jets have 0. None for
            `svm_probe`, which has none.
        setting: the chosen C of `linear_probe` and `svm_probe`, the number of neighbours
            of `knn_probe`.
        converged: False if the last fit ran out of iterations.
    """

    accuracy: float
    predicted: Int[np.ndarray, " n"]
    probabilities: Float[np.ndarray, "n classes"] | None
    setting: float
    converged: bool = True


def linear_probe(train_x: TrainX, train_y: TrainY, test_x: TestX, test_y: TestY, seed: int = 0) -> Probe:
    """Logistic regression on standardised embeddings.

    C is the best of `REGULARISATION` on a fifth of the training jets (at least one of
    each class), held out with the classes in proportion by `seed`; the probe is then
    fitted again on all of them.

    Raises:
        JepalibError: a jet has no label, or a class too few training jets to hold one out.
    """
    train_x, test_x = (_matrix(x).cpu().numpy() for x in (train_x, test_x))
    train_y, test_y = _labels(train_y), _labels(test_y)
    fit_x, held_x, fit_y, held_y = _held_out(train_x, train_y, seed, "linear_probe")

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


def svm_probe(train_x: TrainX, train_y: TrainY, test_x: TestX, test_y: TestY, seed: int = 0) -> Probe:
    """Linear support vector machines, one class against the rest, on standardised embeddings.

    The probe of HEP-JEPA's ablations (arXiv:2502.03933, Sec. 6). C is chosen as in
    `linear_probe`, from `SVM_REGULARISATION`. The objective is that of scikit-learn's
    LinearSVC (squared hinge); L-BFGS on all classes at once reaches its minimum tens of
    times sooner than liblinear does on 50,000 jets.

    Raises:
        JepalibError: a jet has no label, or a class too few training jets to hold one out.
    """
    train_x, test_x = (_matrix(x).cpu().numpy() for x in (train_x, test_x))
    train_y, test_y = _labels(train_y), _labels(test_y)
    scaler = StandardScaler().fit(train_x)
    train_x, test_x = (scaler.transform(x).astype(np.float32) for x in (train_x, test_x))
    classes = np.unique(train_y)
    fit_x, held_x, fit_y, held_y = _held_out(train_x, train_y, seed, "svm_probe")
    tried, start = [], np.zeros((train_x.shape[1] + 1, len(classes)))
    for c in SVM_REGULARISATION:
        start, _ = _margins(c, fit_x, fit_y[:, None] == classes, start)
        score = (classes[_scores(held_x, start).argmax(1)] == held_y).mean()
        tried.append((score, c, start))
    _, best, start = max(tried, key=lambda entry: entry[0])
    weights, converged = _margins(best, train_x, train_y[:, None] == classes, start)
    predicted = classes[_scores(test_x, weights).argmax(1)]
    return Probe(float((predicted == test_y).mean()), predicted, None, best, converged)


def _scores(x: Float[np.ndarray, "n dims"], weights: np.ndarray) -> Float[np.ndarray, "n classes"]:
    return x @ weights[:-1].astype(x.dtype) + weights[-1].astype(x.dtype)


def _margins(
    c: float, x: np.ndarray, member: np.ndarray, start: Float[np.ndarray, "weights classes"]
) -> tuple[Float[np.ndarray, "weights classes"], bool]:
    """Weights (the last row is the offset) that minimise ½‖w‖² + C Σ max(0, 1 - ±(w·x + b))².

    Args:
        member: (jets, classes), True where the jet is of the class.
    """
    sign = np.where(member, 1, -1).astype(x.dtype)

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(start.shape)
        missing = np.maximum(1 - sign * _scores(x, weights), 0)
        slope = -2 * c * sign * missing
        gradient = weights + np.vstack([x.T @ slope, slope.sum(0)])
        loss = 0.5 * np.sum(weights**2) + c * np.sum(missing**2, dtype=np.float64)
        return float(loss), gradient.ravel()

    options = {"maxiter": ITERATIONS, "ftol": 1e-7, "maxcor": 20}
    found = minimize(objective, start.ravel(), jac=True, method="L-BFGS-B", options=options)
    return found.x.reshape(start.shape), bool(found.success)


def _held_out(
    x: np.ndarray, y: np.ndarray, seed: int, probe: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(fit x, held x, fit y, held y): a fifth held out, at least one jet of each class."""
    held = max(len(np.unique(y)), round(0.2 * len(y)))
    try:
        return tuple(train_test_split(x, y, test_size=held, stratify=y, random_state=seed))
    except ValueError as error:
        raise JepalibError(f"{probe}: {len(y)} training jets cannot be split: {error}") from error


def knn_probe(train_x: TrainX, train_y: TrainY, test_x: TestX, test_y: TestY, neighbours: int = 20) -> Probe:
    """Vote of the nearest training jets by cosine distance of standardised embeddings.

    With fewer training jets than `neighbours`, all of them vote.

    Raises:
        JepalibError: a jet has no label.
    """
    train_x, test_x = (_matrix(x).cpu().numpy() for x in (train_x, test_x))
    neighbours = min(neighbours, len(train_x))
    # Euclidean distance of unit vectors orders as cosine distance does.
    model = make_pipeline(StandardScaler(), Normalizer(), KNeighborsClassifier(neighbours, algorithm="brute"))
    model.fit(train_x, _labels(train_y))
    return _on_test(model, test_x, _labels(test_y), float(neighbours), True)


def _on_test(model: Pipeline, x: np.ndarray, y: np.ndarray, setting: float, converged: bool) -> Probe:
    seen = model[-1].classes_
    probabilities = np.zeros((len(y), max(len(CLASSES), int(seen.max()) + 1)))
    probabilities[:, seen] = model.predict_proba(x)
    predicted = probabilities.argmax(1)
    return Probe(float((predicted == y).mean()), predicted, probabilities, setting, converged)


def measures(
    train_x: TrainX, train_y: TrainY, test_x: TestX, test_y: TestY, seed: int = 0
) -> dict[str, float]:
    """All of this module on one embedding: of the test jets, and by probes fitted to the training jets.

    Keys: dims; rank, spectrum_auc; ppe of the class centroids, and ppe_jets with every jet its own
    centroid (in MMCR centroids are means over views of one sample, and here a jet has one view);
    accuracies knn, linear and svm, and error, the largest standard error of these that the number
    of test jets leaves.
    """
    test = _matrix(test_x).cpu().numpy()
    reached = {
        "knn": knn_probe(train_x, train_y, test_x, test_y).accuracy,
        "linear": linear_probe(train_x, train_y, test_x, test_y, seed).accuracy,
        "svm": svm_probe(train_x, train_y, test_x, test_y, seed).accuracy,
    }
    return {
        "dims": float(test.shape[1]),
        "rank": effective_rank(test),
        "spectrum_auc": spectrum_auc(test),
        "ppe": ppe(class_centroids(test, np.asarray(test_y))),
        "ppe_jets": ppe(test),
        **reached,
        "error": max((a * (1 - a) / len(test)) ** 0.5 for a in reached.values()),
    }


def measures_by_layer(
    train: Mapping[str, TrainX], train_y: TrainY, test: Mapping[str, TestX], test_y: TestY, seed: int = 0
) -> pd.DataFrame:
    """`measures` of every layer of an encoder, a row each; column `layer` has its name.

    Args:
        train, test: an embedding by layer (`training.layers.encode_layers`).

    Raises:
        JepalibError: training and test have other layers.
    """
    if list(train) != list(test):
        raise JepalibError(f"layers {list(train)} in training, {list(test)} in test")
    rows = [{"layer": name, **measures(train[name], train_y, test[name], test_y, seed)} for name in train]
    return pd.DataFrame(rows)
