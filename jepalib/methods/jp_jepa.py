"""JP-JEPA: joint-embedding prediction on single particles (arXiv:2606.14813).

The student encodes the context particles; the predictor, given where the target
particles lie, predicts what the teacher says of them, the teacher having seen the whole
jet. The teacher is the exponential moving average of the student.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, Masks, draw_masks
from jepalib.methods.losses import koleo, sigreg, smooth_l1
from jepalib.methods.outputs import Outputs
from jepalib.methods.probes import PROBES, Probes
from jepalib.methods.teacher import check_shares, follow_at
from jepalib.models.encoded import Encoded
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.particle_transformer import ParticleTransformer
from jepalib.models.pooling import mean_tokens
from jepalib.models.predictors import ParticlePredictor
from jepalib.models.sizes import SIZES
from jepalib.perturb import drop_features

ABOUT = """\
**JP-JEPA** works on single constituents. The encoder is a Particle Transformer: attention between all
constituents of a jet, with a bias for each pair from its physics (distance, kT, momentum sharing, mass). It
gives one vector per constituent and one, [CLS], for the jet. The student is trained by gradient; the teacher
follows as a moving average of it. The loss compares predicted with actual target vectors, for constituents
and for [CLS]; a regulariser (KoLeo) pushes the jets of a batch apart. *Probes* are small classifiers on the
side: they read particle type and displacement from the embeddings but send no gradient back, so that they
only tell what is in there."""
REGULARISERS = {"koleo": 0.1, "sigreg": 0.05, "none": 0.0}  # with the paper's weights


@dataclass(frozen=True)
class JPJEPAConfig:
    """Everything of the objective; defaults as in the paper (Tables 3, 6, 7), with every probe on.

    Attributes:
        masks: how context and targets are drawn.
        lambda_particle, lambda_cls, lambda_regulariser: weights of the losses; the
            regulariser's is 0.1 for KoLeo and 0.05 for SIGReg when not given.
        regulariser: one of `REGULARISERS`, on the predictor's [CLS].
        cls_from_context: the context [CLS] is pulled to the teacher's as well.
        predictor_cls: the context [CLS] is a token of the predictor.
        predictor_bias: physical attention bias in the predictor.
        predictor_own_pairs: the predictor has a pair embedder of its own.
        probes: online probes, `probes.PROBES`; their gradient is stopped,
        probes_with_gradient: except for these, with weight `lambda_probes`.
        pid_dropout, td_dropout: probability per jet that the student's context loses
            the group; without pid, td is lost too (the sets are nested).
        ema_start, ema_end: teacher coefficient, linear in the step.
    """

    masks: MaskConfig = field(default_factory=MaskConfig)
    lambda_particle: float = 1.0
    lambda_cls: float = 1.0
    lambda_regulariser: float | None = None
    regulariser: str = "koleo"
    cls_from_context: bool = False
    predictor_cls: bool = True
    predictor_bias: bool = True
    predictor_own_pairs: bool = False
    probes: tuple[str, ...] = PROBES
    probes_with_gradient: tuple[str, ...] = ()
    lambda_probes: float = 1.0
    pid_dropout: float = 0.3
    td_dropout: float = 0.6
    ema_start: float = 0.9995
    ema_end: float = 0.99999

    def __post_init__(self) -> None:
        if self.regulariser not in REGULARISERS:
            raise JepalibError(f"regulariser '{self.regulariser}' is not one of {', '.join(REGULARISERS)}")
        for name in (*self.probes, *self.probes_with_gradient):
            if name not in PROBES:
                raise JepalibError(f"probe '{name}' is not one of {', '.join(PROBES)}")
        if missing := set(self.probes_with_gradient) - set(self.probes):
            raise JepalibError(f"probes_with_gradient names {sorted(missing)}, absent from probes")
        for name in ("lambda_particle", "lambda_cls", "regulariser_weight", "lambda_probes"):
            if getattr(self, name) < 0:
                raise JepalibError(f"{name} = {getattr(self, name)}: a weight cannot be negative")
        check_shares(self, "pid_dropout", "td_dropout", "ema_start", "ema_end")

    @property
    def regulariser_weight(self) -> float:
        """Weight of the regulariser: as given, or the paper's."""
        given = self.lambda_regulariser
        return REGULARISERS[self.regulariser] if given is None else given


def architecture(size: str, inputs: str, config: JPJEPAConfig) -> EncoderConfig:
    """The encoder that JP-JEPA trains."""
    return EncoderConfig("particles", size, inputs)


class JPJEPA(nn.Module):
    """Student, teacher, predictor and probes.

    Args:
        size: name of an architecture preset (`models.sizes.SIZES`).
        config: the objective.
        inputs: kin, kinpid or full.
        micro_batch: jets that go through encoders and predictor together.
    """

    def __init__(
        self, size: str, config: JPJEPAConfig | None = None, inputs: str = "full", micro_batch: int = 32
    ) -> None:
        super().__init__()
        self.config = config or JPJEPAConfig()
        self.student = build_encoder(architecture(size, inputs, self.config), micro_batch)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.predictor = ParticlePredictor(
            SIZES[size],
            use_cls=self.config.predictor_cls,
            physics_bias=self.config.predictor_bias,
            own_pair_embed=self.config.predictor_own_pairs,
            micro_batch=micro_batch,
        )
        self.probes = Probes(self.student.width, self.config.probes)
        self.train()

    @property
    def encoder(self) -> ParticleTransformer:
        """The network that is used after pre-training: the teacher."""
        return self.teacher

    def draw(self, jets: Jets, generator: torch.Generator) -> Masks:
        """Context and targets of a batch of jets of at least two particles."""
        return draw_masks(jets, self.config.masks, generator)

    def train(self, mode: bool = True) -> JPJEPA:
        """Training mode for all but the teacher, which always normalises as in evaluation."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, jets: Jets, masks: Masks, generator: torch.Generator | None = None) -> Outputs:
        """Losses of one batch.

        Args:
            jets: at least two particles each.
            masks: context and targets of these jets.
            generator: CPU generator of feature dropout and SIGReg's directions.
        """
        with torch.no_grad():
            truth = self.teacher(jets)
        context_jets = jets.select_particles(masks.context)
        c = self.config
        context = self.student(drop_features(context_jets, c.pid_dropout, c.td_dropout, generator))
        blocks = [self._one_block(jets, block, context, context_jets, truth) for block in masks.targets]
        parts = {name: torch.stack([b[0][name] for b in blocks]).mean() for name in blocks[0][0]}
        figures = {name: torch.stack([b[1][name] for b in blocks]).nanmean() for name in blocks[0][1]}
        if self.config.cls_from_context:
            parts["context_cls"] = smooth_l1(context.cls, truth.cls)
        predicted_cls = torch.stack([b[2] for b in blocks]).mean(0)
        if self.config.regulariser == "koleo":
            parts["koleo"] = koleo(predicted_cls)
        elif self.config.regulariser == "sigreg":
            parts["sigreg"] = sigreg(predicted_cls, generator)
        embeddings = {"particles": mean_tokens(truth), "cls": truth.cls}
        stopped = set(self.config.probes) - set(self.config.probes_with_gradient)
        probe_loss = sum((parts[name] for name in stopped), start=torch.zeros((), device=truth.cls.device))
        return Outputs(self._objective(parts), probe_loss, parts, figures, embeddings)

    def _one_block(
        self,
        jets: Jets,
        target: Bool[Tensor, " particles"],
        context: Encoded,
        context_jets: Jets,
        truth: Encoded,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor], Tensor]:
        """Losses, probe figures and predicted [CLS] of one target block."""
        target_jets = jets.select_particles(target)
        predicted = self.predictor(context, context_jets, target_jets, self.student.pair_embed)
        parts = {
            "particle": smooth_l1(predicted.tokens, truth.tokens[target]),
            "cls": smooth_l1(predicted.cls, truth.cls),
        }
        stopped = predicted.tokens.detach()
        outputs = {
            name: predicted.tokens if name in self.config.probes_with_gradient else stopped
            for name in self.config.probes
        }
        losses, figures = self.probes(outputs, target_jets)
        return {**parts, **losses}, figures, predicted.cls

    def _objective(self, parts: dict[str, Tensor]) -> Float[Tensor, ""]:
        """Weighted sum of all that the encoder learns from (JP-JEPA Eq. 8)."""
        c = self.config
        weights = {"particle": c.lambda_particle, "cls": c.lambda_cls, "context_cls": c.lambda_cls}
        weights[c.regulariser] = c.regulariser_weight
        weights |= dict.fromkeys(c.probes_with_gradient, c.lambda_probes)
        return sum(weights[name] * part for name, part in parts.items() if name in weights)

    def after_step(self, progress: float) -> None:
        """The teacher follows the student; its coefficient rises linearly with `progress` (0 to 1)."""
        momenta = (self.config.ema_start, self.config.ema_end)
        follow_at(self.teacher, self.student, momenta, progress)
