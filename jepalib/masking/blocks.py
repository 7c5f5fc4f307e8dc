"""Context and target blocks: drawn per jet, kept as one value that can be replayed."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from jepalib.compiled import compiled
from jepalib.errors import JepalibError
from jepalib.jets import Jets, gather_rows
from jepalib.masking.sequence import greedy_order

KINDS = ("contiguous", "random")


@dataclass(frozen=True)
class MaskConfig:
    """How masks are drawn; the defaults are JP-JEPA's.

    Attributes:
        targets: number of target blocks per jet; blocks may overlap each other.
        target_ratio: range of the block's share of the jet's tokens, each in (0, 1].
        context_ratio: the same for the context block; None takes all that no target took.
        target_kind, context_kind: "contiguous" (a run of the greedy sequence) or "random".
    """

    targets: int = 1
    target_ratio: tuple[float, float] = (0.25, 0.35)
    context_ratio: tuple[float, float] | None = (0.4, 0.7)
    target_kind: str = "contiguous"
    context_kind: str = "contiguous"

    def __post_init__(self) -> None:
        if self.targets < 1:
            raise JepalibError(f"MaskConfig: targets is {self.targets}; it must be at least 1")
        for name in ("target_ratio", "context_ratio"):
            ratio = getattr(self, name)
            if ratio is None and name == "context_ratio":
                continue
            if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1] <= 1:
                raise JepalibError(f"MaskConfig: {name} is {ratio}; give (low, high), 0 < low <= high <= 1")
        for name in ("target_kind", "context_kind"):
            if getattr(self, name) not in KINDS:
                raise JepalibError(f"MaskConfig: {name} is {getattr(self, name)!r}; give one of {KINDS}")


@dataclass(frozen=True)
class Masks:
    """Context and targets of a packed batch of jets, over their tokens: particles or patches.

    Attributes:
        order: packed rows in greedy sequence, jet by jet.
        context: True on the tokens that the student sees.
        targets: one row per target block, True on the tokens to predict.
    """

    order: Int[Tensor, " tokens"]
    context: Bool[Tensor, " tokens"]
    targets: Bool[Tensor, "targets tokens"]

    def to(self, device: torch.device | str) -> Masks:
        """The same masks on another device."""
        return Masks(**{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def take(self, offsets: Int[Tensor, " edges"], rows: Int[Tensor, " chosen"] | list[int]) -> Masks:
        """The masks of `jets.take(rows)`, where `offsets` are those of the tokens of `jets`."""
        rows = torch.as_tensor(rows, dtype=torch.long, device=offsets.device)
        gather, chosen = gather_rows(offsets, rows)
        shift = (chosen[:-1] - offsets[:-1][rows]).repeat_interleave(offsets.diff()[rows])
        return Masks(self.order[gather] + shift, self.context[gather], self.targets[:, gather])

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, from which `load` gives the same masks back."""
        save_file({f.name: getattr(self, f.name).contiguous().cpu() for f in fields(self)}, str(path))

    @classmethod
    def load(cls, path: str | Path) -> Masks:
        """Masks that `save` wrote, on the CPU.

        Raises:
            JepalibError: there is no such file, or it does not hold masks.
        """
        try:
            tensors = load_file(str(path))
        except (OSError, SafetensorError) as error:
            raise JepalibError(f"Masks.load: cannot read {path}: {error}") from error
        if set(tensors) != {f.name for f in fields(cls)}:
            raise JepalibError(
                f"Masks.load: {path} holds {sorted(tensors)}, not masks; give a file of Masks.save"
            )
        places = len(tensors["order"]) if tensors["order"].ndim else 0
        wanted = {"order": (torch.int64, (places,)), "context": (torch.bool, (places,))}
        wanted["targets"] = (torch.bool, (*tensors["targets"].shape[:1], places))
        for name, (dtype, shape) in wanted.items():
            found = tensors[name]
            if found.dtype != dtype or tuple(found.shape) != shape:
                raise JepalibError(
                    f"Masks.load: {path}: {name} is {found.dtype} {tuple(found.shape)}, not {dtype} {shape}; "
                    "give a file of Masks.save"
                )
        return cls(**tensors)


def draw_masks(jets: Jets, config: MaskConfig, generator: torch.Generator) -> Masks:
    """Masks over the particles of every jet; `draw_token_masks` says how they are drawn.

    Raises:
        JepalibError: a jet has fewer than two particles.
    """
    return draw_token_masks(jets.column("deta"), jets.column("dphi"), jets.offsets, config, generator)


def draw_token_masks(
    deta: Float[Tensor, " tokens"],
    dphi: Float[Tensor, " tokens"],
    offsets: Int[Tensor, " edges"],
    config: MaskConfig,
    generator: torch.Generator,
) -> Masks:
    """Masks over packed tokens, particles or patches, with ratios and places drawn per jet.

    A block holds round(ratio · n) of the jet's n tokens, at least 1, and a target
    never all n. Targets come first and may overlap; the context is its own block
    without any target. Two rules keep both from running empty:
    a target that would take the jet's last free token repeats the first target;
    a context of which targets left nothing becomes one free token, drawn uniformly.

    Args:
        deta, dphi: of the tokens relative to the jet axis (dphi in radians).
        offsets: tokens of jet i are rows offsets[i] to offsets[i + 1], at least two.
        config: kinds, ratios and number of targets.
        generator: on the CPU, whatever the device of the tokens; the draws depend only on
            it and on the numbers of tokens, so that all devices give equal masks.

    Raises:
        JepalibError: a jet has fewer than two tokens, or a coordinate is not finite.
    """
    short = int((offsets.diff() < 2).sum())
    if short:
        raise JepalibError(
            f"draw_masks: {short} of {len(offsets) - 1} jets have fewer than 2 tokens (particles or patches) "
            "and cannot be split into context and target; filter them before"
        )
    order = greedy_order(deta, dphi, offsets)
    in_sequence = _draw(offsets.cpu().numpy(), config, generator).to(order.device)
    by_row = torch.empty_like(in_sequence).scatter_(1, order.expand_as(in_sequence), in_sequence)
    return Masks(order, context=by_row[-1], targets=by_row[:-1])


def _draw(
    offsets: np.ndarray, config: MaskConfig, generator: torch.Generator
) -> Bool[Tensor, "blocks places"]:
    """Target blocks and, last, the context over the places of the sequence."""
    jets, places, blocks = len(offsets) - 1, int(offsets[-1]), config.targets + 1

    def uniform(*shape: int) -> np.ndarray:
        return torch.rand(shape, generator=generator, dtype=torch.float64).numpy()

    # Always the same layout: ratio and start of each block, one number for the repair;
    # a random block needs one number per particle on top.
    numbers = uniform(jets, 2 * blocks + 1)
    target_picks = uniform(config.targets, places if config.target_kind == "random" else 0)
    random_context = config.context_kind == "random" and config.context_ratio is not None
    context_picks = uniform(places if random_context else 0)
    drawn = np.zeros((blocks, places), np.bool_)
    low, high = config.context_ratio or (1.0, 1.0)
    _fill(offsets, numbers, target_picks, context_picks, (*config.target_ratio, low, high), drawn)
    return torch.from_numpy(drawn)


@compiled
def _block(n, most, ratio, start, picks, places):
    """Write the places of one block among n into `places`; return how many they are."""
    length = min(max(int(ratio * n + 0.5), 1), most)
    if len(picks):  # Fisher-Yates, as far as it is needed
        for i in range(n):
            places[i] = i
        for i in range(length):
            other = min(i + int(picks[i] * (n - i)), n - 1)
            places[i], places[other] = places[other], places[i]
    else:
        begin = min(int(start * (n - length + 1)), n - length)
        for i in range(length):
            places[i] = begin + i
    return length


@compiled
def _fill_targets(numbers, picks, ratios, taken, places, targets):
    """Draw the targets of one jet, mark their places as taken, return how many stay free."""
    free = n = len(taken)
    for block in range(len(targets)):
        ratio = ratios[0] + numbers[2 * block] * (ratios[1] - ratios[0])
        length = _block(n, n - 1, ratio, numbers[2 * block + 1], picks[block], places)
        fresh = 0
        for i in range(length):
            fresh += not taken[places[i]]
        if fresh == free:
            targets[block] = targets[0]
            continue
        free -= fresh
        for i in range(length):
            taken[places[i]] = True
            targets[block, places[i]] = True
    return free


@compiled
def _fill_context(numbers, picks, ratios, taken, free, places, context):
    """Draw the context of one jet from the last three of its numbers, without the taken places."""
    ratio = ratios[2] + numbers[-3] * (ratios[3] - ratios[2])
    length = _block(len(taken), len(taken), ratio, numbers[-2], picks, places)
    found = False
    for i in range(length):
        if not taken[places[i]]:
            context[places[i]] = found = True
    if found:
        return
    skip = min(int(numbers[-1] * free), free - 1)
    for place in range(len(taken)):
        if not taken[place]:
            if skip == 0:
                context[place] = True
                return
            skip -= 1


@compiled
def _fill(offsets, numbers, target_picks, context_picks, ratios, drawn):
    """Fill `drawn`, the targets and the context, jet by jet from uniform numbers."""
    longest = 0
    for jet in range(len(offsets) - 1):
        longest = max(longest, offsets[jet + 1] - offsets[jet])
    places, buffer = np.empty(longest, np.int64), np.empty(longest, np.bool_)
    for jet in range(len(offsets) - 1):
        first, last = offsets[jet], offsets[jet + 1]
        taken = buffer[: last - first]
        taken[:] = False
        picks = target_picks[:, first:last]
        free = _fill_targets(numbers[jet], picks, ratios, taken, places, drawn[:-1, first:last])
        picks = context_picks[first:last]
        _fill_context(numbers[jet], picks, ratios, taken, free, places, drawn[-1, first:last])
