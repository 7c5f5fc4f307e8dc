"""Confusion matrices show the numbers of the matrix, and differences their sign."""

import numpy as np
import pytest

from jepalib.schema import CLASSES
from jepalib.viz.confusion import confusion, confusion_pair


def scores(strength: float, seed: int = 0, jets: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(jets) % 10
    logits = rng.normal(size=(jets, 10))
    logits[np.arange(jets), labels] += strength
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True), labels


def test_confusion_shows_percent_of_the_true_class():
    p, y = scores(1)
    ax = confusion(p, y).axes[0]
    percent = np.asarray(ax.images[0].get_array())
    assert percent.sum(1) == pytest.approx(np.full(10, 100))
    assert percent[3, 3] == pytest.approx(100 * (p[y == 3].argmax(1) == 3).mean())
    assert ax.texts[33].get_text() == f"{percent[3, 3]:.0f}"
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("most probable class", "true class")


def test_pair_shows_means_their_difference_and_the_spread_of_the_diagonals():
    (_, y), better = scores(1), np.stack([scores(2, seed)[0] for seed in range(3)])
    worse = scores(1, 9)[0][None]
    figure = confusion_pair(better, worse, y, ["fine-tuned", "from-scratch"])
    first, second, difference, diagonal = figure.axes[:4]
    assert [ax.get_title() for ax in figure.axes[:3]] == [
        "fine-tuned", "from-scratch", "fine-tuned minus from-scratch"
    ]  # fmt: skip
    shown = [np.asarray(ax.images[0].get_array()) for ax in (first, second, difference)]
    recall = np.array([[100 * (p[y == c].argmax(1) == c).mean() for c in range(10)] for p in better])
    assert np.diag(shown[0]) == pytest.approx(recall.mean(0))
    assert shown[2] == pytest.approx(shown[0] - shown[1])
    limits = difference.images[0].get_clim()
    assert limits[0] == -limits[1] == -np.abs(shown[2]).max()
    texts = [text.get_text() for text in difference.texts]
    assert len(texts) == 100
    assert texts[0] == f"+{shown[2][0, 0]:.0f}"
    assert not {"-0", "+0"} & set(texts)
    assert any(text.startswith("\N{MINUS SIGN}") for text in texts)
    (points, _, (bars,)), (_, _, no_bars) = (c.lines for c in diagonal.containers)
    assert points.get_xdata() == pytest.approx(recall.mean(0))
    widths = np.array([np.ptp(segment[:, 0]) for segment in bars.get_segments()])
    assert widths == pytest.approx(2 * recall.std(0, ddof=1))
    assert no_bars == ()
    assert diagonal.yaxis_inverted()  # rows as in the matrices
    assert len(diagonal.get_yticks()) == len(CLASSES)


def test_numbers_are_legible_on_dark_and_on_light():
    p, y = scores(4)
    ax = confusion(p, y).axes[0]
    colors = {int(text.get_text()) > 60: text.get_color() for text in ax.texts}
    assert colors == {True: "white", False: "black"}
