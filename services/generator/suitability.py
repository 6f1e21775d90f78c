"""Whether a scene suits a product: scenes recommend, they claim nothing, so they are not checked against the photo."""

import re
from itertools import pairwise

from services.generator.prompt import Features
from services.generator.wordnet import NOUN, WordNet, senses_of, share

WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*(?:['\u2019]s)?")

LIVING_TOPICS = frozenset({5, 18})
"""WordNet's files of animals and persons."""
MOST = 1 / 2
"""The share of a word's uses that it is taken for when it has more."""


class SuitabilityChecker:
    """Finds what a background must not show: people, animals, and the product itself."""

    def __init__(self, wordnet: WordNet) -> None:
        self._wordnet = wordnet

    def unsuitable(self, scene: str, features: Features) -> tuple[str, ...]:
        """The words of an English scene that show such a thing, in lower case and in their order.

        A word before another noun only says of what kind that is: a guest bedroom shows no guest.
        """
        words = WORD.findall(scene.lower())
        product = self._product(features)
        return tuple(
            word
            for word, following in pairwise([*words, ""])
            if not self._is_noun(following) and (self._is_living(word) or product & self._wordnet.forms(word))
        )

    def _product(self, features: Features) -> frozenset[str]:
        """The forms of the words that name the product: the last one of each of its types."""
        types = [label.lower() for category, labels in features if category == "object_type" for label in labels]
        heads = [words[-1] for each in types if (words := WORD.findall(each))]
        return frozenset(form for head in heads for form in self._wordnet.forms(head))

    def _is_living(self, word: str) -> bool:
        senses = self._wordnet.senses(word)
        living = [each for each in senses_of(senses, NOUN) if each.topic in LIVING_TOPICS]
        return bool(senses) and share(senses, living) > MOST

    def _is_noun(self, word: str) -> bool:
        senses = () if word in self._wordnet.function_words else self._wordnet.senses(word)
        return bool(senses) and share(senses, senses_of(senses, NOUN)) > MOST
