"""Backgrounds that look the same, shown once.

Two pictures look the same when their embeddings, their colours and their free space all do: those are the picture's
own parts of the vector, so titles and keywords do not count.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from services.ranker import placement
from services.ranker.ranking import Hit
from services.ranker.signals import Layout, Signal, Vectors

SAME_IMAGE = 0.995
"""The cosine of two pictures' embeddings from which they look the same."""
SAME_PALETTE = 0.9
"""The share of their colours that they have in common."""
SAME_SPACE = 0.05
"""How far their free space may differ, as a mean over the grid, 0 to 1."""


def collapse(hits: Sequence[Hit], vectors: Vectors, layout: Layout) -> list[Hit]:
    """Each hit that looks like no earlier one, with the names of those later ones that look like it.

    Args:
        hits: n hits, the best first.
        vectors: theirs, (n, dimension).
        layout: of the vectors.
    """
    if not hits:
        return []
    pictures = vectors[:, layout.blocks[Signal.IMAGE]]
    # All at once, since it rules out nearly all pairs.
    alike = pictures @ pictures.T >= SAME_IMAGE
    kept: list[int] = []
    duplicates: dict[int, list[str]] = {}
    for row, hit in enumerate(hits):
        like = (other for other in kept if alike[other, row])
        same = next((other for other in like if _same_surface(vectors[other], vectors[row], layout)), None)
        if same is None:
            kept.append(row)
        else:
            duplicates.setdefault(same, []).append(str(hit.background.name))
    return [replace(hits[row], duplicates=tuple(duplicates.get(row, ()))) for row in kept]


def _same_surface(one: Vectors, other: Vectors, layout: Layout) -> bool:
    """Whether two pictures have the same colours and the same free space."""
    blocks = layout.blocks
    palette = float(np.minimum(one[blocks[Signal.COLOR]], other[blocks[Signal.COLOR]]).sum())
    space = placement.difference(one[blocks[Signal.SPACE]], other[blocks[Signal.SPACE]])
    return palette >= SAME_PALETTE and space <= SAME_SPACE
