"""P-JEPA: prediction from one aggregated token (H. Qu, EPS-HEP 2025, slides on P-JEPA).

The student encodes the context particles and aggregates them to one token; from it alone and
the places of the hidden particles the predictor says what the teacher, who saw the whole jet,
says of them. The teacher is the exponential moving average of the student.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from torch import nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, Masks, draw_masks
from jepalib.methods.losses import smooth_l1
from jepalib.methods.outputs import Outputs
from jepalib.methods.probes import Probes
from jepalib.methods.teacher import check_shares, follow_at
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.pooling import mean_tokens
from jepalib.models.predictors import AggregatePredictor
from jepalib.models.sizes import SIZES

ABOUT = """\
**P-JEPA** hides a random 30 to 50 % of the constituents. A Particle Transformer encodes the others, and its
class attention aggregates them to a single token. The predictor is told nothing but this token and where the
hidden constituents are; it predicts the vectors that the teacher, a moving average of the student, gives them
having seen the whole jet. The loss has three parts: predicted against actual vectors; the aggregate of the
predicted against that of the actual ones, both by the teacher's aggregator; and the particle type, read off
the predicted vectors. Unlike the probes of JP-JEPA this last part trains the encoder too: its accuracy is
something the network was asked for. After pre-training the teacher is what is used."""


@dataclass(frozen=True)
class PJEPAConfig:
    """Everything of the objective; masks and losses as on the slides.

    Not published, and chosen here: the weights of the losses (a plain sum) and the teacher's
    coefficient (JP-JEPA's).

    Attributes:
        masks: how context and targets are drawn; one target block, by default random with
            all other particles as the context.
        lambda_particle, lambda_aggregated, lambda_pid: weights of the losses.
        ema_start, ema_end: teacher coefficient, linear in the step.
    """

    masks: MaskConfig = field(default_factory=lambda: MaskConfig(1, (0.3, 0.5), None, "random"))
    lambda_particle: float = 1.0
    lambda_aggregated: float = 1.0
    lambda_pid: float = 1.0
    ema_start: float = 0.9995
    ema_end: float = 0.99999

    def __post_init__(self) -> None:
        if self.masks.targets != 1:
            raise JepalibError(f"targets = {self.masks.targets}: P-JEPA hides one set of particles, give 1")
        for name in ("lambda_particle", "lambda_aggregated", "lambda_pid"):
            if not getattr(self, name) >= 0:
                raise JepalibError(f"{name} = {getattr(self, name)}: give a weight of at least 0")
        check_shares(self, "ema_start", "ema_end")


def architecture(size: str, inputs: str, config: PJEPAConfig) -> EncoderConfig:
    """The encoder that P-JEPA trains; its class attention blocks are the aggregator."""
    return EncoderConfig("particles", size, inputs)


class PJEPA(nn.Module):
    """Student, teacher (both with their aggregator), predictor and the classifier of particles.

    Args:
        size: name of an architecture preset (`models.sizes.SIZES`); "p-jepa" is the slides'.
        config: the objective.
        inputs: kin, kinpid or full.
        micro_batch: jets that go through encoders and predictor together.
    """

    def __init__(
        self, size: str, config: PJEPAConfig | None = None, inputs: str = "full", micro_batch: int = 32
    ) -> None:
        super().__init__()
        self.config = config or PJEPAConfig()
        self.student = build_encoder(architecture(size, inputs, self.config), micro_batch)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.predictor = AggregatePredictor(SIZES[size], micro_batch)
        # Not called probes: the training loop clips the gradient of probes apart from that of the objective.
        self.identification = Probes(self.student.width, ("pid",))
        self.train()

    @property
    def encoder(self) -> ParticleTransformer:
        """The network that is used after pre-training: the teacher."""
        return self.teacher

    def draw(self, jets: Jets, generator: torch.Generator) -> Masks:
        """Context and targets of a batch of jets of at least two particles."""
        return draw_masks(jets, self.config.masks, generator)

    def train(self, mode: bool = True) -> PJEPA:
        """Training mode for all but the teacher, which always normalises as in evaluation."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, jets: Jets, masks: Masks, generator: torch.Generator | None = None) -> Outputs:
        """Losses of one batch: particle, aggregated and PID loss, and their weighted sum.

        Args:
            jets: at least two particles each.
            masks: context and targets of these jets.
            generator: not used; all that is random was drawn.
        """
        (hidden,) = masks.targets
        target_jets = jets.select_particles(hidden)
        offsets = target_jets.offsets
        with torch.no_grad():
            truth = self.teacher(jets)
            targets = truth.tokens[hidden]
            target_aggregate = self.teacher.aggregate(targets, offsets)
        context = self.student(jets.select_particles(masks.context))
        predicted = self.predictor(context.cls, target_jets)
        # The aggregator is frozen, but the gradient passes through it to the predictions.
        aggregate = self.teacher.aggregate(predicted, offsets)
        parts = {
            "particle": smooth_l1(predicted, targets),
            "aggregated": smooth_l1(aggregate, target_aggregate),
        }
        identified, figures = self.identification({"pid": predicted}, target_jets)
        parts |= identified
        c = self.config
        weights = {"particle": c.lambda_particle, "aggregated": c.lambda_aggregated, "pid": c.lambda_pid}
        loss = sum(weight * parts[name] for name, weight in weights.items())
        embeddings = {"particles": mean_tokens(truth), "cls": truth.cls}
        return Outputs(loss, torch.zeros_like(loss), parts, figures, embeddings)

    def after_step(self, progress: float) -> None:
        """The teacher follows the student; its coefficient rises linearly with `progress` (0 to 1)."""
        momenta = (self.config.ema_start, self.config.ema_end)
        follow_at(self.teacher, self.student, momenta, progress)
