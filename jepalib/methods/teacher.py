"""The teacher of a JEPA: an exponential moving average of the student, never back-propagated."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from jepalib.errors import JepalibError


def check_shares(config: object, *names: str) -> None:
    """Refuse fields of a configuration that are not between 0 and 1.

    Raises:
        JepalibError: with the first such field and its value.
    """
    for name in names:
        if not 0 <= getattr(config, name) <= 1:
            raise JepalibError(f"{name} = {getattr(config, name)} is not between 0 and 1")


def follow_at(teacher: nn.Module, student: nn.Module, momenta: tuple[float, float], progress: float) -> None:
    """`follow` with a coefficient linear in the progress of the training (0 to 1), from first to last."""
    first, last = momenta
    follow(teacher, student, first + (last - first) * progress)


@torch.no_grad()
def follow(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Move the teacher towards the student: t <- m t + (1 - m) s (JP-JEPA Eq. 9).

    Running statistics of the normalisations are copied: averaging an average again would
    only make it late.
    """
    ema_update(teacher.parameters(), student.parameters(), momentum)
    for mine, theirs in zip(teacher.buffers(), student.buffers()):
        mine.copy_(theirs)


def ema_update(teacher: Iterable[Tensor], student: Iterable[Tensor], momentum: float) -> None:
    """In place: every teacher tensor becomes momentum * teacher + (1 - momentum) * student."""
    torch._foreach_lerp_(list(teacher), [p.detach() for p in student], 1.0 - momentum)
