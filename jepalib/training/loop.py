"""The one training loop, for pre-training and for adaptation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.models.memory import keep_freed_memory
from jepalib.training.distributed import World, synchronise_gradients


class Diverged(JepalibError):
    """Loss or gradient is not finite."""


@dataclass(frozen=True)
class StepResult:
    """What one optimiser step gives to whoever watches.

    Attributes:
        step: number of steps made, this one included.
        loss: of this batch.
        norm: of the gradient before clipping, probes aside.
        details: whatever the loss function returned beside the loss.
    """

    step: int
    loss: float
    norm: float
    details: object


@dataclass
class Loop:
    """Optimiser steps over numbered batches.

    Batch and randomness of step n depend on (seed, n) alone, so that a loop which goes
    on at step n walks the same path as one that never stopped.

    Attributes:
        module: what is trained.
        optimizer: its groups keep their share of the rate in `scale` (1 if absent).
        rate: learning rate before step n (counted from 0).
        batch: the jets of step n (this process's part).
        loss: loss and details of a batch; gets a CPU generator seeded for the step.
        seed: of all randomness in the steps.
        clip: largest gradient norm, 0 for no clipping.
        precision: float32 or bfloat16 (autocast).
    """

    module: nn.Module
    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]
    batch: Callable[[int], Jets]
    loss: Callable[[Jets, torch.Generator], tuple[Tensor, object]]
    seed: int
    world: World
    clip: float = 0.0
    precision: str = "float32"
    trained: list[nn.Parameter] = field(init=False)
    probes: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        named = [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]
        # Probes are clipped apart: their large gradients must not shrink the encoder's.
        self.probes = [p for name, p in named if name.startswith("probes.")]
        self.trained = [p for name, p in named if not name.startswith("probes.")]

    def run(self, start: int, stop: int, after: Callable[[StepResult], bool]) -> int:
        """Steps start to stop - 1; `after` sees each and may end the loop by returning True.

        Returns:
            The number of steps made in all.

        Raises:
            Diverged: loss or gradient is not finite; no weight was changed by that step.
        """
        keep_freed_memory()
        for step in range(start, stop):
            result = self._step(step)
            if after(result):
                return result.step
        return stop

    def _step(self, step: int) -> StepResult:
        generator = step_generator(self.seed, step, self.world.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(step) * group.get("scale", 1.0)
        jets = self.batch(step).to(self.world.device)
        with torch.autocast(self.world.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss, details = self.loss(jets, generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        synchronise_gradients(self.module, self.world)
        norm = float(nn.utils.clip_grad_norm_(self.trained, self.clip or math.inf))
        nn.utils.clip_grad_norm_(self.probes, self.clip or math.inf)
        value = float(loss.detach())
        if not (math.isfinite(value) and math.isfinite(norm)):
            raise Diverged(
                f"step {step + 1}: the loss is {value} and the gradient's norm {norm}; batch {step} holds "
                f"store rows {_some(jets)}. What was saved before is kept; a new run with a lower "
                "learning rate, clip=0.5 or precision=float32 may help."
            )
        self.optimizer.step()
        return StepResult(step + 1, value, norm, details)


def step_generator(seed: int, step: int, rank: int = 0) -> torch.Generator:
    """CPU generator of one step; also seeds torch's own, which dropout layers use."""
    state = np.random.SeedSequence([seed, step, rank]).generate_state(1, np.uint64)
    number = int(state[0] >> np.uint64(1))
    torch.manual_seed(number)
    return torch.Generator().manual_seed(number)


def _some(jets: Jets, most: int = 5) -> str:
    rows = ", ".join(str(i) for i in jets.index[:most].tolist())
    return rows + (f" … ({len(jets)} jets)" if len(jets) > most else "")
