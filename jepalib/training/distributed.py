"""Several processes: who we are, and averages over all of us.

Processes are started by ``python -m torch.distributed.run``; gradients and running
statistics are averaged in one flat all-reduce a step, so that all replicas stay equal.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn


@dataclass(frozen=True)
class World:
    """This process among all: its rank, their number, its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def leader(self) -> bool:
        """Whether this process writes files and talks."""
        return self.rank == 0


@contextmanager
def joined_world() -> Iterator[World]:
    """Join the processes that torch.distributed.run started; alone without it."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size == 1:
        yield World(rank, size, device)
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank, size, device)
    finally:
        dist.destroy_process_group()


def average_(tensors: list[Tensor], world: World) -> None:
    """In place: every tensor becomes its mean over the processes."""
    if world.size == 1 or not tensors:
        return
    wide = any(t.dtype == torch.float64 for t in tensors)
    flat = torch.cat([t.reshape(-1).to(torch.float64 if wide else torch.float32) for t in tensors])
    dist.all_reduce(flat)
    flat /= world.size
    for tensor, mean in zip(tensors, flat.split([t.numel() for t in tensors])):
        tensor.copy_(mean.view_as(tensor))


def synchronise_gradients(module: nn.Module, world: World) -> None:
    """Average gradients and floating-point buffers of `module` over the processes."""
    trained = [p for p in module.parameters() if p.requires_grad]
    for parameter in trained:
        if parameter.grad is None and world.size > 1:
            parameter.grad = torch.zeros_like(parameter)
    gradients = [p.grad for p in trained if p.grad is not None]
    buffers = [b for b in module.buffers() if b.is_floating_point()]
    average_([*gradients, *buffers], world)


def from_leader(value: object, world: World) -> object:
    """The leader's value, in every process."""
    if world.size == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]
