import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.generator.claims import ClaimChecker, Kind
from services.generator.wordnet import WordNet

CHECKER = ClaimChecker(WordNet())

MUG = [("object_type", ["coffee mug"]), ("color", ["light blue"]), ("mood", ["cosy"])]

names = st.text(st.characters(categories=["L", "Zs", "Pd"]), max_size=30)


def unsupported(caption: str, *labels: str) -> tuple[str, ...]:
    return CHECKER.unsupported(caption, [("some", labels)])


@pytest.mark.parametrize(
    ("caption", "labels"),
    [
        ("Two mugs.", ["mug"]),
        ("A mug.", ["mugs"]),
        ("A pair of mice.", ["mouse"]),
        ("A couch.", ["sofa"]),
        ("A skillet.", ["frying pan"]),
        ("Sturdy footwear.", ["sneakers"]),
        ("Plain shoes.", ["sneakers"]),
        ("Sneakers.", ["shoes"]),
        ("A piece of clothing.", ["t-shirt"]),
        ("A bottle of wine.", ["wine bottle"]),
        ("A mug for coffee.", ["coffee mug"]),
        ("A drinking vessel.", ["coffee mug"]),
        ("A crimson and scarlet mug.", ["mug", "red"]),
        ("A golden vase.", ["vase", "gold"]),
        ("A grey hat.", ["hat", "gray"]),
        ("A navy dress.", ["dress", "blue"]),
        ("A light blue mug.", ["mug", "light blue"]),
        ("A wooden box.", ["box", "wood"]),
        ("A box made of wood.", ["wooden", "box"]),
        ("A leathery bag.", ["bag", "leather"]),
        ("A WOODEN Box.", ["box", "Wood"]),
    ],
)
def test_what_a_label_says_in_other_words_is_supported(caption: str, labels: list[str]) -> None:
    assert unsupported(caption, *labels) == ()


@pytest.mark.parametrize(
    ("caption", "labels", "words"),
    [
        ("A red mug.", ["mug", "blue"], ("red",)),
        ("A blue mug.", ["mug", "red"], ("blue",)),
        ("A golden vase.", ["vase", "green"], ("golden",)),
        ("A wooden spoon.", ["spoon", "steel"], ("wooden",)),
        ("A ceramic plate.", ["plate"], ("ceramic",)),
        ("A plastic bottle.", ["bottle", "glass"], ("plastic",)),
        ("A silver-toned ring.", ["ring"], ("silver-toned",)),
        ("A cowboy hat.", ["hat"], ("cowboy",)),
        ("A straw hat.", ["hat"], ("straw",)),
        ("A handbag beside a lemon.", ["backpack"], ("handbag", "lemon")),
        ("A shoe.", ["shirt"], ("shoe",)),
        ("A smartphone.", ["radio"], ("smartphone",)),
        ("A woman wears the dress.", ["dress"], ("woman",)),
        ("White wine in a WHITE glass.", ["wine"], ("white", "white", "glass")),
        ("A crème brûlée and a кружка.", ["mug"], ("crème", "brûlée", "кружка")),
    ],
)
def test_things_materials_and_colors_that_no_label_names_are_found(
    caption: str, labels: list[str], words: tuple[str, ...]
) -> None:
    assert unsupported(caption, *labels) == words


@pytest.mark.parametrize(
    "caption",
    [
        "A product with an elegant look and a cosy mood.",
        "A stylish item of modern design, simple and plain, in vivid tones.",
        "A piece with a fresh, playful style.",
        "A product photo: it sits, stands and has been made for you.",
        "",
        "  … 12 % !",
    ],
)
def test_words_that_name_nothing_to_be_seen_need_no_support(caption: str) -> None:
    assert unsupported(caption) == ()


def test_without_features_every_claim_is_found() -> None:
    assert CHECKER.unsupported("A blue mug of glass.", []) == ("blue", "mug", "glass")


def test_any_category_supports_any_word() -> None:
    assert CHECKER.unsupported("A cosy light blue coffee mug.", MUG) == ()


def test_a_color_supports_no_thing_of_its_name() -> None:
    assert CHECKER.unsupported("A gray stone.", [("color", ["slate", "gray"])]) == ("stone",)
    assert CHECKER.unsupported("A gray stone.", [("object_type", ["slate"]), ("color", ["gray"])]) == ()


def test_what_is_more_special_can_be_left_unsupported() -> None:
    strict = ClaimChecker(WordNet(), next_special=False)
    assert strict.unsupported("A sandal, footwear.", [("object_type", ["shoe"])]) == ("sandal",)


def test_a_claim_has_its_kind() -> None:
    claims = {claim.word: claim.kind for claim in CHECKER.claims("A teal lamp with a wooden foot and a linen shade.")}
    assert claims["teal"] == Kind.COLOR
    assert claims["lamp"] == Kind.THING
    assert claims["wooden"] == claims["linen"] == Kind.MATERIAL


def test_a_very_long_caption_is_checked_to_its_end() -> None:
    assert unsupported("A mug, " * 2_000 + "a spoon.", "mug") == ("spoon",)


@given(st.text(max_size=300), st.lists(names, max_size=5))
def test_only_words_of_the_caption_are_returned_in_their_order(caption: str, labels: list[str]) -> None:
    rest = caption.lower()
    for word in unsupported(caption, *labels):
        assert word in rest
        rest = rest[rest.index(word) + len(word) :]


@given(
    st.lists(st.one_of(names, st.sampled_from(["wine bottle", "t-shirt", "dark green", "red", "plastic"])), max_size=5)
)
def test_a_caption_of_nothing_but_labels_is_supported(labels: list[str]) -> None:
    assert unsupported(" ".join(labels), *labels) == ()
