"""Jet-level targets: from a part of a jet, predict a hundred numbers of the whole of it.

Self-supervised, for the numbers (`jepalib.summary`) come from the jet itself. Beyond the
published methods: at small budgets it teaches the class token more for each jet seen than
prediction in latent space does (LOG.md). Some numbers are partly in the input: pT and E relative
to the whole jet tell its pT, and the hardest constituents are often seen. The mean R² of the
numbers is therefore no measure of what was learnt.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, Masks, draw_masks
from jepalib.methods.losses import smooth_l1
from jepalib.methods.outputs import Outputs
from jepalib.methods.teacher import check_shares, follow_at
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.pooling import mean_tokens
from jepalib.summary import NUMBERS, jet_summary

ABOUT = """\
**Jet-level targets** hide a random part of a jet's constituents and ask the class token of the rest for about
a hundred numbers of the *whole* jet: mass, substructure, how many constituents of which kind, how many
displaced tracks, the hardest subjets and their masses, energy correlations. All of them are computed from the
jet itself, no label enters. What is kept afterwards is the moving average of the network."""
LARGEST = 5.0  # standardised targets are cut there, so that no tail rules the loss


class JetTargetHead(nn.Module):
    """Predicts the standardised numbers of whole jets from one vector per jet."""

    def __init__(self, width: int) -> None:
        super().__init__()
        numbers = len(NUMBERS)
        self.standardise = nn.BatchNorm1d(numbers, affine=False, momentum=None)  # mean of all batches so far
        self.head = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, numbers))

    def forward(
        self, vectors: Float[Tensor, "jets width"], jets: Jets
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Loss, and the mean R² over the numbers.

        Args:
            vectors: what the encoder says of each jet.
            jets: the whole jets.
        """
        with torch.no_grad():
            targets = self._standardised(jet_summary(jets).float()).clamp(-LARGEST, LARGEST)
        predicted = self.head(vectors).float()
        spread = targets.var(0, unbiased=False)
        alive = spread > 1e-6
        left = (predicted.detach() - targets).square().mean(0)
        r2 = (1 - left / spread.clamp_min(1e-6))[alive].mean() if alive.any() else spread.sum()
        return smooth_l1(predicted, targets), r2

    def _standardised(self, numbers: Float[Tensor, "jets numbers"]) -> Float[Tensor, "jets numbers"]:
        """By mean and spread of all jets so far: those of a batch of 64 would blur them by an eighth."""
        norm = self.standardise
        _ = norm(numbers)  # in training, notes mean and variance of these jets too
        return (numbers - norm.running_mean) / (norm.running_var + norm.eps).sqrt()


@dataclass(frozen=True)
class JetTargetsConfig:
    """The objective.

    Attributes:
        masks: which constituents the network does not see; one block.
        ema_start, ema_end: coefficient of the moving average, linear in the step.
    """

    masks: MaskConfig = field(default_factory=lambda: MaskConfig(1, (0.1, 0.5), None, "random"))
    ema_start: float = 0.9995
    ema_end: float = 0.99999

    def __post_init__(self) -> None:
        if self.masks.targets != 1:
            raise JepalibError(f"targets = {self.masks.targets}: one set of constituents is hidden, give 1")
        check_shares(self, "ema_start", "ema_end")


def architecture(size: str, inputs: str, config: JetTargetsConfig) -> EncoderConfig:
    """The encoder that is trained."""
    return EncoderConfig("particles", size, inputs)


class JetTargets(nn.Module):
    """Student, its moving average, and the head that reads the numbers off the class token."""

    def __init__(
        self, size: str, config: JetTargetsConfig | None = None, inputs: str = "full", micro_batch: int = 32
    ) -> None:
        super().__init__()
        self.config = config or JetTargetsConfig()
        self.student = build_encoder(architecture(size, inputs, self.config), micro_batch)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.head = JetTargetHead(self.student.width)

    @property
    def encoder(self) -> ParticleTransformer:
        """The network that is used after pre-training: the moving average."""
        return self.teacher

    def draw(self, jets: Jets, generator: torch.Generator) -> Masks:
        """Which constituents are hidden."""
        return draw_masks(jets, self.config.masks, generator)

    def forward(self, jets: Jets, masks: Masks, generator: torch.Generator | None = None) -> Outputs:
        """How well the numbers of the whole jets are read off the seen part.

        Args:
            jets: at least two particles each.
            masks: context and hidden constituents of these jets.
            generator: not used; all that is random was drawn.
        """
        seen = self.student(jets.select_particles(masks.context))
        loss, r2 = self.head(seen.cls, jets)
        embeddings = {"particles": mean_tokens(seen).detach(), "cls": seen.cls.detach()}
        return Outputs(loss, torch.zeros_like(loss), {"jet": loss}, {"jet_r2": r2}, embeddings)

    def after_step(self, progress: float) -> None:
        """The moving average follows; its coefficient rises linearly with `progress` (0 to 1)."""
        momenta = (self.config.ema_start, self.config.ema_end)
        follow_at(self.teacher, self.student, momenta, progress)
