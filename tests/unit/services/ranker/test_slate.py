from dataclasses import replace

import numpy as np

from services.ranker.background import Background, FreeSpace, ImageTextEmbedding, PaletteColor
from services.ranker.ranking import Product, WeightedText, explain, plan
from services.ranker.signals import Layout, Signal, background_parts
from services.ranker.slate import collapse
from services.ranker.vector_store import Found
from tests.unit.services.ranker.fakes import background

LAYOUT = Layout(text=2, image=2)
CAPTION = np.array([[1, 0]], dtype=np.float32)
CALM = FreeSpace(8, 8, (0.9,) * 64)
OAK = background(
    "shop/oak", image=ImageTextEmbedding((1, 0), "eye"), palette=(PaletteColor("#8a6a4a", 1),), free_space=CALM
)
QUERY = plan([WeightedText("x", 1)], CAPTION, Product(), {Signal.TEXT: 1}, "eye")


def like_oak(name: str, **changes: object) -> Background:
    return replace(OAK, name=background(f"shop/{name}").name, **changes)


def slate(*items: Background) -> dict[str, list[str]]:
    found = [Found(each, LAYOUT.vector(background_parts(each, CAPTION)), 1.0) for each in items]
    hits = collapse(explain(QUERY, LAYOUT, found), np.stack([each.vector for each in found]), LAYOUT)
    return {hit.background.name.background: [name.rpartition("/")[2] for name in hit.duplicates] for hit in hits}


def test_a_picture_that_was_saved_again_is_shown_once() -> None:
    again = like_oak(
        "again",
        image=ImageTextEmbedding((1, 0.01), "eye"),
        palette=(PaletteColor("#8a6a4b", 1),),
        free_space=FreeSpace(8, 8, (0.88,) * 64),
    )

    assert slate(OAK, again, like_oak("thrice")) == {"oak": ["again", "thrice"]}


def test_pictures_that_differ_in_one_respect_are_both_shown() -> None:
    other_thing = like_oak("thing", image=ImageTextEmbedding((1, 0.3), "eye"))
    other_color = like_oak("color", palette=(PaletteColor("#2a4a8a", 1),))
    other_form = like_oak("form", free_space=FreeSpace(8, 8, (0.9, 0.5) * 32))

    assert list(slate(OAK, other_thing, other_color, other_form)) == ["oak", "thing", "color", "form"]


def test_pictures_of_which_nothing_is_known_are_not_the_same() -> None:
    assert list(slate(background("shop/a"), background("shop/b"))) == ["a", "b"]
