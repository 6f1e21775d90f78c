"""The client for Python, plain and for asyncio, against the real gateway before tiny peers."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from backdrop.client import AsyncClient, BackdropError, Client, background
from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.errors import ResourceExhausted
from gateway.api_keys import new_key, write_keys
from tests.servers.gateway import RunningGateway, running_gateway
from tests.servers.peers import Peers

OAK = "libraries/shop/backgrounds/oak"
NEVER_WOOD = pb.Filter(key="surface", any_of=["wood"], exclude=True)


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    running = Peers()
    await running.start()
    yield running
    await running.stop_all()


@pytest.fixture
async def gateway(peers: Peers, tmp_path: Path) -> AsyncIterator[RunningGateway]:
    async with running_gateway(peers, tmp_path) as running:
        yield running


def target_of(gateway: RunningGateway) -> str:
    return f"127.0.0.1:{gateway.port}"


async def test_every_call_of_the_asynchronous_client(gateway: RunningGateway) -> None:
    async with AsyncClient(target_of(gateway)) as client:
        items = [background("shop", each, b"picture", title=each) for each in ("oak", "sand")]
        outcomes = [each.name async for each in client.import_backgrounds(items)]
        assert sorted(outcomes) == [OAK, "libraries/shop/backgrounds/sand"]
        assert [each.title async for each in client.list_backgrounds("shop")] == ["oak", "sand"]
        assert (await client.get_background(OAK)).title == "oak"
        assert list((await client.update_library("shop", rules=[NEVER_WOOD])).rules) == [NEVER_WOOD]
        assert list((await client.get_library("shop")).rules) == [NEVER_WOOD]
        assert await client.get_background_image(OAK) == b"picture"

        answer = await client.recommend("shop", b"photo", filters={"surface": ["oak table"]}, limit=1)
        assert [each.background.name for each in answer.recommendations] == [OAK]
        stages = [each.stage async for each in client.recommend_stream("shop", b"photo")]
        assert stages == ["features", "captions", "ranking"]
        await client.record_feedback("shop", answer.recommendation_id, chosen=[OAK])
        await client.delete_background(OAK)
        with pytest.raises(BackdropError) as raised:
            await client.get_background(OAK)
        assert (raised.value.code, raised.value.reason) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_every_call_of_the_plain_client(gateway: RunningGateway) -> None:
    def use() -> None:
        with Client(target_of(gateway)) as client:
            assert len(list(client.import_backgrounds([background("shop", "oak", b"picture")]))) == 1
            assert [each.name for each in client.list_backgrounds("shop")] == [OAK]
            assert client.get_background(OAK).content_type == "image/jpeg"
            assert client.get_background_image(OAK) == b"picture"
            assert list(client.update_library("shop", rules=[NEVER_WOOD]).rules) == [NEVER_WOOD]
            assert list(client.get_library("shop").rules) == [NEVER_WOOD]
            answer = client.recommend("shop", b"photo")
            assert list(answer.applied_rules) == [NEVER_WOOD]
            client.update_library("shop", rules=[])
            assert len(answer.recommendations) == 1
            assert len(list(client.recommend_stream("shop", b"photo"))) == 3
            client.record_feedback("shop", answer.recommendation_id, rejected=[OAK])
            client.delete_background(OAK)
            with pytest.raises(BackdropError, match="holds no background"):
                list(client.recommend_stream("shop", b"photo"))

    await asyncio.to_thread(use)


async def test_an_error_names_the_field(gateway: RunningGateway) -> None:
    async with AsyncClient(target_of(gateway)) as client:
        with pytest.raises(BackdropError) as raised:
            await client.recommend("shop", b"photo", limit=1000)
    assert [each.field for each in raised.value.violations] == ["limit"]


async def test_who_is_told_to_wait_waits_and_tries_again(gateway: RunningGateway, peers: Peers) -> None:
    async with AsyncClient(target_of(gateway)) as client:
        assert [each async for each in client.import_backgrounds([background("shop", "oak", b"picture")])]
        peers.captioner.trouble.error, peers.captioner.trouble.times = ResourceExhausted("Full.", retry_after_s=0.1), 2
        assert (await client.recommend("shop", b"photo")).recommendations
        peers.captioner.trouble.error, peers.captioner.trouble.times = ResourceExhausted("Full.", retry_after_s=60), 1
        with pytest.raises(BackdropError) as raised:
            await client.recommend("shop", b"another photo")
    assert raised.value.retry_after_s == 60


async def test_a_deadline_ends_a_call(gateway: RunningGateway, peers: Peers) -> None:
    async with AsyncClient(target_of(gateway), timeout_s=0.3) as client:
        assert [each async for each in client.import_backgrounds([background("shop", "oak", b"picture")])]
        peers.captioner.trouble.hangs = True
        with pytest.raises(BackdropError) as raised:
            await client.recommend("shop", b"photo")
    assert raised.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_key_is_sent_with_each_call(peers: Peers, tmp_path: Path) -> None:
    key, kept = new_key("shop", ["shop"])
    write_keys(tmp_path / "keys.jsonl", [kept])
    async with running_gateway(peers, tmp_path, keys_file=tmp_path / "keys.jsonl") as gateway:
        async with AsyncClient(target_of(gateway)) as nobody:
            with pytest.raises(BackdropError) as raised:
                await nobody.get_background(OAK)
            assert raised.value.reason == "API_KEY_MISSING"
        async with AsyncClient(target_of(gateway), api_key=key) as client:
            assert [each async for each in client.import_backgrounds([background("shop", "oak", b"picture")])]
            assert (await client.get_background(OAK)).name == OAK
