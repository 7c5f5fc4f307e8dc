"""Hard processes that are given up early, and those that are not."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from jepalib.data.simulation.veto import early_veto, promising, visible_products


def vector(pt: float, eta: float, phi: float) -> tuple[float, float, float]:
    return pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)


def process(entries: list[tuple[int, tuple[int, int], tuple[float, float, float]]]) -> SimpleNamespace:
    """A hard process from (pid, daughters, (px, py, pz)), with Pythia's way to ask."""

    class Entries(list):
        def size(self) -> int:
            return len(self)

    def entry(pid: int, daughters: tuple[int, int], p: tuple[float, float, float]) -> SimpleNamespace:
        values = {"id": pid, "daughter1": daughters[0], "daughter2": daughters[1]}
        values |= dict(zip(("px", "py", "pz"), p))
        return SimpleNamespace(**{name: (lambda value=value: value) for name, value in values.items()})

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
