"""The sequencer and the masks: which tokens are context, which are targets."""

from jepalib.masking.blocks import MaskConfig, Masks, draw_masks, draw_token_masks
from jepalib.masking.sequence import greedy_order

__all__ = ["MaskConfig", "Masks", "draw_masks", "draw_token_masks", "greedy_order"]
