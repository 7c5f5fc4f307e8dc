"""Bars of class probabilities, a wrong prediction hatched; galleries of them, and the jets they show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure

from jepalib.errors import JepalibError
from jepalib.evaluation import picks
from jepalib.viz import galleries
from jepalib.viz.style import CONTEXT, TARGET


def scores(guess: int, confidence: float, classes: int = 10) -> np.ndarray:
    values = np.full(classes, (1 - confidence) / (classes - 1))
    values[guess] = confidence
    return values


def bars(probabilities: np.ndarray, label: int) -> tuple[list, object]:
    ax = Figure().subplots()
    galleries.draw_scores(ax, probabilities, label)
    return ax.patches, ax


def test_bars_are_as_long_as_the_probabilities():
    values = np.random.default_rng(0).dirichlet(np.ones(10))
    drawn, ax = bars(values, 3)
    assert [bar.get_width() for bar in drawn[:10]] == pytest.approx(values)
    assert ax.texts[0].get_text() == f"{values.max():.2f}"
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first class on top


def test_a_right_prediction_is_blue_and_never_hatched():
    drawn, _ = bars(scores(4, 0.7), 4)
    assert to_hex(drawn[4].get_facecolor()) == CONTEXT
    assert not any(bar.get_hatch() for bar in drawn)


@pytest.mark.parametrize("confidence", [0.3, 0.95])
def test_a_wrong_prediction_is_hatched_and_the_true_class_outlined(confidence):
    drawn, ax = bars(scores(4, confidence), 7)
    assert [bool(bar.get_hatch()) for bar in drawn[:10]] == [n == 4 for n in range(10)]
    assert to_hex(drawn[4].get_facecolor()) == TARGET
    assert drawn[10].get_edgecolor() == to_rgba("black")
    assert not drawn[10].get_fill()
    assert drawn[10].get_y() == pytest.approx(drawn[7].get_y())
    assert [t.get_fontweight() for t in ax.get_yticklabels()].index("bold") == 7


def test_without_a_label_there_is_no_verdict():
    drawn, ax = bars(scores(4, 0.7), -1)
    assert len(drawn) == 10
    assert not any(bar.get_hatch() for bar in drawn)
    assert to_hex(drawn[4].get_facecolor()) not in (CONTEXT, TARGET)
    assert "bold" not in [t.get_fontweight() for t in ax.get_yticklabels()]


def test_a_row_for_each_jet_and_a_column_for_each_model(jets):
    some = jets.take([1, 3, 4])
    guesses = {"one": [1, 3, 4], "two": [1, 0, 0]}
    models = {name: np.stack([scores(g, 0.6) for g in found]) for name, found in guesses.items()}
    figure = galleries.gallery(some, models, subjets=2)
    figure.draw_without_rendering()
    axes = np.array(figure.axes[:9]).reshape(3, 3)
    assert [ax.get_title() for ax in axes[0, 1:]] == ["one", "two"]
    hatched = [[any(bar.get_hatch() for bar in ax.patches) for ax in row[1:]] for row in axes]
    assert hatched == [[False, False], [False, True], [False, True]]
    places = np.concatenate([c.get_offsets() for c in axes[1, 0].collections])
    assert len(places) == 40
    assert len(axes[1, 0].patches) == 2  # outlines of subjets
    texts = [t.get_text() for t in figure.legends[0].get_texts()]
    assert texts[-3:] == ["predicted, right", "predicted, wrong", "true class"]


def test_other_classes_and_jets_without_labels(jets):
    some = jets.take([0, 1])
    figure = galleries.gallery(some, {"top tagger": np.stack([scores(0, 0.9, 2)] * 2)}, ("QCD", "top"))
    assert [t.get_text() for t in figure.axes[1].get_yticklabels()] == [r"$q/g$", "top"]
    unknown = type(some)(some.particles, some.offsets, some.observables, torch.tensor([-1, -1]), some.index)
    figure = galleries.gallery(unknown, {"tagger": np.stack([scores(0, 0.9)] * 2)})
    assert "true class" not in [t.get_text() for t in figure.legends[0].get_texts()]


def test_what_does_not_fit_is_refused(jets):
    with pytest.raises(JepalibError, match=r"'a' have shape \(12, 9\) for 2 jets"):
        galleries.gallery(jets.take([0, 1]), {"a": np.ones((12, 9)) / 9})
    with pytest.raises(JepalibError, match="12 jets, 1 models; give 1 to 8"):
        galleries.gallery(jets, {"a": np.ones((12, 10)) / 10})


def test_disagreements_are_those_where_both_are_sure():
    first = np.stack([scores(0, 0.9), scores(1, 0.9), scores(2, 0.5), scores(3, 0.8), scores(4, 0.99)])
    second = np.stack([scores(0, 0.9), scores(2, 0.6), scores(3, 0.99), scores(4, 0.7), scores(5, 0.2)])
    assert picks.disagree(first, second).tolist() == [False, True, True, True, True]
    assert picks.disagreements(first, second, 3).tolist() == [3, 1, 2]
    assert picks.disagreements(first, first, 3).tolist() == []


def test_confident_errors_and_uncertain_jets():
    found = np.stack([scores(0, 0.9), scores(1, 0.8), scores(2, 0.3), scores(3, 0.95), scores(4, 0.99)])
    labels = np.array([1, 2, 0, 3, -1])
    assert picks.confident_errors(found, labels, 9).tolist() == [0, 1, 2]
    assert picks.most_uncertain(found, 2).tolist() == [2, 1]


def test_picks_from_other_jets_or_none_are_refused():
    with pytest.raises(JepalibError, match="shapes"):
        picks.disagree(np.ones((3, 10)) / 10, np.ones((4, 10)) / 10)
    with pytest.raises(JepalibError, match="at least 1"):
        picks.most_uncertain(np.ones((3, 10)) / 10, 0)
