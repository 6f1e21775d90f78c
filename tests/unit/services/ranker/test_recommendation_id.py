import base64
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.errors import InvalidArgument
from services.ranker import recommendation_id
from services.ranker.recommendation_id import Shown
from services.ranker.signals import unit

NUMBERS = st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=400).filter(lambda each: max(map(abs, each)) > 0.01)


@given(NUMBERS, st.text(max_size=80), st.lists(st.from_regex("[a-z0-9-]{1,63}", fullmatch=True), max_size=100))
def test_an_id_says_what_was_shown_for_which_product(numbers: list[float], model: str, names: list[str]) -> None:
    product = unit(tuple(numbers))

    decoded = recommendation_id.decode(recommendation_id.encode(Shown(product, model, tuple(names))))

    assert (decoded.image_model, decoded.backgrounds) == (model, tuple(names))
    assert float(decoded.product @ product) > 0.999
    assert float(np.linalg.norm(decoded.product)) == pytest.approx(1)


def test_the_same_recommendation_to_another_shopper_has_another_id() -> None:
    shown = Shown(unit((1.0, 2.0)), "eye", ("a",))

    assert recommendation_id.encode(shown) != recommendation_id.encode(shown)


def test_an_id_is_short_enough_to_be_sent_along() -> None:
    product = unit(tuple(np.random.default_rng(0).normal(size=384)))
    names = tuple(f"{number}-a-background-with-quite-a-long-name-of-its-own" for number in range(5))

    assert len(recommendation_id.encode(Shown(product, "conse-efficientnet-lite2-minilm-l6-v2", names))) < 750


@given(st.text(max_size=100) | st.binary(max_size=100).map(lambda each: base64.urlsafe_b64encode(each).decode()))
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        recommendation_id.decode(text)

    assert caught.value.violations[0].field == "recommendation_id"


@pytest.mark.parametrize("content", [[], ["eye", 5], [None, "a"], {"a": 1}, ["eye", *["a"] * 101], "[" * 60_000])
def test_an_id_that_somebody_forged_is_refused(content: object) -> None:
    written = content if isinstance(content, str) else json.dumps(content)
    body = bytes(6) + bytes([127]) + zlib.compress(written.encode())
    forged = struct.pack("!BIH", 1, zlib.crc32(body), 1) + body

    with pytest.raises(InvalidArgument):
        recommendation_id.decode(base64.urlsafe_b64encode(forged).decode())


@given(st.data())
def test_a_damaged_id_is_refused(data: st.DataObject) -> None:
    whole = recommendation_id.encode(Shown(unit((0.5, -1.0, 0.25)), "eye", ("oak-table", "beach")))
    place = data.draw(st.integers(0, len(whole) - 2))
    other = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda each: each != whole[place]))

    with pytest.raises(InvalidArgument):
        recommendation_id.decode(whole[:place] + other + whole[place + 1 :])
