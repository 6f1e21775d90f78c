"""Messages as JSON bodies: what is kept is what would be written anew."""

import json

from backdrop.gateway.v1 import gateway_pb2 as pb
from gateway.http.bodies import JsonBodies, to_json


def test_a_kept_body_is_that_of_an_equal_message_and_of_no_other() -> None:
    bodies = JsonBodies(10_000)
    oak, beech = (pb.GetBackgroundResponse(background=pb.Background(title=each)) for each in ("natürlich", "beech"))
    assert bodies.of(oak) is bodies.of(pb.GetBackgroundResponse.FromString(oak.SerializeToString()))
    assert json.loads(bodies.of(oak)) == to_json(oak)
    assert json.loads(bodies.of(beech)) == to_json(beech)


def test_equal_bytes_of_another_kind_of_message_are_another_body() -> None:
    bodies = JsonBodies(10_000)
    assert bodies.of(pb.DeleteBackgroundResponse()) != bodies.of(pb.ListBackgroundsResponse())


def test_what_is_large_is_not_kept() -> None:
    bodies = JsonBodies(1600)
    large = pb.GetBackgroundResponse(background=pb.Background(title="x" * 200))
    assert bodies.of(large) is not bodies.of(large)
    assert bodies.of(large) == bodies.of(large)
