import json
from datetime import UTC, timezone

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.ranker.background import Background, BackgroundName, Filter, FreeSpace, PaletteColor
from services.ranker.payload import from_payload, point_id, to_payload, wanted_tags
from services.ranker.vector_store import IndexedBackground

NO_VECTOR = np.zeros(0, dtype=np.float32)
IDS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,62}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=50)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=10,
)
SHARES = st.floats(0, 1)
BACKGROUNDS = st.builds(
    Background,
    name=st.builds(BackgroundName, IDS, IDS),
    captions=st.lists(TEXTS, min_size=1, max_size=4).map(tuple),
    attributes=st.dictionaries(KEYS, st.lists(TEXTS, min_size=1, max_size=4).map(tuple), max_size=4),
    metadata=st.dictionaries(TEXTS, JSON, max_size=3),
    update_time=st.datetimes(timezones=st.just(UTC)),
    palette=st.lists(st.builds(PaletteColor, st.just("#1f3a5f"), SHARES), max_size=3).map(tuple),
    free_space=st.none() | st.builds(FreeSpace, st.just(8), st.just(8), st.lists(SHARES, max_size=64).map(tuple)),
    words=TEXTS | st.just(""),
    width=st.integers(0, 10_000),
    height=st.integers(0, 10_000),
    expire_time=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(BACKGROUNDS)
def test_what_is_stored_comes_back(background: Background) -> None:
    stored = json.loads(json.dumps(to_payload(IndexedBackground(background, NO_VECTOR))))

    restored = from_payload(stored)

    assert restored == background
    assert list(restored.attributes) == list(background.attributes)
    assert isinstance(restored.update_time.tzinfo, timezone)


@given(st.builds(BackgroundName, IDS, IDS), st.builds(BackgroundName, IDS, IDS))
def test_a_name_has_one_point(one: BackgroundName, other: BackgroundName) -> None:
    assert (point_id(one) == point_id(other)) == (one == other)


def test_a_filter_becomes_tags() -> None:
    assert wanted_tags(Filter("surface", ("wood", "a=b"))) == ["surface=wood", "surface=a=b"]
