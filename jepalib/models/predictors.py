"""Predictors: from the context of a jet to the representations at its target places."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import four_vectors
from jepalib.models.blocks import PlainTrunk, Trunk, initialise
from jepalib.models.encoded import Encoded
from jepalib.models.layout import interleaved, sort_by_length, unsort
from jepalib.models.linear import Linear
from jepalib.models.pairs import PairEmbed
from jepalib.models.patch_transformer import place_embedding
from jepalib.models.sizes import Size
from jepalib.schema import PARTICLE_COLUMN

PLACE = [PARTICLE_COLUMN["deta"], PARTICLE_COLUMN["dphi"]]
NARROWEST = 16  # channels of a head: a whole vector of the CPU kernels


class ParticlePredictor(nn.Module):
    """The predictor of JP-JEPA: a smaller ParT on context and mask tokens.

    The tokens of a jet are [context CLS; context particles; one mask token per target
    particle], a mask token being one learned vector plus a learned embedding of the
    (Delta eta, Delta phi) where it stands. The attention bias is that of all particles
    involved, by the student's own pair network; it is 0 for the CLS.

    Args:
        size: the predictor's width, heads and blocks, and the encoder's width.
        use_cls: whether the context CLS is among the tokens.
        physics_bias: whether attention has the pairwise bias.
        own_pair_embed: a pair network of the predictor's own in place of the student's.
        micro_batch: jets that go through together (on a GPU at least 512).

    Raises:
        JepalibError: a micro-batch below 1, or the student's pair network would be shared,
            but has another number of heads.
    """

    def __init__(
        self,
        size: Size,
        use_cls: bool = True,
        physics_bias: bool = True,
        own_pair_embed: bool = False,
        micro_batch: int = 32,
    ) -> None:
        super().__init__()
        if micro_batch < 1:
            raise JepalibError(f"micro_batch={micro_batch}: must be at least 1")
        width = size.predictor_width
        shared = physics_bias and not own_pair_embed
        if shared and size.heads != size.predictor_heads:
            raise JepalibError(
                f"a predictor of {size.predictor_heads} heads cannot share the pair network of an encoder "
                f"of {size.heads}: make them equal or set own_pair_embed"
            )
        self.use_cls = use_cls
        self.physics_bias = physics_bias
        self.micro_batch = micro_batch
        self.project_in = nn.Linear(size.width, width)
        self.project_out = nn.Linear(width, size.width)
        self.place = place_embedding(width)
        initialise(self)
        self.mask_token = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        own = physics_bias and own_pair_embed
        self.pair_embed = (
            PairEmbed(size.pair, size.predictor_heads, size.pre_activation_pair) if own else None
        )
        self.trunk = Trunk(
            width,
            size.predictor_heads,
            size.predictor_blocks,
            size.predictor_cls_blocks,
            ffn_ratio=size.ffn_ratio,
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, context: Encoded, context_jets: Jets, target_jets: Jets, pair_embed: PairEmbed | None
    ) -> Encoded:
        """Predictions at the target places.

        Args:
            context: the student's representations of `context_jets`.
            context_jets: the jets with their context particles only.
            target_jets: the same jets with their target particles only. Of these, the
                place (Delta eta, Delta phi) and, for the bias, the four-vector are used.
            pair_embed: the student's pair network; not used when the predictor has its
                own, or no physics bias.

        Returns:
            predictions in the order of `target_jets.particles`, and one per jet, both
            of the encoder's width.

        Raises:
            JepalibError: the two batches differ in their jets, or `pair_embed` is missing.
        """
        if len(context_jets) != len(target_jets):
            raise JepalibError(f"predictor: {len(context_jets)} context jets, {len(target_jets)} target jets")
        network = (self.pair_embed or pair_embed) if self.physics_bias else None
        if self.physics_bias and network is None:
            raise JepalibError("predictor: it shares the student's pair network, so pass pair_embed")
        lead = int(self.use_cls)
        masks = self.mask_token + self.place(target_jets.particles[:, PLACE])
        tokens = torch.cat([self.project_in(context.cls)] * lead + [self.project_in(context.tokens), masks])
        order, offsets = self._order(context_jets.offsets, target_jets.offsets)
        p4 = torch.cat([four_vectors(context_jets), four_vectors(target_jets)])
        weights = None
        if network is not None:
            particles, edges = interleaved([context_jets.offsets, target_jets.offsets])
            weights = network.folded(p4[particles], edges)
        p4 = torch.cat([p4.new_zeros(lead * len(context_jets), 4), p4])
        batch = sort_by_length(offsets, self.micro_batch)
        rows = order[batch.tokens]  # rows of `tokens`, in the order of the sorted batch
        tokens, p4 = tokens[rows], p4[rows]
        outputs, cls = [], []
        for part in batch.micro_batches:
            bias = None if network is None else network(p4[part.tokens], part.layout, weights, lead)
            output, token = self.trunk(tokens[part.tokens], part.layout, bias)
            outputs.append(output)
            cls.append(token)
        predicted = unsort(outputs, rows)[len(rows) - len(masks) :]
        jets = self.project_out(unsort(cls, batch.jets))
        return Encoded(self.project_out(self.norm(predicted)), jets, target_jets.offsets)

    def _order(
        self, context: Int[Tensor, " edges"], target: Int[Tensor, " edges"]
    ) -> tuple[Int[Tensor, " tokens"], Int[Tensor, " edges"]]:
        cls = [torch.arange(len(context), device=context.device)] if self.use_cls else []
        return interleaved([*cls, context, target])


class AggregatePredictor(nn.Module):
    """The predictor of P-JEPA: from one vector per jet to the representations at its target places.

    A plain transformer on [aggregated token; one mask token per target particle], a mask token
    being one learned vector plus a learned embedding of the (Delta eta, Delta phi) where it
    stands. No context particle and no pairwise bias enters: all that is known of the context has
    passed through the one token.

    Args:
        size: the predictor's width, heads and blocks, and the encoder's width. Heads narrower than
            `NARROWEST` channels are made fewer and wider.
        micro_batch: jets that go through together (on a GPU at least 512).

    Raises:
        JepalibError: a micro-batch below 1, heads that do not divide the width.
    """

    def __init__(self, size: Size, micro_batch: int = 32) -> None:
        super().__init__()
        if micro_batch < 1:
            raise JepalibError(f"micro_batch={micro_batch}: must be at least 1")
        width = size.predictor_width
        heads = max(1, min(size.predictor_heads, width // NARROWEST))
        self.micro_batch = micro_batch
        self.project_in, self.project_out = Linear(size.width, width), Linear(width, size.width)
        self.place = place_embedding(width)
        initialise(self)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.trunk = PlainTrunk(width, heads, size.predictor_blocks, size.ffn_ratio)

    def forward(
        self, aggregated: Float[Tensor, "jets width"], targets: Jets
    ) -> Float[Tensor, "particles width"]:
        """Predictions of the encoder's width, in the order of `targets.particles`.

        Args:
            aggregated: the context of each jet as one token.
            targets: the same jets with their target particles only, of which nothing but the
                place (Delta eta, Delta phi) is used.

        Raises:
            JepalibError: not one token for each jet.
        """
        jets = len(aggregated)
        if jets != len(targets):
            raise JepalibError(f"predictor: {jets} aggregated tokens, {len(targets)} target jets")
        masks = self.mask_token + self.place(targets.particles[:, PLACE])
        tokens = torch.cat([self.project_in(aggregated), masks]).to(self.mask_token.dtype)
        one_each = torch.arange(jets + 1, device=tokens.device)
        order, offsets = interleaved([one_each, targets.offsets])
        batch = sort_by_length(offsets, self.micro_batch)
        rows = order[batch.tokens]
        tokens = tokens[rows]
        outputs = [self.trunk(tokens[part.tokens], part.layout, None) for part in batch.micro_batches]
        return self.project_out(unsort(outputs, rows)[jets:])
