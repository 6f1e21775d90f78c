"""Why a background was chosen, in one plain sentence of facts that were read from both pictures."""

from collections.abc import Sequence

from gateway.domain import Feature, Hit

CLOSE, FAIR = 0.6, 0.4
"""Cosines of sentence embeddings from which a match is called close, or fair."""


def explain(product: Sequence[Feature], hit: Hit) -> str:
    """One sentence: how well the scenes match, then what product and background have in common or in contrast."""
    strength = "Close" if hit.score >= CLOSE else "Fair" if hit.score >= FAIR else "Loose"
    wanted = hit.matched_scene.rstrip(".")
    facts = [_mood(product, hit.background.features), _colors(product, hit.background.features)]
    return "; ".join([f"{strength} match for “{wanted}”", *filter(None, facts)]) + "."


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
