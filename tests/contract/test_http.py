"""HTTP/JSON beside gRPC: the same calls and errors, over real sockets, before tiny peers that can be told to fail."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from chassis.errors import ResourceExhausted
from tests.servers.gateway import running_gateway
from tests.servers.peers import Peers

SHOP = "/v1/libraries/shop"
OAK = f"{SHOP}/backgrounds/oak"
PICTURE = base64.b64encode(b"picture").decode()
PHOTO = base64.b64encode(b"photo").decode()


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    running = Peers()
    await running.start()
    yield running
    await running.stop_all()


@pytest.fixture
async def client(peers: Peers, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with running_gateway(peers, tmp_path, candidate_count=3) as gateway:
        yield gateway.http


async def put_oak(client: httpx.AsyncClient, **fields: Any) -> httpx.Response:
    response = await client.put(OAK, json={"image": PICTURE, **fields})
    assert response.status_code == 200, response.text
    return response


async def test_a_background_is_imported_read_listed_and_deleted(client: httpx.AsyncClient) -> None:
    imported = (await put_oak(client, title="An oak table", keywords=["oak"])).json()
    assert imported["outcome"] == "OUTCOME_CREATED"

    found = (await client.get(OAK)).json()["background"]
    assert found["name"] == "libraries/shop/backgrounds/oak"
    assert (found["title"], found["keywords"], found["sizeBytes"]) == ("An oak table", ["oak"], "7")
    picture = await client.get(f"{OAK}:image")
    assert (picture.content, picture.headers["content-type"]) == (b"picture", "image/jpeg")
    listed = (await client.get(f"{SHOP}/backgrounds", params={"page_size": 10})).json()
    assert [each["name"] for each in listed["backgrounds"]] == ["libraries/shop/backgrounds/oak"]

    assert (await client.delete(OAK)).status_code == 200
    assert (await client.get(OAK)).status_code == 404


async def test_rules_are_set_read_and_lifted(client: httpx.AsyncClient, peers: Peers) -> None:
    rules = [
        {"key": "surface", "anyOf": ["wood"], "exclude": True},
        {"key": "width", "anyOf": [], "exclude": False, "range": {"min": 1000.0}},
    ]
    assert (await client.get("/v1/libraries/shop")).status_code == 404
    peers.ranker.unknown_keys = ["surface"]
    updated = await client.patch("/v1/libraries/shop", json={"rules": rules})
    assert updated.json() == {"rules": rules, "unknownKeys": ["surface"]}
    assert (await client.get("/v1/libraries/shop")).json() == {"rules": rules}

    assert (await client.patch("/v1/libraries/shop", json={"rules": [{"key": "surface"}]})).status_code == 400
    assert len(peers.ranker.rules["libraries/shop"]) == 2
    assert (await client.patch("/v1/libraries/shop", json={"rules": []})).json()["rules"] == []


async def test_a_photo_is_sent_as_json_or_as_a_form(client: httpx.AsyncClient) -> None:
    await put_oak(client)
    filters = [{"key": "surface", "anyOf": ["oak table"]}]
    as_json = await client.post(f"{SHOP}:recommend", json={"image": PHOTO, "limit": 3, "filters": filters})
    as_form = await client.post(
        f"{SHOP}:recommend",
        files={"image": ("mug.jpg", b"photo")},
        data={"limit": "3", "filters": json.dumps(filters)},
    )
    for response in (as_json, as_form):
        assert response.status_code == 200, response.text
        answer = response.json()
        assert [each["category"] for each in answer["features"]] == ["object_type", "color", "mood"]
        assert {each["verdict"] for each in answer["candidates"]} == {"VERDICT_USED"}
        assert answer["recommendations"][0]["background"]["name"] == "libraries/shop/backgrounds/oak"


async def test_stages_come_as_events_and_add_up_to_the_answer(client: httpx.AsyncClient) -> None:
    await put_oak(client)
    body = {"image": PHOTO}
    events = []
    async with client.stream(
        "POST", f"{SHOP}:recommendStream", json=body, headers={"Accept": "text/event-stream"}
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                events.append(line.removeprefix("event: "))
    assert events == ["features", "captions", "ranking"]

    lines = (await client.post(f"{SHOP}:recommendStream", json=body)).text.splitlines()
    stages = [json.loads(line) for line in lines]
    whole = (await client.post(f"{SHOP}:recommend", json=body)).json()
    for field in ("features", "candidates", "recommendations", "degraded"):
        assert [each for stage in stages for each in stage["response"][field]] == whole[field]
    assert stages[-1]["response"]["recommendationId"] == whole["recommendationId"]


async def test_a_library_is_exported_line_by_line(client: httpx.AsyncClient) -> None:
    await put_oak(client)
    [line] = (await client.get(f"{SHOP}:export")).text.splitlines()
    exported = json.loads(line)
    assert base64.b64decode(exported["image"]) == b"picture"
    again = await client.put(
        f"{SHOP}/backgrounds/oak-2", json={"image": exported["image"], "record": exported["record"]}
    )
    assert again.status_code == 200


async def test_errors_are_problems_that_name_the_field_and_the_request(client: httpx.AsyncClient) -> None:
    response = await client.post(
        f"{SHOP}:recommend", json={"image": PHOTO, "limit": 1000}, headers={"x-request-id": "r1"}
    )
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["code"], problem["reason"]) == ("INVALID_ARGUMENT", "INVALID_ARGUMENT")
    assert problem["violations"] == [{"field": "limit", "description": "ask for 1 to 100 backgrounds"}]
    assert problem["instance"] == "urn:backdrop:request:r1"
    assert response.headers["x-request-id"] == "r1"


async def test_fields_of_a_stream_are_named_as_in_its_body(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{SHOP}:recommendStream", json={"image": PHOTO, "limit": 1000})
    assert response.json()["violations"][0]["field"] == "limit"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "is not JSON"),
        (b"[]", "send a JSON object"),
        (b'{"image": "%%%"}', "image"),
        (b'{"imago": ""}', "imago"),
        (b'{"limit": 1e400}', "limit"),
        (b'{"language": "\\ud800"}', "no RecommendRequest"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"limit": ' + b"9" * 10_000 + b"}", "is not JSON"),
    ],
)
async def test_a_body_that_is_none_is_refused(client: httpx.AsyncClient, body: bytes, says: str) -> None:
    headers = {"content-type": "application/json"}
    response = await client.post(f"{SHOP}:recommend", content=body, headers=headers)
    assert response.status_code == 400
    assert says in response.json()["detail"]


async def test_a_form_that_is_none_is_refused(client: httpx.AsyncClient) -> None:
    url = f"{SHOP}:recommend"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    broken = await client.post(url, content=b"--x\r\nnonsense", headers=headers)
    no_boundary = await client.post(url, content=b"", headers={"content-type": "multipart/form-data"})
    text_for_a_file = await client.post(url, files={"image": (None, "photo")})
    unknown = await client.post(url, files={"imago": ("mug.jpg", b"photo")})
    twice = await client.post(url, files=[("image", ("m", b"photo")), ("limit", (None, "1")), ("limit", (None, "2"))])
    answers = (broken, no_boundary, text_for_a_file, unknown, twice)
    fields = [response.json()["violations"][0]["field"] for response in answers]
    # A form that breaks off holds what came before.
    assert fields == ["image", "body", "image", "imago", "limit"]


async def test_what_is_no_route_says_so(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v2/nothing")).json()["reason"] == "ROUTE_NOT_FOUND"
    refused = await client.patch(OAK)
    assert (refused.status_code, refused.json()["reason"]) == (405, "METHOD_NOT_ALLOWED")
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "PUT", "DELETE"}
    assert (await client.post(f"{SHOP}:recommend", content=b"x")).status_code == 415
    assert (await client.get(f"{SHOP}/backgrounds?pages=1")).json()["violations"][0]["field"] == "pages"


async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post(f"{SHOP}:recommend", files={"image": ("big.jpg", bytes(49 * 1024 * 1024))})
    assert (response.status_code, response.json()["reason"]) == (413, "BODY_TOO_LARGE")


async def test_overload_says_when_to_come_again(client: httpx.AsyncClient, peers: Peers) -> None:
    await put_oak(client)
    peers.captioner.trouble.error = ResourceExhausted("Too much.", retry_after_s=1.5)
    response = await client.post(f"{SHOP}:recommend", json={"image": PHOTO})
    assert (response.status_code, response.headers["retry-after"]) == (429, "2")


async def test_the_client_sets_the_deadline(client: httpx.AsyncClient, peers: Peers) -> None:
    await put_oak(client)
    peers.captioner.trouble.hangs = True
    response = await client.post(f"{SHOP}:recommend", json={"image": PHOTO}, headers={"Request-Timeout": "0.5"})
    assert (response.status_code, response.json()["reason"]) == (504, "CAPTIONER_TIMEOUT")
    bad = await client.post(f"{SHOP}:recommend", json={"image": PHOTO}, headers={"Request-Timeout": "soon"})
    assert bad.json()["violations"][0]["field"] == "Request-Timeout"


async def test_work_for_a_client_that_has_left_is_cancelled(client: httpx.AsyncClient, peers: Peers) -> None:
    await put_oak(client)
    peers.captioner.trouble.hangs = True
    with pytest.raises(httpx.ReadTimeout):
        await client.post(f"{SHOP}:recommend", json={"image": PHOTO}, timeout=0.5)
    async with asyncio.timeout(10):
        while "CANCELLED" not in await metrics():
            await asyncio.sleep(0.05)


async def metrics() -> str:
    lines = generate_latest().decode().splitlines()
    return "\n".join(line for line in lines if line.startswith("backdrop_rpcs_total") and "/Recommend" in line)


async def test_health_and_readiness_are_told_apart(client: httpx.AsyncClient, peers: Peers) -> None:
    assert (await client.get("/healthz")).status_code == 200
    assert (await client.get("/readyz")).status_code == 200
    await peers.stop("ranker")
    assert (await client.get("/healthz")).status_code == 200
    unready = await client.get("/readyz")
    assert (unready.status_code, unready.json()["reason"]) == (503, "RANKER_UNAVAILABLE")


async def test_every_answer_has_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/healthz", "/openapi.json", OAK, "/nothing"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers
