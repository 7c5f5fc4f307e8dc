"""HEP-JEPA: joint-embedding prediction on patches of a jet (arXiv:2502.03933).

The student encodes the context patches; the predictor, told where the target patches lie,
predicts what the teacher says of them, the teacher having seen the whole jet.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from jepalib.augment import AugmentConfig, augment
from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.masking import MaskConfig, Masks, draw_token_masks
from jepalib.methods.losses import smooth_l1
from jepalib.methods.outputs import Outputs
from jepalib.methods.teacher import check_shares, follow_at
from jepalib.models.encoded import Encoded, join
from jepalib.models.encoders import EncoderConfig, build_encoder
from jepalib.models.layout import offsets_of
from jepalib.models.patch_transformer import PatchedJets, PatchPredictor, patch_jets
from jepalib.models.patches import PatchConfig
from jepalib.models.pooling import mean_tokens
from jepalib.models.sizes import PATCH_SIZES

ABOUT = """\
**HEP-JEPA** works on patches. Centres spread over the jet by farthest-point sampling take their nearest
constituents; a small network turns each group into one token, and a standard transformer with a physics bias
between groups encodes the tokens. The student sees the context patches only; the teacher, a moving average of
the student, sees the whole jet. A predictor is told where each target patch lies and predicts the teacher's
vector for it; the loss (smooth L1) compares the two. Masks hide patches, not constituents: neighbouring
patches share some, so that a part of what is to be predicted is in sight. Nothing but the moving average
keeps the vectors apart: there is no class token, no regulariser and no probe."""


@dataclass(frozen=True)
class HEPJEPAConfig:
    """Everything of the objective; masks, registers and bias as in the paper's main text.

    Not published, and chosen here: how many patches of how many constituents, the predictor's
    size, and the teacher's coefficient (JP-JEPA's).

    Attributes:
        patches: how a jet is cut into patches.
        masks: how context and targets are drawn, over patches.
        registers: learned tokens beside the patches in both encoders.
        physics_bias: attention bias of the patches' summed four-vectors in both encoders.
        augment: random rotation, smearing and boost of every jet, the same for both encoders.
        ema_start, ema_end: teacher coefficient, linear in the step.
    """

    patches: PatchConfig = field(default_factory=PatchConfig)
    masks: MaskConfig = field(
        default_factory=lambda: MaskConfig(targets=4, target_ratio=(0.15, 0.2), context_ratio=(0.4, 0.75))
    )
    registers: int = 8
    physics_bias: bool = True
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    ema_start: float = 0.9995
    ema_end: float = 0.99999

    def __post_init__(self) -> None:
        if self.patches.least < 2:
            raise JepalibError(
                "patches.least = 1: a jet needs a patch to see and one to predict, give at least 2"
            )
        if self.registers < 0:
            raise JepalibError(f"registers = {self.registers}: give at least 0")
        check_shares(self, "ema_start", "ema_end")


@dataclass(frozen=True)
class PatchView:
    """What is drawn for one batch: its patches, and masks over them."""

    patches: PatchedJets
    masks: Masks


def architecture(size: str, inputs: str, config: HEPJEPAConfig) -> EncoderConfig:
    """The encoder that HEP-JEPA trains."""
    return EncoderConfig("patches", size, inputs, config.patches, config.registers, config.physics_bias)


class HEPJEPA(nn.Module):
    """Student, teacher and predictor.

    Args:
        size: name of an architecture preset (`models.sizes.PATCH_SIZES`).
        config: the objective.
        inputs: kin, kinpid or full.
        micro_batch: jets that go through encoders and predictor together.
    """

    def __init__(
        self, size: str, config: HEPJEPAConfig | None = None, inputs: str = "full", micro_batch: int = 32
    ) -> None:
        super().__init__()
        self.config = config or HEPJEPAConfig()
        self.student = build_encoder(architecture(size, inputs, self.config), micro_batch)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.predictor = PatchPredictor(PATCH_SIZES[size], micro_batch)
        self.train()

    @property
    def encoder(self) -> nn.Module:
        """The network that is used after pre-training: the teacher."""
        return self.teacher

    def train(self, mode: bool = True) -> HEPJEPA:
        """Training mode for all but the teacher, which always normalises as in evaluation."""
        super().train(mode)
        self.teacher.eval()
        return self

    def draw(self, jets: Jets, generator: torch.Generator) -> PatchView:
        """Augmentation, patches and masks of a batch of jets of at least two particles."""
        jets = augment(jets, self.config.augment, generator)
        patches = patch_jets(jets, self.config.patches, self.student.inputs)
        deta, dphi = patches.places.unbind(1)
        return PatchView(patches, draw_token_masks(deta, dphi, patches.offsets, self.config.masks, generator))

    def forward(self, jets: Jets, view: PatchView, generator: torch.Generator | None = None) -> Outputs:
        """Loss of one batch: the mean over its target blocks (HEP-JEPA Eq. 3).

        A block's loss is the mean over all its patches in the batch, so that jets with many
        patches count more than those with few.

        Args:
            jets: what `view` was drawn from.
            view: patches and masks.
            generator: not used; all that is random was drawn.
        """
        patches, masks = view.patches, view.masks
        with torch.no_grad():
            truth = self.teacher.encode(patches)
        seen = patches.select(masks.context)
        context = self.student.encode(seen)
        hidden = [patches.select(target) for target in masks.targets]
        predicted = self._predict(context, seen, hidden)
        losses = [smooth_l1(p, truth.tokens[t]) for p, t in zip(predicted, masks.targets, strict=True)]
        loss = torch.stack(losses).mean()
        return Outputs(loss, torch.zeros_like(loss), {"patch": loss}, {}, {"patches": mean_tokens(truth)})

    def _predict(
        self, context: Encoded, seen: PatchedJets, hidden: list[PatchedJets]
    ) -> tuple[Float[Tensor, "patches width"], ...]:
        """Predictions of each target block by itself; blocks go through as if they were jets."""
        blocks = len(hidden)
        contexts = join([context] * blocks)
        offsets = offsets_of(torch.cat([h.offsets.diff() for h in hidden]))
        places = torch.cat([h.places for h in hidden])
        predicted = self.predictor(contexts, seen.places.repeat(blocks, 1), places, offsets)
        return predicted.tokens.split([len(h.places) for h in hidden])

    def after_step(self, progress: float) -> None:
        """The teacher follows the student; its coefficient rises linearly with `progress`."""
        momenta = (self.config.ema_start, self.config.ema_end)
        follow_at(self.teacher, self.student, momenta, progress)
