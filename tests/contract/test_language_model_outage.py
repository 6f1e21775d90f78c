"""A language model that fails in every way: the real gateway and generator before it, and what a shop then sees."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from backdrop.gateway.v1 import gateway_pb2 as pb
from chassis.server import start
from services.generator.__main__ import open_application
from services.generator.config import GeneratorConfig
from tests.servers import language_server
from tests.servers.gateway import running_gateway
from tests.servers.language_server import LanguageServer, Reply, answering, candidates, sending
from tests.servers.peers import Peers

LIBRARY = "libraries/shop"
GOOD = candidates(["A white mug."], ["An oak table."])
DEADLINE_S = 4
RECOVERY_S = 10


@pytest.fixture
async def llm() -> AsyncIterator[LanguageServer]:
    async with language_server.serve(GOOD) as running:
        yield running


@pytest.fixture
async def stub(llm: LanguageServer, tmp_path: Path) -> AsyncIterator[Any]:
    peers = Peers()
    await peers.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(peers.stop_all)
        generator_config = GeneratorConfig(port=0, llm_url=llm.url)
        generator = await stack.enter_async_context(open_application(generator_config))
        generator_server = await stack.enter_async_context(start(generator_config, generator))
        peers.targets["generator"] = f"127.0.0.1:{generator_server.port}"
        gateway = await stack.enter_async_context(running_gateway(peers, tmp_path))
        yield gateway.stub


FAILURES: dict[str, tuple[Reply, set[str]]] = {
    "hangs": (language_server.hanging, {"LLM_TIMEOUT", "GENERATOR_TIMEOUT", "LLM_CIRCUIT_OPEN"}),
    "trickles": (language_server.trickling, {"LLM_TIMEOUT", "GENERATOR_TIMEOUT", "LLM_CIRCUIT_OPEN"}),
    "breaks off": (language_server.cutting_off, {"LLM_UNREACHABLE", "LLM_CIRCUIT_OPEN"}),
    "fails": (sending(500, "{}"), {"LLM_FAILED", "LLM_CIRCUIT_OPEN"}),
    "asks to wait": (sending(429, "{}", {"Retry-After": "60"}), {"LLM_RATE_LIMITED"}),
    "refuses the key": (sending(401, "{}"), {"LLM_REJECTED"}),
    "garbles": (answering("Sure! {"), {"LLM_GARBLED"}),
    "refuses to write": (answering(None, refusal="I cannot help with that."), {"LLM_REFUSED"}),
}


@pytest.mark.parametrize("failure", list(FAILURES))
async def test_a_recommendation_comes_in_time_says_what_is_degraded_and_is_soon_whole_again(
    stub: Any, llm: LanguageServer, failure: str
) -> None:
    background = pb.ImportBackgroundsRequest(name=f"{LIBRARY}/backgrounds/oak", image=b"picture")
    assert [each.outcome async for each in stub.ImportBackgrounds(iter([background]))] == [pb.OUTCOME_CREATED]
    llm.reply, reasons = FAILURES[failure]
    for _ in range(4):
        response = await recommend(stub)
        assert [each.stage for each in response.degraded] == ["captions"]
        assert response.degraded[0].reason in reasons
        assert response.candidates[0].caption == "A white mug with a calm mood."
        assert len(response.recommendations) == 1

    llm.reply = GOOD
    back_at = time.monotonic()
    while (response := await recommend(stub)).degraded:
        assert time.monotonic() - back_at < RECOVERY_S
        await asyncio.sleep(0.2)
    assert response.candidates[0].caption == "A white mug."


def recommend(stub: Any) -> Any:
    return stub.Recommend(pb.RecommendRequest(parent=LIBRARY, image=b"photo"), timeout=DEADLINE_S)
