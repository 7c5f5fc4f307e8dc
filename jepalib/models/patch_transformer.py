"""The encoder of HEP-JEPA (arXiv:2502.03933): patches of a jet, a mini-PointNet, a transformer.

A patch is a centre and its nearest neighbours (`patches`). Its particles, seen from the centre,
become one token; where the centre lies enters as a positional embedding, and the summed
four-vectors of pairs of patches as attention bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from jepalib.errors import JepalibError
from jepalib.jets import Jets, gather_rows
from jepalib.kinematics import four_vectors, invariant_mass, model_inputs, wrap_phi
from jepalib.models.blocks import PlainTrunk, initialise
from jepalib.models.encoded import Encoded
from jepalib.models.layout import interleaved, offsets_of, sort_by_length, unsort
from jepalib.models.linear import Linear
from jepalib.models.pairs import PairEmbed
from jepalib.models.patches import PatchConfig, make_patches
from jepalib.models.sizes import Size
from jepalib.schema import INPUT_SETS, INPUTS

PLACE = [INPUTS.index("deta"), INPUTS.index("dphi")]
NEARBY = 0.1  # typical distance from a centre to its neighbours, the unit of relative coordinates


@dataclass(frozen=True)
class PatchedJets:
    """A batch of jets cut into patches: all that an encoder needs to know of them.

    Attributes:
        points: inputs of the k particles of each patch; a patch with fewer repeats its centre,
            which the maximum over a patch does not see.
        places: (Delta eta, Delta phi) of the centres.
        p4: summed four-vector of each patch, (px, py, pz, E) in GeV.
        offsets: patches of jet i are rows offsets[i] to offsets[i + 1].
    """

    points: Float[Tensor, "patches k features"]
    places: Float[Tensor, "patches 2"]
    p4: Float[Tensor, "patches 4"]
    offsets: Int[Tensor, " edges"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def select(self, keep: Bool[Tensor, " patches"]) -> PatchedJets:
        """The same jets with some of their patches."""
        before = offsets_of(keep.long())
        rows = keep.nonzero().squeeze(1)
        return PatchedJets(self.points[rows], self.places[rows], self.p4[rows], before[self.offsets])

    def take(self, jets: Int[Tensor, " chosen"]) -> PatchedJets:
        """The jets of the given places."""
        rows, offsets = gather_rows(self.offsets, jets)
        return PatchedJets(self.points[rows], self.places[rows], self.p4[rows], offsets)


def features(inputs: str) -> int:
    """Number of inputs of a particle in a patch: those of the set, and its mass."""
    return INPUT_SETS[inputs] + 1


@torch.no_grad()
def patch_jets(jets: Jets, config: PatchConfig, inputs: str = "full") -> PatchedJets:
    """Patches of every jet, with coordinates relative to their centres (HEP-JEPA Eq. 1).

    A particle is described by its model inputs, of which (Delta eta, Delta phi) are replaced by
    those from the centre in units of 0.1, and by its mass in GeV, clipped to 5.
    """
    deta, dphi = jets.column("deta"), jets.column("dphi")
    patches = make_patches(deta, dphi, jets.offsets, config)
    sizes = patches.member_offsets.diff()
    column = torch.arange(config.neighbours, device=sizes.device)
    column = torch.where(column < sizes[:, None], column, 0)  # the centre comes first
    rows = patches.members[patches.member_offsets[:-1, None] + column]
    centre_eta, centre_phi = deta[patches.centres], dphi[patches.centres]
    p4 = four_vectors(jets)
    x = torch.cat([model_inputs(jets)[:, : INPUT_SETS[inputs]], invariant_mass(p4)[:, None].clamp(max=5)], 1)
    points = x[rows]
    points[..., PLACE[0]] = (deta[rows] - centre_eta[:, None]) / NEARBY
    points[..., PLACE[1]] = wrap_phi(dphi[rows] - centre_phi[:, None]) / NEARBY
    patch = torch.arange(len(sizes), device=sizes.device).repeat_interleave(sizes)
    summed = p4.new_zeros(len(sizes), 4).index_add_(0, patch, p4[patches.members])
    return PatchedJets(points, torch.stack([centre_eta, centre_phi], 1), summed, patches.offsets)


class MiniPointNet(nn.Module):
    """Shared MLP on the particles of a patch, maximum over them, MLP (HEP-JEPA Eq. 2)."""

    def __init__(self, inputs: int, hidden: tuple[int, int], width: int) -> None:
        super().__init__()
        self.before = nn.Sequential(Linear(inputs, hidden[0]), nn.GELU(), Linear(hidden[0], hidden[1]))
        self.after = nn.Sequential(Linear(hidden[1], width), nn.GELU(), Linear(width, width))

    def forward(self, points: Float[Tensor, "patches k features"]) -> Float[Tensor, "patches width"]:
        particles = self.before(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        return self.after(particles.amax(1))


class PatchTransformer(nn.Module):
    """Jets in, one representation per patch out; there is no class token.

    Args:
        size: widths and depths, see `sizes.PATCH_SIZES`.
        inputs: kin, kinpid or full.
        patches: how patches are cut.
        registers: learned tokens beside the patches that are dropped at the end (Darcet et al., 2024).
        physics_bias: attention bias of pairs of patches; 0 for registers.
        micro_batch: jets that go through together (on a GPU at least 512).

    Raises:
        JepalibError: unknown `inputs`, a micro-batch below 1.
    """

    has_cls = False

    def __init__(
        self,
        size: Size,
        inputs: str = "full",
        patches: PatchConfig | None = None,
        registers: int = 8,
        physics_bias: bool = True,
        micro_batch: int = 32,
    ) -> None:
        super().__init__()
        if inputs not in INPUT_SETS:
            raise JepalibError(f"inputs={inputs!r}: choose one of {', '.join(INPUT_SETS)}")
        if micro_batch < 1:
            raise JepalibError(f"micro_batch={micro_batch}: must be at least 1")
        self.width, self.jet_width = size.width, 2 * size.width
        self.inputs, self.micro_batch = inputs, micro_batch
        self.patches = patches or PatchConfig()
        self.tokeniser = MiniPointNet(features(inputs), size.embed, size.width)
        self.place = place_embedding(size.width)
        initialise(self)
        self.register_token = nn.Parameter(0.02 * torch.randn(registers, size.width))
        self.pair_embed = PairEmbed(size.pair, size.heads) if physics_bias else None
        self.trunk = PlainTrunk(size.width, size.heads, size.blocks)

    def forward(self, jets: Jets) -> Encoded:
        """Representations of the patches of whole jets."""
        return self.encode(patch_jets(jets, self.patches, self.inputs))

    def encode(self, batch: PatchedJets) -> Encoded:
        """Representations of patches already cut (or of some of them), in their order."""
        lead = len(self.register_token)
        weights = self.pair_embed.folded(batch.p4, batch.offsets) if self.pair_embed else None
        registers = self.register_token.repeat(len(batch), 1)
        tokens = self.tokeniser(batch.points) + self.place(batch.places)
        tokens = tokens.to(registers.dtype)  # under autocast too, residuals are added in float32
        edges = torch.arange(len(batch) + 1, device=batch.offsets.device) * lead
        order, offsets = interleaved([edges, batch.offsets])
        layout = sort_by_length(offsets, self.micro_batch)
        rows = order[layout.tokens]
        tokens = torch.cat([registers, tokens])[rows]
        p4 = torch.cat([batch.p4.new_zeros(len(registers), 4), batch.p4])[rows]
        outputs = []
        for part in layout.micro_batches:
            bias = None
            if self.pair_embed:
                bias = self.pair_embed(p4[part.tokens], part.layout, weights, lead)
            outputs.append(self.trunk(tokens[part.tokens], part.layout, bias))
        return Encoded(unsort(outputs, rows)[len(registers) :], None, batch.offsets)


def place_embedding(width: int) -> nn.Sequential:
    """The network from the coordinates of a centre to its positional embedding."""
    return nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Linear(width, width))


class PatchPredictor(nn.Module):
    """From the context patches of a jet to the representations at its target centres.

    A smaller transformer on [context patches; one mask token per target patch], both with the
    embedding of where their centres lie. Of a target nothing but its place enters: a bias from
    its four-vector would give away what is to be predicted.
    """

    def __init__(self, size: Size, micro_batch: int = 32) -> None:
        super().__init__()
        width = size.predictor_width
        self.micro_batch = micro_batch
        self.project_in, self.project_out = Linear(size.width, width), Linear(width, size.width)
        self.place = place_embedding(width)
        initialise(self)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.trunk = PlainTrunk(width, size.predictor_heads, size.predictor_blocks)

    def forward(
        self,
        context: Encoded,
        context_places: Float[Tensor, "patches 2"],
        target_places: Float[Tensor, "targets 2"],
        target_offsets: Int[Tensor, " edges"],
    ) -> Encoded:
        """Predictions at the target places, packed in their order.

        Args:
            context: the student's representations of the context patches,
            context_places: whose centres lie here.
            target_places, target_offsets: centres of the patches to predict.
        """
        seen = self.project_in(context.tokens) + self.place(context_places)
        masks = self.mask_token + self.place(target_places)
        order, offsets = interleaved([context.offsets, target_offsets])
        layout = sort_by_length(offsets, self.micro_batch)
        rows = order[layout.tokens]
        tokens = torch.cat([seen, masks]).to(self.mask_token.dtype)[rows]
        outputs = [self.trunk(tokens[part.tokens], part.layout, None) for part in layout.micro_batches]
        predicted = unsort(outputs, rows)[len(seen) :]
        return Encoded(self.project_out(predicted), None, target_offsets)
