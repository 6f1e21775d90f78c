from gateway.domain import Background, Feature, Hit, Label, Signal, SignalPart
from gateway.reasons import explain


def features(**labels: list[str]) -> tuple[Feature, ...]:
    return tuple(Feature(key, tuple(Label(name, 1, 1) for name in names)) for key, names in labels.items())


def hit(text: float, image: float = 0.0, space: float = 0.0, **labels: list[str]) -> Hit:
    background = Background("libraries/a/backgrounds/b", "", (), (), features(**labels), 3, 2, "image/jpeg", 1, "00")
    similarities = {Signal.TEXT: text, Signal.IMAGE: image, Signal.SPACE: space}
    parts = tuple(SignalPart(signal, similarity, 1 / 3) for signal, similarity in similarities.items())
    return Hit(background, 0.5, "A marble podium.", "marble", parts)


def test_the_reason_names_the_scene_and_what_both_have() -> None:
    product = features(color=["red"], mood=["festive", "warm"])
    reason = explain(product, hit(0.71, color=["red", "gold"], mood=["warm"]))
    assert reason == "Close match for “A marble podium”; both are warm; its red picks up the product's."


def test_a_contrast_of_colors_is_a_reason_too() -> None:
    reason = explain(features(color=["white"]), hit(0.5, color=["navy", "grey", "black"]))
    assert reason == "Fair match for “A marble podium”; white before navy and grey."


def test_with_nothing_else_known_the_match_alone_is_told() -> None:
    assert explain((), hit(0.1)) == "Loose match for “A marble podium”."


def test_a_calm_place_is_a_reason() -> None:
    assert explain((), hit(0.5, space=0.9)) == "Fair match for “A marble podium”; calm where the product will stand."


def test_it_is_told_when_the_picture_counted_most() -> None:
    reason = explain((), hit(0.5, image=0.6))
    assert reason == "Fair match for “A marble podium”; its picture speaks for it more than its caption."
