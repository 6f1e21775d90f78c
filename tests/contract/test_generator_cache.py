"""What the generator remembers: in memory, and in a Redis that is there, down, slow, or back again."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from backdrop.generator.v1 import generator_pb2 as pb
from services.generator import redis_cache
from tests.servers import language_server, redis_server
from tests.servers.generator import about, metric, request, serving
from tests.servers.language_server import LanguageServer, answering, candidates, in_turn
from tests.servers.ports import free_port

GOOD = candidates(["A mug.", "A cup."], ["An oak table.", "A beach."])


@pytest.fixture
async def llm() -> AsyncIterator[LanguageServer]:
    async with language_server.serve(GOOD) as running:
        yield running


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def stored(port: int, tmp_path: Path) -> Iterator[redis.Redis]:
    with redis_server.serve(port, tmp_path) as client:
        yield client


def settings(llm: LanguageServer, port: int, **further: Any) -> dict[str, Any]:
    return {"llm_url": llm.url, "cache_url": f"redis://127.0.0.1:{port}/0", **further}


async def test_the_same_request_is_answered_from_memory(llm: LanguageServer) -> None:
    async with serving(llm_url=llm.url) as generator:
        first = await generator.WriteCaptions(request())
        again = await generator.WriteCaptions(request())
        other = await generator.WriteCaptions(request(subject=pb.SUBJECT_BACKGROUND))
        more = await generator.WriteCaptions(request(count=2))

    assert again.cached
    assert again.candidates == first.candidates
    assert again.usage == pb.Usage()
    assert not other.cached
    assert not more.cached
    assert len(llm.requests) == 3


@pytest.mark.usefixtures("stored")
async def test_replicas_share_what_one_of_them_wrote(llm: LanguageServer, port: int) -> None:
    async with serving(**settings(llm, port)) as one, serving(**settings(llm, port)) as other:
        written = await one.WriteCaptions(request(count=2))
        shared = await other.WriteCaptions(request(count=2))

    assert shared.cached
    assert shared.candidates == written.candidates
    assert (shared.model, shared.prompt_version, shared.language) == ("tiny", written.prompt_version, "en")
    assert shared.usage == pb.Usage()
    assert len(llm.requests) == 1


@pytest.mark.usefixtures("stored")
async def test_another_model_or_other_sampling_shares_nothing(llm: LanguageServer, port: int) -> None:
    for further in ({}, {"llm_model": "other"}, {"temperature": 0.1}):
        async with serving(**settings(llm, port, **further)) as generator:
            assert not (await generator.WriteCaptions(request())).cached
    assert len(llm.requests) == 3


@pytest.mark.usefixtures("stored")
async def test_translations_are_remembered_too(llm: LanguageServer, port: int) -> None:
    llm.reply = in_turn(GOOD, answering(json.dumps({"sentences": ["Eine Tasse.", "Ein Eichentisch."]})))
    async with serving(**settings(llm, port)) as generator:
        written = await generator.WriteCaptions(request(language="de"))
        remembered = await generator.WriteCaptions(request(language="de"))
    assert not written.cached
    assert remembered.cached
    assert remembered.candidates == written.candidates
    assert remembered.candidates[0].translation.scene == "Ein Eichentisch."
    assert remembered.language == "de"
    assert len(llm.requests) == 2


async def test_an_answer_is_kept_for_as_long_as_was_set(llm: LanguageServer, port: int, stored: redis.Redis) -> None:
    async with serving(**settings(llm, port, cache_ttl_s=1)) as generator:
        await generator.WriteCaptions(request())
        (key,) = stored.keys("backdrop:generator:*")
        assert 0 < stored.pttl(key) <= 1000
        await asyncio.sleep(1.1)
        assert not (await generator.WriteCaptions(request())).cached


async def test_an_entry_that_cannot_be_read_is_written_anew(
    llm: LanguageServer, port: int, stored: redis.Redis
) -> None:
    async with serving(**settings(llm, port)) as generator:
        await generator.WriteCaptions(request())
        (key,) = stored.keys("*")
        for rubbish in (b"\xff{", b'{"candidates": 3}'):
            stored.set(key, rubbish)
            assert not (await generator.WriteCaptions(request())).cached
            assert (await generator.WriteCaptions(request())).cached


async def test_requests_are_served_while_redis_is_down_and_remembered_when_it_is_back(
    llm: LanguageServer, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_cache, "PAUSE_S", 0.3)
    errors = metric("backdrop_generator_cache_errors_total")
    async with serving(**settings(llm, port)) as generator:
        with redis_server.serve(port, tmp_path):
            await generator.WriteCaptions(request())
            assert (await generator.WriteCaptions(request())).cached

        response = await generator.WriteCaptions(request())
        assert response.candidates
        assert not response.cached
        assert metric("backdrop_generator_cache_errors_total") > errors

        with redis_server.serve(port, tmp_path):
            await asyncio.sleep(0.4)
            await generator.WriteCaptions(request())
            assert (await generator.WriteCaptions(request())).cached


async def test_a_redis_that_hangs_holds_nobody_up(llm: LanguageServer) -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listener = await asyncio.start_server(hang, "127.0.0.1", 0)
    async with listener, serving(**settings(llm, listener.sockets[0].getsockname()[1])) as generator:
        started = time.monotonic()
        for label in ("mug", "sofa", "lamp", "ring", "hat", "shoe"):
            assert (await generator.WriteCaptions(about(label), timeout=1)).candidates
        assert time.monotonic() - started < 3
    assert len(llm.requests) == 6


async def test_a_redis_that_refuses_the_password_is_done_without_and_the_password_not_logged(
    llm: LanguageServer, port: int, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"redis://:s3cret@127.0.0.1:{port}/0"
    with redis_server.serve(port, tmp_path, "another") as stored:
        async with serving(llm_url=llm.url, cache_url=url) as generator:
            assert not (await generator.WriteCaptions(request())).cached
            assert not (await generator.WriteCaptions(request())).cached
        assert not stored.keys("*")
    written = "".join(capfd.readouterr())
    assert "cache_failed" in written
    assert "s3cret" not in written
