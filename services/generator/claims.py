"""What a caption says is in the photo, and whether a feature supports it: things, materials and colours.

WordNet decides what a word may claim, and what is the same or more general.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from services.generator.prompt import Features
from services.generator.wordnet import (
    ADJECTIVE,
    DERIVED,
    HYPERNYMS,
    NOUN,
    VERB,
    Sense,
    Synset,
    WordNet,
    senses_of,
    share,
    uses,
)

WORD = re.compile(r"(?<![\w'\u2019])[^\W\d_]+(?:-[^\W\d_]+)*")
LONGEST_COMPOUND = 3

COLOR_CATEGORIES = frozenset({"color", "colors", "colour", "colours"})
"""Here "coral" is no animal, and "slate" no stone."""

MIN_SHARE = 1 / 3
"""The share of a word's uses that say what is to be seen, from which on it counts as a claim."""

THING_TOPICS = frozenset({5, 6, 8, 13, 15, 17, 18, 20, 27})
"""WordNet's files of animals, artifacts, bodies, food, places, natural objects, persons, plants and substances."""
MATERIAL_TOPICS = frozenset({27})
COLOR_HEADS = frozenset({"chromatic", "achromatic"})
MATERIAL_HEADS = frozenset({"metallic", "woody"})

# Those that WordNet does not know as such.
MORE_COLORS = frozenset({"black", "white", "cream", "terracotta", "mustard", "taupe"})
MORE_MATERIALS = frozenset({"ceramic", "polyester", "suede"})

SAY_NOTHING = """
accent accessory area article back background base be bottom can center centre collection contrast could country
detail do edge essential every feature form front have image item kind line matte middle might model must my object
pair part photo photograph picture piece place plush product scene setting shall should side silhouette space spot
surface their these thing those top touch type view vintage would your
"""
"""Words that name nothing in particular, or seldom what WordNet has for them."""


class Kind(Enum):
    """What a word says of a product."""

    THING = "thing"
    MATERIAL = "material"
    COLOR = "color"


@dataclass(frozen=True, slots=True)
class Claim:
    """A word that says what is in the photo."""

    word: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class _Support:
    """What labels say.

    Attributes:
        words: theirs, in all forms.
        meanings: of the words, and for the last ones all that is more general.
        heads: what the last words mean, which supports what is one step more special.
    """

    words: frozenset[str]
    meanings: frozenset[Synset]
    heads: frozenset[Synset]


class ClaimChecker:
    """Finds the words of English captions that no feature supports.

    Args:
        wordnet: what words mean.
        next_special: whether a label supports what is one step more special, as "shoe" does "sneaker".
    """

    def __init__(self, wordnet: WordNet, *, next_special: bool = True) -> None:
        self._next_special = next_special
        self._wordnet = wordnet
        self._say_nothing = self._wordnet.function_words | set(SAY_NOTHING.split())
        self._color_names = self._synsets("chromatic_color") | self._synsets("achromatic_color")
        self._fabrics = self._synsets("fabric")
        self._ancestors = lru_cache(20_000)(self._find_ancestors)
        self._kind = lru_cache(20_000)(self._find_kind)
        self._support = lru_cache(1_000)(self._find_support)

    def unsupported(self, caption: str, features: Features) -> tuple[str, ...]:
        """The words of `caption` that claim what no label of `features` supports, in lower case and in their order.

        A label supports its words, their synonyms and derivations, and all that is more general than its last word:
        "sneakers" support "footwear".
        """
        support = self._support(
            tuple((category in COLOR_CATEGORIES, label.lower()) for category, labels in features for label in labels)
        )
        words = _words(caption)
        known = self._places_in_supported_compounds(words, support)
        return tuple(
            claim.word
            for place, claim in enumerate(self._claims(words))
            if claim and place not in known and not self._is_supported(claim.word, support)
        )

    def claims(self, caption: str) -> tuple[Claim, ...]:
        """All that `caption` says is in the photo."""
        return tuple(claim for claim in self._claims(_words(caption)) if claim)

    def _claims(self, words: Sequence[str]) -> list[Claim | None]:
        kinds = map(self._kind, words)
        return [Claim(word, kind) if kind else None for word, kind in zip(words, kinds, strict=True)]

    def _find_kind(self, word: str) -> Kind | None:
        """What a word says, as the part of speech that it is most often."""
        forms = self._wordnet.forms(word)
        if len(word) == 1 or not self._say_nothing.isdisjoint(forms):
            return None
        if not MORE_COLORS.isdisjoint(forms):
            return Kind.COLOR
        if not MORE_MATERIALS.isdisjoint(forms):
            return Kind.MATERIAL
        senses = self._wordnet.senses(word)
        if not senses:
            parts = word.split("-")
            return next(filter(None, map(self._kind, parts)), None) if len(parts) > 1 else Kind.THING
        nouns, adjectives, verbs = (senses_of(senses, each) for each in (NOUN, ADJECTIVE, VERB))
        if uses(verbs) > uses(nouns) + uses(adjectives) and self._is_inflected(word):
            return None
        if adjectives and uses(adjectives) >= uses(nouns):
            return self._kind_of_adjective(word, adjectives) or self._kind_of_material([*nouns, *adjectives])
        return self._kind_of_noun(nouns) if nouns else None

    def _kind_of_adjective(self, word: str, senses: Sequence[Sense]) -> Kind | None:
        if share(senses, [each for each in senses if each.head in COLOR_HEADS]) >= MIN_SHARE:
            return Kind.COLOR
        of_material = [each for each in senses if each.head in MATERIAL_HEADS or self._is_from_material(word, each)]
        return Kind.MATERIAL if share(senses, of_material) >= MIN_SHARE else None

    def _kind_of_noun(self, senses: Sequence[Sense]) -> Kind | None:
        colors = [each for each in senses if self._is_color(each.synset)]
        if share(senses, colors) >= MIN_SHARE:
            return Kind.COLOR
        things = [each for each in senses if each.topic in THING_TOPICS]
        if share(senses, things) >= MIN_SHARE:
            return self._kind_of_material(senses) or Kind.THING
        return Kind.COLOR if colors else None

    def _kind_of_material(self, senses: Sequence[Sense]) -> Kind | None:
        materials = [each for each in senses if self._is_material(each.synset)]
        return Kind.MATERIAL if share(senses, materials) >= MIN_SHARE else None

    def _is_from_material(self, word: str, sense: Sense) -> bool:
        return any(self._is_material(each) for each in self._wordnet.related(sense.synset, DERIVED, word))

    def _is_inflected(self, word: str) -> bool:
        return any(self._wordnet.senses(form) for form in self._wordnet.forms(word) - {word})

    def _is_material(self, synset: Synset) -> bool:
        if synset.part_of_speech != NOUN:
            return False
        return self._wordnet.topic(synset) in MATERIAL_TOPICS or bool(self._ancestors(synset) & self._fabrics)

    def _is_supported(self, word: str, support: _Support) -> bool:
        if not support.words.isdisjoint(self._wordnet.forms(word)):
            return True
        meanings = self._meanings(word)
        if "-" in word and not meanings:
            parts = filter(self._kind, word.split("-"))
            return all(self._is_supported(part, support) for part in parts)
        return not meanings.isdisjoint(support.meanings) or not self._parents(meanings).isdisjoint(support.heads)

    def _places_in_supported_compounds(self, words: Sequence[str], support: _Support) -> set[int]:
        spans = (
            range(first, first + length)
            for length in range(2, LONGEST_COMPOUND + 1)
            for first in range(len(words) - length + 1)
        )
        return {
            place
            for span in spans
            if support.meanings & self._synsets("_".join(words[each] for each in span))
            for place in span
        }

    def _find_support(self, labels: Sequence[tuple[bool, str]]) -> _Support:
        forms: set[str] = set()
        meanings: set[Synset] = set()
        heads: set[Synset] = set()
        for is_color, label in labels:
            words = _words(label)
            forms |= {form for word in words for form in self._wordnet.forms(word)}
            found = {synset for word in words for synset in self._meanings(word)}
            ends = {synset for word in ("_".join(words), *words[-1:]) for synset in self._meanings(word)}
            meanings |= set(filter(self._is_color, found)) if is_color else found
            heads |= set(filter(self._is_color, ends)) if is_color else ends
        general = {ancestor for head in heads for ancestor in self._ancestors(head)}
        return _Support(
            frozenset(forms), frozenset(heads | meanings | general), frozenset(heads if self._next_special else ())
        )

    def _is_color(self, synset: Synset) -> bool:
        return synset.part_of_speech == ADJECTIVE or bool(self._ancestors(synset) & self._color_names)

    def _meanings(self, word: str) -> frozenset[Synset]:
        """What a word may mean, and what it is derived from: "leathery" is like "leather"."""
        own = [each for each in self._synsets(word) if each.part_of_speech in (NOUN, ADJECTIVE)]
        adjectives = [each for each in own if each.part_of_speech == ADJECTIVE]
        return frozenset([*own, *(each for one in adjectives for each in self._wordnet.related(one, DERIVED, word))])

    def _synsets(self, word: str) -> frozenset[Synset]:
        return frozenset(each.synset for each in self._wordnet.senses(word))

    def _parents(self, synsets: Iterable[Synset]) -> frozenset[Synset]:
        return frozenset(each for synset in synsets for each in self._wordnet.related(synset, HYPERNYMS))

    def _find_ancestors(self, synset: Synset) -> frozenset[Synset]:
        """All that is more general than a noun's meaning."""
        found: set[Synset] = set()
        newest = {synset}
        while newest:
            newest = set(self._parents(newest)) - found
            found |= newest
        return frozenset(found)


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower())
