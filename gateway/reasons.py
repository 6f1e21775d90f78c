"""Why a background was chosen, in one plain sentence of facts that were read from both pictures."""

from collections.abc import Sequence

from gateway.domain import Feature, Hit, Signal

CLOSE, FAIR = 0.6, 0.4
"""Cosines of sentence embeddings from which a match is called close, or fair."""
LEARNED = 0.1
"""Similarity by feedback from which it is worth a word."""
CALM = 0.8
"""Free space, 0 to 1, from which a place is called calm."""


def explain(product: Sequence[Feature], hit: Hit) -> str:
    """One sentence: how well the scenes match, what both have in common or in contrast, and what else spoke for it."""
    similarity = {part.signal: part.similarity for part in hit.signals}
    match = similarity.get(Signal.TEXT, 0.0)
    strength = "Close" if match >= CLOSE else "Fair" if match >= FAIR else "Loose"
    wanted = hit.matched_scene.rstrip(".")
    facts = [
        _picture(hit),
        _mood(product, hit.background.features),
        _colors(product, hit.background.features),
        "liked for similar products before" if similarity.get(Signal.FEEDBACK, 0.0) >= LEARNED else "",
        "calm where the product will stand" if similarity.get(Signal.SPACE, 0.0) >= CALM else "",
    ]
    return "; ".join([f"{strength} match for “{wanted}”", *filter(None, facts)]) + "."


def _picture(hit: Hit) -> str:
    """Says so when the picture itself counted for more than what is written about it."""
    gains = {part.signal: part.contribution for part in hit.signals}
    seen = gains.get(Signal.IMAGE, 0.0) + gains.get(Signal.PHOTO, 0.0)
    return "its picture speaks for it more than its caption" if seen > gains.get(Signal.TEXT, 0.0) else ""


def _mood(product: Sequence[Feature], background: Sequence[Feature]) -> str:
    shared = [name for name in _names(product, "mood") if name in _names(background, "mood")]
    return f"both are {shared[0]}" if shared else ""


def _colors(product: Sequence[Feature], background: Sequence[Feature]) -> str:
    mine, theirs = _names(product, "color"), _names(background, "color")
    if not mine or not theirs:
        return ""
    if mine[0] in theirs:
        return f"its {mine[0]} picks up the product's"
    return f"{mine[0]} before {' and '.join(theirs[:2])}"


def _names(features: Sequence[Feature], category: str) -> tuple[str, ...]:
    return next((feature.names for feature in features if feature.category == category), ())
