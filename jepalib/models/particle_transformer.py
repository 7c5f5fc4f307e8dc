"""The Particle Transformer (ParT, arXiv:2202.03772) on packed jets."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from jepalib.errors import JepalibError
from jepalib.jets import Jets
from jepalib.kinematics import four_vectors, model_inputs
from jepalib.models.blocks import Embed, Trunk, initialise
from jepalib.models.encoded import Encoded
from jepalib.models.layout import sort_by_length, unsort
from jepalib.models.pairs import PairEmbed
from jepalib.models.sizes import Size
from jepalib.schema import INPUT_SETS


class ParticleTransformer(nn.Module):
    """ParT as published, packed in and packed out.

    Jets are sorted by length and go through in micro-batches, whose outputs are put
    back into the caller's order, so a loss may be defined on the whole batch. Neither
    values nor gradients depend on `micro_batch`: the batch norms of inputs and pairs
    take their statistics from the whole batch (see `PairEmbed`). The batch norm of
    the inputs sees particles only; weaver's also counts the zeros of its padding.

    Args:
        size: widths and depths, see `sizes.SIZES`.
        inputs: "kin", "kinpid" or "full", the first 7, 13 or 17 of `schema.INPUTS`.
        dropout: rate in the particle blocks (attention, feed-forward, residual).
        micro_batch: jets that go through together (on a GPU at least 512).

    Raises:
        JepalibError: unknown `inputs`, a micro-batch below 1, heads that do not divide
            the width.
    """

    has_cls = True

    def __init__(self, size: Size, inputs: str = "full", dropout: float = 0.0, micro_batch: int = 32) -> None:
        super().__init__()
        if inputs not in INPUT_SETS:
            raise JepalibError(f"inputs={inputs!r}: choose one of {', '.join(INPUT_SETS)}")
        if micro_batch < 1:
            raise JepalibError(f"micro_batch={micro_batch}: must be at least 1")
        self.width = self.jet_width = size.width
        self.inputs = inputs
        self.micro_batch = micro_batch
        self.input_bn = nn.BatchNorm1d(INPUT_SETS[inputs])
        self.embed = Embed(INPUT_SETS[inputs], size.embed)
        initialise(self.embed)
        self.pair_embed = PairEmbed(size.pair, size.heads, size.pre_activation_pair)
        self.trunk = Trunk(size.width, size.heads, size.blocks, size.cls_blocks, dropout, size.ffn_ratio)

    def forward(self, jets: Jets) -> Encoded:
        """Representations of all particles, in the order given, and of all jets.

        A jet may have any number of particles; one without any is described by its
        class token alone.
        """
        x = self._normalised(model_inputs(jets)[:, : INPUT_SETS[self.inputs]])
        p4 = four_vectors(jets)
        weights = self.pair_embed.folded(p4, jets.offsets)
        batch = sort_by_length(jets.offsets, self.micro_batch)
        x, p4 = x[batch.tokens], p4[batch.tokens]
        particles, cls = [], []
        for part in batch.micro_batches:
            bias = self.pair_embed(p4[part.tokens], part.layout, weights)
            encoded, token = self.trunk(self.embed(x[part.tokens]), part.layout, bias)
            particles.append(encoded)
            cls.append(token)
        return Encoded(unsort(particles, batch.tokens), unsort(cls, batch.jets), jets.offsets)

    def aggregate(
        self, tokens: Float[Tensor, "tokens width"], offsets: Int[Tensor, " edges"]
    ) -> Float[Tensor, "jets width"]:
        """What the class attention blocks make of given particle representations, one vector per jet.

        Args:
            tokens: representations such as `forward` gives, of all or of some particles.
            offsets: those of jet i are rows offsets[i] to offsets[i + 1].
        """
        batch = sort_by_length(offsets, self.micro_batch)
        tokens = tokens[batch.tokens]
        jets = [self.trunk.aggregate(tokens[part.tokens], part.layout) for part in batch.micro_batches]
        return unsort(jets, batch.jets)

    def _normalised(self, inputs: Float[Tensor, "particles inputs"]) -> Float[Tensor, "particles inputs"]:
        norm = self.input_bn
        if self.training and len(inputs) > 1:
            return norm(inputs)
        return F.batch_norm(inputs, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
