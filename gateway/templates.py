"""Captions made of features by fixed sentences: the baseline for grounding, and the fallback of the language model."""

from collections.abc import Sequence

from gateway.domain import Draft, Feature, Subject


def write(features: Sequence[Feature], subject: Subject) -> Draft:
    """A caption and a scene that hold nothing but the sure features."""
    known = {feature.category: feature.names for feature in features if feature.labels}
    return _product(known) if subject is Subject.PRODUCT else _background(known)


def _product(known: dict[str, tuple[str, ...]]) -> Draft:
    thing = _first(known, "object_type") or "product"
    described = _with_article(" ".join([*known.get("color", ())[:1], thing]))
    mood = _first(known, "mood")
    caption = f"{described} with {_with_article(mood).lower()} mood." if mood else f"{described}."
    scene = f"A clean, softly lit surface that suits {described[0].lower()}{described[1:]}"
    return Draft(caption, f"{scene}, {mood} mood." if mood else f"{scene}.")


def _background(known: dict[str, tuple[str, ...]]) -> Draft:
    """The form of the generator's captions, so that pictures read well and pictures read poorly compare alike."""
    surface = _with_article(_first(known, "surface") or "plain surface")
    scene = _with_article(_first(known, "scene") or "plain background").lower()
    details = [
        f"{' '.join(known['lighting'][:2])} light" if "lighting" in known else "",
        f"{' and '.join(known['color'][:2])} tones" if "color" in known else "",
        f"{_first(known, 'mood')} mood" if "mood" in known else "",
    ]
    caption = ", ".join([f"{surface} in front of {scene}", *filter(None, details)]) + "."
    return Draft(caption, "Products that suit " + caption[0].lower() + caption[1:])


def _first(known: dict[str, tuple[str, ...]], category: str) -> str:
    names = known.get(category, ())
    return names[0] if names else ""


def _with_article(noun: str) -> str:
    return f"{'An' if noun[0].lower() in 'aeiou' else 'A'} {noun}"
