"""Hard processes that are given up early, and those that are not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from jepalib.data.simulation.veto import early_veto, jet_veto, leading, promising, visible_products


def vector(pt: float, eta: float, phi: float) -> tuple[float, float, float]:
    return pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)


class Entries(list):
    """A list with Pythia's way to ask for its length."""

    def size(self) -> int:
        return len(self)


def asked(values: dict[str, object]) -> SimpleNamespace:
    """An entry that answers by methods, as Pythia's do."""
    return SimpleNamespace(**{name: (lambda value=value: value) for name, value in values.items()})


def process(entries: list[tuple[int, tuple[int, int], tuple[float, float, float]]]) -> SimpleNamespace:
    """A hard process from (pid, daughters, (px, py, pz)), with Pythia's way to ask."""

    def entry(pid: int, daughters: tuple[int, int], p: tuple[float, float, float]) -> SimpleNamespace:
        values = {"id": pid, "daughter1": daughters[0], "daughter2": daughters[1]}
        values |= dict(zip(("px", "py", "pz"), p))
        return asked(values)

    return Entries(entry(*e) for e in entries)


@pytest.mark.parametrize(
    ("products", "expected"),
    [
        ([vector(300, 0.1, 0.2), vector(300, -0.1, -0.2)], True),
        ([vector(300, 0.1, 3.1), vector(300, -0.1, -3.1)], True),  # across the seam in phi
        ([vector(200, 0.1, 0.2), vector(200, -0.1, -0.2)], False),  # too soft
        ([vector(600, 2.5, 0.0)], False),  # too far forward
        ([vector(700, 0.0, 0.0), vector(100, 1.2, 0.0)], False),  # too wide
        ([], False),  # nothing to see
    ],
)
def test_promising(products: list, expected: bool) -> None:
    assert promising(np.array(products).reshape(-1, 3)) is expected


@pytest.mark.parametrize(("neutrino_pt", "vetoed"), [(50.0, False), (300.0, True)])
def test_what_neutrinos_take_does_not_count(neutrino_pt: float, vetoed: bool) -> None:
    top = process(
        [
            (90, (0, 0), (0.0, 0.0, 0.0)),
            (6, (2, 3), vector(600, 0, 0)),
            (24, (4, 5), vector(400, 0, 0)),
            (5, (0, 0), vector(200, 0, 0)),
            (-11, (0, 0), vector(400 - neutrino_pt, 0, 0)),
            (12, (0, 0), vector(neutrino_pt, 0, 0)),
        ]
    )
    np.testing.assert_allclose(visible_products(top, 1)[:, 0].sum(), 600 - neutrino_pt)
    assert early_veto(6).doVetoProcessLevel(top) is vetoed


def test_one_good_decay_of_two_is_enough() -> None:
    pair = process(
        [
            (90, (0, 0), (0.0, 0.0, 0.0)),
            (23, (3, 3), vector(550, 2.9, 0)),
            (23, (4, 4), vector(550, 0.3, 3)),
            (1, (0, 0), vector(550, 2.9, 0)),
            (2, (0, 0), vector(550, 0.3, 3)),
        ]
    )
    assert not early_veto(23).doVetoProcessLevel(pair)
    assert early_veto(25).doVetoProcessLevel(pair)


def test_the_leading_jet_is_the_hardest_sum_within_the_radius() -> None:
    soft_pair = [vector(300, 0.1, 3.1), vector(280, -0.1, -3.1)]  # across the seam, harder together
    pt, eta = leading(np.array([vector(400, 1.0, 0.0), *soft_pair, vector(100, 0.0, 1.0)]), 0.4)
    assert 570 < pt < 580
    assert abs(eta) < 0.02
    assert leading(np.zeros((0, 3)), 0.4) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("partons", "pt", "eta", "vetoed"),
    [((1, 2, 3), 520, 0.5, False), ((21,), 520, 0.5, True), ((1,), 400, 0.5, True), ((1,), 520, 2.0, True)],
)
def test_jets_far_outside_the_window_are_given_up(
    partons: tuple[int, ...], pt: float, eta: float, vetoed: bool
) -> None:
    px, py, pz = vector(pt, eta, 0.3)
    quark = asked({"id": 1, "status": 23, "px": px, "py": py, "pz": pz, "isFinal": True})
    boson = asked({"id": 23, "status": 22, "px": -px, "py": -py, "pz": 0.0, "isFinal": True})
    event = Entries([boson, quark])
    hook = jet_veto(partons, (450.0, 620.0), 1.9, 0.4)
    given_up = hook.doVetoProcessLevel(event) or hook.doVetoPT(0, event)
    assert given_up is vetoed
    assert hook.doVetoPT(5, event) is False  # too late to save time
