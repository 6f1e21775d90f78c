import pytest

from backdrop.captioner.v1 import captioner_pb2
from backdrop.gateway.v1 import gateway_pb2
from chassis.errors import InvalidArgument
from chassis.validation import check, violations


def test_a_valid_message_has_no_violations() -> None:
    request = gateway_pb2.RecommendRequest(parent="libraries/samples", image=b"x", limit=100)
    assert violations(request) == []
    check(request)


@pytest.mark.parametrize("limit", [0, -1, 101, 10_000])
def test_a_limit_out_of_range_is_named(limit: int) -> None:
    request = gateway_pb2.RecommendRequest(parent="libraries/samples", image=b"x", limit=limit)
    [violation] = violations(request)
    assert violation.field == "limit"
    assert violation.description == "ask for 1 to 100 backgrounds"


def test_the_path_leads_to_the_very_item() -> None:
    request = gateway_pb2.RecommendRequest(parent="libraries/samples", image=b"x")
    request.filters.add(key="mood", any_of=["calm"])
    request.filters.add(key="mood", any_of=["calm", ""])
    [violation] = violations(request)
    assert violation.field == "filters[1].any_of[1]"


def test_a_missing_choice_is_named() -> None:
    [violation] = violations(captioner_pb2.ScoreTextsRequest(texts=["a mug"]))
    assert violation.field == "source"


def test_check_lists_every_violation() -> None:
    with pytest.raises(InvalidArgument) as raised:
        check(gateway_pb2.RecommendRequest(parent="Libraries/x", limit=0))
    assert {each.field for each in raised.value.violations} == {"parent", "image", "limit"}
    assert "limit: ask for 1 to 100 backgrounds" in raised.value.message
