import pytest

from gateway import templates
from gateway.domain import Feature, Label, Subject

BLUE_MUG = "A blue mug with a calm mood."


def feature(category: str, *names: str) -> Feature:
    return Feature(category, tuple(Label(name, 0.9, 0.5) for name in names), unsure=not names)


@pytest.mark.parametrize(
    ("features", "caption"),
    [
        ([feature("object_type", "mug"), feature("color", "blue", "white"), feature("mood", "calm")], BLUE_MUG),
        ([feature("object_type", "umbrella"), feature("mood")], "An umbrella."),
        ([feature("color", "red")], "A red product."),
        ([], "A product."),
    ],
)
def test_a_product_caption_holds_the_sure_features_only(features: list[Feature], caption: str) -> None:
    assert templates.write(features, Subject.PRODUCT).caption == caption


def test_a_background_caption_names_surface_place_light_color_and_mood() -> None:
    features = [
        feature("scene", "kitchen"),
        feature("surface", "oak table"),
        feature("lighting", "soft"),
        feature("color", "brown", "beige", "white"),
        feature("mood", "calm"),
    ]
    draft = templates.write(features, Subject.BACKGROUND)
    assert draft.caption == "An oak table in front of a kitchen, soft light, brown and beige tones, calm mood."


def test_a_background_of_which_nothing_is_known_still_has_a_caption() -> None:
    assert templates.write([], Subject.BACKGROUND).caption == "A plain surface in front of a plain background."
