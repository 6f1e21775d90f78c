"""Without a key, with a wrong one, with one for another library: nothing is readable, by no call and no route."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from structlog.testing import capture_logs
from typer.testing import CliRunner

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.errors import reason_of, status_of
from gateway.__main__ import OpenToAll, open_door
from gateway.api_keys import BadKeys, Door, new_key, read_keys, write_keys
from gateway.cli.app import app
from gateway.config import GatewayConfig
from tests.servers.gateway import RunningGateway, running_gateway
from tests.servers.peers import Peers

METHODS = list(pb.DESCRIPTOR.services_by_name["GatewayService"].methods)
DESCRIPTION = json.loads(Path(pb.__file__).with_name("openapi.json").read_text())
ROUTES = [(verb, path) for path, verbs in DESCRIPTION["paths"].items() for verb in verbs]
PICTURE = base64.b64encode(b"picture").decode()
OAK = "libraries/shop/backgrounds/oak"
SECRET = "An oak table that nobody else may see"


class Guarded:
    """A gateway that asks for keys, with one for the library `shop` and one for `other`."""

    def __init__(self, keys_file: Path, gateway: RunningGateway) -> None:
        self.keys_file, self.stub, self.http = keys_file, gateway.stub, gateway.http
        self.target = f"127.0.0.1:{gateway.port}"
        self.keys: dict[str, str] = {}

    async def call(self, method: Any, key: str) -> tuple[str, str]:
        """How a call on the library `shop` ends, and all that it tells."""
        metadata = [("x-api-key", key)] if key else []
        answers: list[Any] = []
        stub_method = getattr(self.stub, method.name)
        message = a_request(method)
        try:
            if method.client_streaming:
                answers = [each async for each in stub_method(iter([message]), metadata=metadata)]
                if answers and answers[0].HasField("error"):
                    return reason_of(answers[0].error), str(answers)
            elif method.server_streaming:
                answers = [each async for each in stub_method(message, metadata=metadata)]
            else:
                answers = [await stub_method(message, metadata=metadata)]
        except grpc.aio.AioRpcError as error:
            return reason_of(status_of(error)), f"{error.details()} {answers}"
        return "OK", str(answers)

    async def request(self, verb: str, path: str, key: str) -> httpx.Response:
        """A request of the library `shop`."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        url = path.format(library="shop", background="oak")
        body = {"recommendationId": "r"} if path.endswith("feedback") else {"image": PICTURE}
        if path.endswith(":preview"):
            body["background"] = "oak"
        if verb == "patch":
            body = {"rules": []}
        has_body = verb in ("post", "put", "patch")
        return await self.http.request(verb, url, headers=headers, json=body if has_body else None)


def a_request(method: Any) -> Any:
    message = getattr(pb, method.input_type.name)()
    filled = message.request if method.name == "RecommendStream" else message
    fields = {each.name for each in filled.DESCRIPTOR.fields}
    for name, value in {
        "parent": "libraries/shop",
        "name": "libraries/shop" if method.name.endswith("Library") else OAK,
        "image": b"p",
        "recommendation_id": "r",
        "background": "oak",
    }.items():
        if name in fields:
            setattr(filled, name, value)
    return message


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Guarded]:
    made = {name: new_key(name, [name]) for name in ("shop", "other")}
    keys_file = tmp_path / "keys.jsonl"
    write_keys(keys_file, [kept for _, kept in made.values()])
    peers = Peers()
    await peers.start()
    async with running_gateway(peers, tmp_path, keys_file=keys_file) as gateway:
        running = Guarded(keys_file, gateway)
        running.keys = {name: key for name, (key, _) in made.items()}
        item = pb.ImportBackgroundsRequest(name=OAK, image=b"picture", title=SECRET)
        metadata = [("authorization", f"Bearer {running.keys['shop']}")]
        [imported] = [each async for each in running.stub.ImportBackgrounds(iter([item]), metadata=metadata)]
        assert imported.outcome == pb.OUTCOME_CREATED
        yield running
    await peers.stop_all()


CASES = [("", "API_KEY_MISSING"), ("bd_wrong", "API_KEY_UNKNOWN"), ("other", "LIBRARY_FORBIDDEN")]


@pytest.mark.parametrize(("who", "reason"), CASES)
async def test_no_call_tells_anything_without_a_key_for_the_library(guarded: Guarded, who: str, reason: str) -> None:
    for method in METHODS:
        ended, told = await guarded.call(method, guarded.keys.get(who, who))
        assert ended == reason, method.name
        assert SECRET not in told
    assert (await guarded.call(METHODS[0], guarded.keys["shop"]))[0] == "OK"


@pytest.mark.parametrize(("who", "reason"), CASES)
async def test_no_route_tells_anything_without_a_key_for_the_library(guarded: Guarded, who: str, reason: str) -> None:
    for verb, path in ROUTES:
        response = await guarded.request(verb, path, guarded.keys.get(who, who))
        assert response.status_code == (403 if reason == "LIBRARY_FORBIDDEN" else 401), (verb, path)
        assert response.json()["reason"] == reason
        assert SECRET not in response.text
    found = await guarded.request("get", "/v1/libraries/{library}/backgrounds/{background}", guarded.keys["shop"])
    assert found.json()["background"]["title"] == SECRET


async def test_rules_are_set_and_told_with_a_key_for_the_library_alone(guarded: Guarded) -> None:
    rule = {"key": "surface", "anyOf": [SECRET], "exclude": True}
    own = {"x-api-key": guarded.keys["shop"]}
    assert (await guarded.http.patch("/v1/libraries/shop", json={"rules": [rule]}, headers=own)).status_code == 200

    for verb in ("get", "patch"):
        refused = await guarded.request(verb, "/v1/libraries/{library}", guarded.keys["other"])
        assert (refused.status_code, SECRET in refused.text) == (403, False)

    assert (await guarded.http.get("/v1/libraries/shop", headers=own)).json() == {"rules": [rule]}


async def test_a_library_that_is_not_there_is_as_forbidden_as_one_that_is(guarded: Guarded) -> None:
    headers = {"x-api-key": guarded.keys["other"]}
    answers = [
        await guarded.http.get(f"/v1/libraries/{each}/backgrounds", headers=headers) for each in ("shop", "none")
    ]
    assert {each.status_code for each in answers} == {403}


async def test_who_is_unknown_need_not_send_a_body_to_hear_it(guarded: Guarded) -> None:
    response = await guarded.http.post("/v1/libraries/shop:recommend", content=b"no json")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


async def test_who_is_refused_is_logged(guarded: Guarded) -> None:
    with capture_logs() as logs:
        await guarded.http.get("/v1/libraries/shop/backgrounds", headers={"x-api-key": "bd_wrong"})
        await guarded.http.get("/v1/libraries/shop/backgrounds", headers={"x-api-key": guarded.keys["other"]})
    assert [each["reason"] for each in logs if each["event"] == "call"] == ["API_KEY_UNKNOWN", "LIBRARY_FORBIDDEN"]
    assert "bd_" not in str(logs)


async def test_description_and_health_are_open(guarded: Guarded) -> None:
    for path in ("/openapi.json", "/healthz", "/readyz"):
        assert (await guarded.http.get(path)).status_code == 200


async def test_a_key_that_calls_too_often_hears_when_to_come_again(guarded: Guarded) -> None:
    key, kept = new_key("slow", ["shop"], "2/hour")
    write_keys(guarded.keys_file, [*read_keys(guarded.keys_file), kept])
    async with asyncio.timeout(10):
        while (await guarded.call(METHODS[0], key))[0] == "API_KEY_UNKNOWN":
            await asyncio.sleep(0.1)
    path = "/v1/libraries/{library}/backgrounds/{background}"
    assert (await guarded.request("get", path, key)).status_code == 200
    refused = await guarded.request("get", path, key)
    assert (refused.status_code, refused.json()["reason"]) == (429, "RATE_LIMITED")
    assert 0 < int(refused.headers["retry-after"]) <= 7200
    assert (await guarded.request("get", path, guarded.keys["shop"])).status_code == 200


async def test_the_command_line_takes_its_key_from_the_environment(
    guarded: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["backgrounds", "list", "--library", "shop", "--target", guarded.target]
    refused = await asyncio.to_thread(CliRunner().invoke, app, arguments)
    assert (refused.exit_code, "BACKDROP_API_KEY" in refused.stderr) == (1, True)
    monkeypatch.setenv("BACKDROP_API_KEY", guarded.keys["shop"])
    assert "oak" in (await asyncio.to_thread(CliRunner().invoke, app, arguments)).stdout


def context(key: str) -> Any:
    class Caller:
        def invocation_metadata(self) -> list[tuple[str, str]]:
            return [("x-api-key", key)]

    return Caller()


def test_keys_come_and_go_without_a_restart(tmp_path: Path) -> None:
    path, now = tmp_path / "keys.jsonl", [0.0]
    old, kept_old = new_key("old", ["shop-*"])
    new, kept_new = new_key("new", ["shop-*"])
    write_keys(path, [kept_old])
    door = Door(path, clock=lambda: now[0])
    door.require(context(old), "libraries/shop-berlin")

    write_keys(path, [kept_new])
    now[0] += 2
    door.require(context(new), "libraries/shop-berlin/backgrounds/oak")
    with pytest.raises(Exception, match="revoked"):
        door.require(context(old), "libraries/shop-berlin")

    # A file that was broken by hand, or is gone, changes nothing.
    for spoil in (lambda: path.write_text("{"), path.unlink):
        spoil()
        now[0] += 2
        door.require(context(new), "libraries/shop-berlin")


def test_keys_are_kept_by_their_digest_in_a_file_of_the_owners(tmp_path: Path) -> None:
    path = tmp_path / "keys.jsonl"
    key, kept = new_key("shop", ["shop"])
    write_keys(path, [kept])
    assert key not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert read_keys(path) == [kept]


@pytest.mark.parametrize("line", ["{", "[]", '{"id": "Shop", "sha256": "x", "libraries": []}', '{"id": "shop"}'])
def test_a_wrong_line_stops_the_start_and_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "keys.jsonl"
    path.write_text(f"\n{line}\n")
    with pytest.raises(BadKeys, match=r"keys\.jsonl:2"):
        Door(path)
    with pytest.raises(BadKeys, match="backdrop keys create"):
        Door(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("host", "opens"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False)]
)
def test_only_loopback_is_open_to_all_unless_it_is_said(host: str, opens: bool) -> None:
    if opens:
        assert open_door(GatewayConfig(host=host)).authenticate(context("")) is None
    else:
        with pytest.raises(OpenToAll, match="ALLOW_ANONYMOUS"):
            open_door(GatewayConfig(host=host))
    assert open_door(GatewayConfig(host=host, allow_anonymous=True)).authenticate(context("")) is None
