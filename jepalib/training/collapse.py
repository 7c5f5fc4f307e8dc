"""Whether a representation has collapsed, seen while it is trained."""

from __future__ import annotations

from torch import Tensor

from jepalib.evaluation.representation import effective_rank, per_dimension_std, spectrum_auc

# Below these the representation is called collapsed: effective rank, and mean over
# dimensions of the deviation across jets relative to the size of an embedding.
COLLAPSED_RANK = 2.0
COLLAPSED_STD = 0.01


def diagnose(embeddings: dict[str, Tensor]) -> tuple[dict[str, float], str]:
    """Effective rank, spectrum AUC and spread of each kind of embedding, and an alarm text.

    Args:
        embeddings: (jets, width) by name.

    Returns:
        Figures by ``rank_<name>``, ``spectrum_auc_<name>``, and the deviation over jets of
        each dimension as ``std_<name>`` (mean), ``std_min_<name>``, ``std_max_<name>``; the
        alarm is empty while no embedding has collapsed.
    """
    figures, alarms = {}, []
    for name, x in embeddings.items():
        x = x.detach().double().cpu()
        spreads = per_dimension_std(x)
        rank, spread = effective_rank(x), float(spreads.mean())
        size = float(x.square().mean().sqrt())
        figures |= {f"rank_{name}": rank, f"spectrum_auc_{name}": spectrum_auc(x), f"std_{name}": spread}
        figures |= {f"std_min_{name}": float(spreads.min()), f"std_max_{name}": float(spreads.max())}
        if rank < COLLAPSED_RANK or spread < COLLAPSED_STD * size:
            alarms.append(
                f"{name} (effective rank {rank:.1f}, relative spread {spread / max(size, 1e-12):.1e})"
            )
    return figures, f"the representation has collapsed: {'; '.join(alarms)}" if alarms else ""
