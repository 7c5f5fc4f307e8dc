"""The sizes of the Particle Transformer, from Atto and Nano (a CPU) to Huge."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Widths and depths of an encoder and of the predictor that goes with it.

    Attributes:
        width: dimension of particle and jet representations.
        embed: widths of the layers that embed a particle's inputs; the last is `width`.
        heads: attention heads of the encoder.
        blocks: particle attention blocks.
        cls_blocks: class attention blocks.
        pair: hidden widths of the network that turns pairwise features into a bias.
        predictor_width, predictor_heads, predictor_blocks, predictor_cls_blocks: the
            same for the predictor.
        pre_activation_pair: leave out the GELU after the last layer of the pair
            network. The published JetClass network has that GELU, so False; the
            default of weaver's class is True, and the weights do not tell them apart.
        ffn_ratio: width of the feed-forward layers in widths of the network.
    """

    width: int
    embed: tuple[int, ...]
    heads: int
    blocks: int
    cls_blocks: int
    pair: tuple[int, ...]
    predictor_width: int
    predictor_heads: int
    predictor_blocks: int
    predictor_cls_blocks: int
    pre_activation_pair: bool = False
    ffn_ratio: int = 4


PAIR = (64, 64, 64)

# Mini is ParT as published (arXiv:2202.03772). Predictor widths above Mini are not
# published: half of the encoder's, as Mini has it. "p-jepa" has the widths, heads and blocks of
# the slides "Towards a Foundation Model for Jet Physics" (H. Qu, EPS-HEP 2025); its predictor is
# plain, the class block there is for JP-JEPA at this size. The slides do not tell their feed-forward;
# with ParT's, four times as wide, the networks would have 57.4 M and 2.0 M parameters, with one six
# times as wide they have the 76 M and 2.6 M that the slides count (a gated one would, too).
#
# Nano and the three below it are ours: no paper has networks so small. They make the axis of
# parameters of `13_scaling` on a CPU. Each is half as wide as the next and a block shallower, with
# heads of 8 channels, what the CPU kernels take whole.
SIZES: dict[str, Size] = {
    "atto": Size(8, (8, 32, 8), 1, 1, 1, (8, 8, 8), 16, 1, 1, 1),
    "femto": Size(16, (16, 64, 16), 2, 2, 1, (16, 16, 16), 16, 2, 1, 1),
    "pico": Size(32, (32, 128, 32), 4, 3, 1, (32, 32, 32), 24, 4, 1, 1),
    "nano": Size(64, (64, 256, 64), 8, 4, 1, (32, 32, 32), 48, 8, 2, 1),
    "mini": Size(128, (128, 512, 128), 8, 8, 2, PAIR, 64, 8, 4, 1),
    "tiny": Size(192, (192, 512, 192), 8, 12, 3, PAIR, 96, 8, 6, 1),
    "small": Size(384, (384, 512, 384), 8, 12, 3, PAIR, 192, 8, 6, 1),
    "p-jepa": Size(512, (512, 512, 512), 8, 16, 2, PAIR, 192, 6, 4, 1, ffn_ratio=6),
    "base": Size(768, (768, 768, 768), 12, 12, 3, PAIR, 384, 12, 6, 1),
    "large": Size(1024, (1024, 1024, 1024), 16, 24, 6, PAIR, 512, 16, 12, 2),
    "huge": Size(1280, (1280, 1280, 1280), 16, 32, 8, PAIR, 640, 16, 16, 4),
}

# HEP-JEPA (arXiv:2502.03933): 12 blocks of width 128 make its 2.5 M parameters, here called
# mini; `embed` are the two halves of the mini-PointNet, and the encoder has no class token.
# The predictor's size is not published: half as wide and half as deep, as in Point-JEPA, with
# heads of 16 channels, a whole vector of the CPU kernels. Those below mini are ours.
PATCH_SIZES: dict[str, Size] = {
    "atto": Size(8, (8, 16), 1, 1, 0, (8, 8, 8), 16, 1, 1, 0),
    "femto": Size(16, (16, 32), 1, 2, 0, (16, 16, 16), 16, 1, 1, 0),
    "pico": Size(32, (32, 64), 2, 3, 0, (32, 32, 32), 24, 2, 1, 0),
    "nano": Size(64, (64, 128), 4, 4, 0, (32, 32, 32), 48, 3, 2, 0),
    "mini": Size(128, (64, 128), 8, 12, 0, PAIR, 64, 4, 6, 0),
}
