"""The teacher: its average in closed form, and what is copied."""

from __future__ import annotations

import torch
from torch import nn

from jepalib.methods.teacher import ema_update, follow, follow_at


def test_ema_in_closed_form():
    teacher = [torch.tensor([1.0, -2.0])]
    student = [torch.tensor([3.0, 5.0])]
    for _ in range(7):
        ema_update(teacher, student, 0.9)
    expected = student[0] + 0.9**7 * (torch.tensor([1.0, -2.0]) - student[0])
    assert torch.allclose(teacher[0], expected)


def test_follow_averages_weights_and_copies_statistics():
    torch.manual_seed(0)
    teacher, student = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(2))
    before = teacher[0].weight.detach().clone()
    student(torch.randn(10, 3))
    follow(teacher, student, 0.75)
    expected = 0.75 * before + 0.25 * student[0].weight
    torch.testing.assert_close(teacher[0].weight, expected)
    torch.testing.assert_close(teacher[1].running_mean, student[1].running_mean)


def test_the_coefficient_moves_with_the_training():
    for progress, momentum in ((0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
        teacher, student = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.zeros_(teacher.weight)
        nn.init.ones_(student.weight)
        follow_at(teacher, student, (0.5, 1.0), progress)
        assert teacher.weight.item() == 1 - momentum
