"""Losses against values worked out in another way, and their edge cases."""

import math

import pytest
import torch

from jepalib.methods.losses import KOLEO_FLOOR, koleo, sigreg, smooth_l1


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_koleo_of_known_points():
    # Four points on the circle at 0, 90, 180 and 200 degrees: nearest distances by hand.
    angles = torch.tensor([0.0, 90.0, 180.0, 200.0]).deg2rad()
    z = torch.stack([angles.cos(), angles.sin()], 1) * torch.tensor([[1.0], [3.0], [0.5], [7.0]])

    def chord(degrees):
        return 2 * math.sin(math.radians(degrees) / 2)

    nearest = [chord(90), chord(90), chord(20), chord(20)]
    expected = -sum(math.log(d) for d in nearest) / 4
    assert koleo(z).item() == pytest.approx(expected, rel=1e-5)


def test_koleo_falls_when_points_spread():
    close = torch.nn.functional.normalize(torch.ones(32, 8) + 0.1 * torch.randn(32, 8, generator=generator()))
    spread = torch.randn(32, 8, generator=generator(1))
    assert koleo(spread) < koleo(close)


def test_koleo_is_finite_on_duplicates():
    z = torch.randn(6, 8, generator=generator()).repeat(2, 1).requires_grad_()
    loss = koleo(z)
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(KOLEO_FLOOR), rel=1e-3)
    assert torch.isfinite(z.grad).all()


def test_koleo_of_one_jet_is_zero_with_a_gradient():
    z = torch.randn(1, 8, generator=generator()).requires_grad_()
    loss = koleo(z)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(z.grad, torch.zeros_like(z))


def test_koleo_of_all_zero_rows_is_finite():
    z = torch.zeros(4, 8, requires_grad=True)
    koleo(z).backward()
    assert torch.isfinite(z.grad).all()


def test_sigreg_against_a_plain_quadrature():
    z = torch.randn(50, 6, generator=generator(), dtype=torch.float64)
    axes = torch.randn(16, 6, generator=generator(5))
    axes = torch.nn.functional.normalize(axes, dim=1).double()
    t = torch.linspace(-5, 5, 17, dtype=torch.float64)
    values = []
    for axis in axes:
        psi = torch.exp(1j * t[:, None] * (z @ axis)[None, :]).mean(1)
        difference = (psi - torch.exp(-(t**2) / 2)).abs() ** 2 * torch.exp(-(t**2) / 2)
        values.append(torch.trapezoid(difference, t))
    assert sigreg(z, generator(5), directions=16).item() == pytest.approx(
        torch.stack(values).mean().item(), rel=1e-4
    )


def test_sigreg_prefers_a_standard_gaussian():
    gauss = torch.randn(4000, 8, generator=generator())
    loss = [sigreg(x, generator(1)).item() for x in (gauss, 3 * gauss, gauss * 0, gauss + 2)]
    assert loss[0] < 0.002
    assert all(other > 20 * loss[0] for other in loss[1:])


def test_smooth_l1_by_hand_and_empty():
    a, b = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.5, 3.0]])
    assert smooth_l1(a, b).item() == pytest.approx((0.5 * 0.25 + 2.5) / 2)
    assert smooth_l1(a[:0], b[:0]).item() == 0


def test_regularisers_are_float32_under_autocast():
    z = 1 + 0.03 * torch.randn(256, 64, generator=generator())
    expected = koleo(z).item(), sigreg(z, generator(1)).item()
    with torch.autocast("cpu", torch.bfloat16):
        got = koleo(z).item(), sigreg(z, generator(1)).item()
    assert got == pytest.approx(expected, rel=1e-6)
