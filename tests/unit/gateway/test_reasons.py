from gateway.domain import Background, Feature, Hit, Label
from gateway.reasons import explain


def features(**labels: list[str]) -> tuple[Feature, ...]:
    return tuple(Feature(key, tuple(Label(name, 1, 1) for name in names)) for key, names in labels.items())


def hit(score: float, **labels: list[str]) -> Hit:
    background = Background("libraries/a/backgrounds/b", "", (), (), features(**labels), 3, 2, "image/jpeg", 1, "00")
    return Hit(background, score, "A marble podium.", "marble")


def test_the_reason_names_the_scene_and_what_both_have() -> None:
    product = features(color=["red"], mood=["festive", "warm"])
    reason = explain(product, hit(0.71, color=["red", "gold"], mood=["warm"]))
    assert reason == "Close match for “A marble podium”; both are warm; its red picks up the product's."


def test_a_contrast_of_colors_is_a_reason_too() -> None:
    reason = explain(features(color=["white"]), hit(0.5, color=["navy", "grey", "black"]))
    assert reason == "Fair match for “A marble podium”; white before navy and grey."


def test_with_nothing_else_known_the_match_alone_is_told() -> None:
    assert explain((), hit(0.1)) == "Loose match for “A marble podium”."
