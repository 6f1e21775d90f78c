"""The generator under load and before a failing language model: what is bounded, shared, asked again, left alone."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from email.utils import formatdate

import grpc
import pytest

from tests.servers import language_server
from tests.servers.generator import Generator, about, failure, metric, request, serving
from tests.servers.language_server import LanguageServer, after, candidates, in_turn, sending

GOOD = candidates(["A mug."], ["An oak table."])
SLOW = after(0.3, GOOD)
LABELS = ("mug", "sofa", "lamp", "ring", "hat", "shoe")


@pytest.fixture
async def llm() -> AsyncIterator[LanguageServer]:
    async with language_server.serve(GOOD) as running:
        yield running


@pytest.fixture
async def generator(llm: LanguageServer) -> AsyncIterator[Generator]:
    async with serving(llm_url=llm.url) as stub:
        yield stub


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


# ---- One call for equal requests


async def test_equal_requests_at_once_make_one_call_and_pay_once(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = SLOW
    shared = metric("backdrop_coalesced_total", server="generator")

    responses = await asyncio.gather(*(generator.WriteCaptions(request()) for _ in range(64)))

    assert len(llm.requests) == 1
    assert llm.models_asked <= 2, "once for the name, once for readiness"
    assert {each.candidates[0].caption for each in responses} == {"A mug."}
    assert sum(each.usage.prompt_tokens for each in responses) == 100
    assert metric("backdrop_coalesced_total", server="generator") - shared == 63


async def test_equal_requests_fail_together(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = after(0.2, sending(500, "{}"))
    failures = await asyncio.gather(*(failure(generator.WriteCaptions(request())) for _ in range(8)))
    assert {reason for _, reason, _ in failures} == {"LLM_FAILED"}
    assert len(llm.requests) == 1


async def test_one_that_leaves_takes_the_answer_from_nobody(llm: LanguageServer) -> None:
    llm.reply = after(3, GOOD)
    async with serving(llm_url=llm.url, timeout_s=30) as generator:
        hasty = generator.WriteCaptions(request(), timeout=1.5)
        await until(lambda: llm.requests)
        patient = generator.WriteCaptions(request())

        assert (await failure(hasty))[0] == grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await patient).candidates
    assert len(llm.requests) == 1


async def test_a_call_that_nobody_waits_for_is_ended(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = language_server.hanging
    calls = [generator.WriteCaptions(request()) for _ in range(2)]
    await until(lambda: llm.requests)
    for call in calls:
        call.cancel()
    await until(lambda: llm.abandoned)

    llm.reply = GOOD
    assert (await generator.WriteCaptions(request())).candidates


# ---- A bounded line


async def test_only_so_many_are_at_the_model_and_wait_for_it(llm: LanguageServer) -> None:
    llm.reply = after(2, GOOD)
    async with serving(llm_url=llm.url, llm_concurrency=1, llm_waiting=1, timeout_s=30) as generator:
        first = generator.WriteCaptions(about("mug"))
        await until(lambda: llm.requests)
        second = generator.WriteCaptions(about("sofa"))
        await until(lambda: metric("backdrop_generator_llm_waiting") == 1)
        refused = await failure(generator.WriteCaptions(about("lamp")))

        assert refused == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LLM_BUSY", 1)
        assert len(llm.requests) == 1
        assert (await first).candidates
        assert (await second).candidates


async def test_waiting_in_line_counts_against_the_deadline_and_leaves_the_line(llm: LanguageServer) -> None:
    llm.reply = language_server.hanging
    async with serving(llm_url=llm.url, llm_concurrency=1, timeout_s=30) as generator:
        first = generator.WriteCaptions(about("mug"))
        await until(lambda: llm.requests)
        code, reason, _ = await failure(generator.WriteCaptions(about("sofa"), timeout=0.5))
        assert (code, reason) == (grpc.StatusCode.DEADLINE_EXCEEDED, "LLM_TIMEOUT")
        await until(lambda: metric("backdrop_generator_llm_waiting") == 0)

        first.cancel()
        llm.reply = GOOD
        assert (await generator.WriteCaptions(about("sofa"))).candidates
    assert len(llm.requests) == 2, "the one that left the line was never asked"


# ---- Asking again


@pytest.mark.parametrize("status", [429, 503])
async def test_an_overloaded_server_is_asked_again_when_it_says(llm: LanguageServer, status: int) -> None:
    llm.reply = in_turn(sending(status, "{}", {"Retry-After": "1"}), GOOD)
    async with serving(llm_url=llm.url, timeout_s=10) as generator:
        started = time.monotonic()
        assert (await generator.WriteCaptions(request())).candidates
    assert time.monotonic() - started >= 1
    assert len(llm.requests) == 2


async def test_an_overloaded_server_may_say_when_by_a_date(llm: LanguageServer) -> None:
    llm.reply = in_turn(sending(429, "{}", {"Retry-After": formatdate(time.time() + 1, usegmt=True)}), GOOD)
    async with serving(llm_url=llm.url, timeout_s=10) as generator:
        assert (await generator.WriteCaptions(request())).candidates


async def test_a_wait_beyond_the_callers_deadline_is_told_at_once(llm: LanguageServer) -> None:
    llm.reply = sending(429, "{}", {"Retry-After": "7"})
    async with serving(llm_url=llm.url, timeout_s=30) as generator:
        code, reason, retry_after_s = await failure(generator.WriteCaptions(request(), timeout=3))
    assert (code, reason, retry_after_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LLM_RATE_LIMITED", 7)
    assert len(llm.requests) == 1


async def test_a_connection_that_is_refused_is_tried_again(llm: LanguageServer) -> None:
    async with language_server.serve(GOOD) as other:
        port = int(other.url.split(":")[-1].removesuffix("/v1"))
    async with serving(llm_url=other.url, llm_model="tiny", timeout_s=10) as generator:
        call = generator.WriteCaptions(request())
        # The pauses between attempts are random, and together rarely as short as this.
        await asyncio.sleep(0.02)
        async with language_server.serve(GOOD, port) as back:
            assert (await call).candidates
            assert len(back.requests) == 1


@pytest.mark.parametrize(
    "reply", [language_server.hanging, language_server.cutting_off, sending(500, "{}"), sending(429, "{}")]
)
async def test_what_may_have_cost_tokens_is_not_asked_again(
    llm: LanguageServer, generator: Generator, reply: language_server.Reply
) -> None:
    llm.reply = reply
    await failure(generator.WriteCaptions(request()))
    assert len(llm.requests) == 1


# ---- The circuit


async def test_a_failing_model_is_left_alone_and_used_again_soon_after_it_is_back(llm: LanguageServer) -> None:
    llm.reply = sending(500, "{}")
    async with serving(llm_url=llm.url, circuit_failures=3) as generator:
        for label in LABELS[:3]:
            assert (await failure(generator.WriteCaptions(about(label))))[1] == "LLM_FAILED"
        started = time.monotonic()
        code, reason, retry_after_s = await failure(generator.WriteCaptions(about("hat")))

        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "LLM_CIRCUIT_OPEN")
        assert retry_after_s is not None
        assert 0 < retry_after_s <= 5
        assert len(llm.requests) == 3, "the fourth was not sent"
        assert metric("backdrop_circuit_open", peer="llm") == 1

        llm.reply = GOOD
        await until_served(generator)
        assert time.monotonic() - started < 10
        assert metric("backdrop_circuit_open", peer="llm") == 0
        await asyncio.gather(*(generator.WriteCaptions(about(label)) for label in LABELS))


async def until_served(generator: Generator) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                await generator.WriteCaptions(about("hat"))
            except grpc.aio.AioRpcError:
                await asyncio.sleep(0.1)
            else:
                return


async def test_one_trial_goes_first_when_the_circuit_was_open(llm: LanguageServer) -> None:
    llm.reply = sending(500, "{}")
    async with serving(llm_url=llm.url, circuit_failures=1, circuit_open_s=0.5, timeout_s=10) as generator:
        await failure(generator.WriteCaptions(about("mug")))
        await asyncio.sleep(1.1)
        llm.requests.clear()
        llm.reply = after(0.3, GOOD)
        results = await asyncio.gather(
            *(generator.WriteCaptions(about(label)) for label in LABELS), return_exceptions=True
        )
    assert len(llm.requests) == 1
    assert sum(isinstance(each, grpc.aio.AioRpcError) for each in results) == len(LABELS) - 1


async def test_callers_in_a_hurry_do_not_open_the_circuit_for_others(llm: LanguageServer) -> None:
    llm.reply = after(0.6, GOOD)
    async with serving(llm_url=llm.url, circuit_failures=1, circuit_patience_s=2, timeout_s=10) as generator:
        for label in LABELS:
            code, _, _ = await failure(generator.WriteCaptions(about(label), timeout=0.2))
            assert code == grpc.StatusCode.DEADLINE_EXCEEDED
        assert (await generator.WriteCaptions(about("mug"))).candidates


async def test_a_model_that_never_answers_opens_the_circuit(llm: LanguageServer) -> None:
    llm.reply = language_server.hanging
    async with serving(llm_url=llm.url, circuit_failures=2, circuit_patience_s=0.3, timeout_s=10) as generator:
        for label in LABELS[:2]:
            await failure(generator.WriteCaptions(about(label), timeout=0.6))
        started = time.monotonic()
        assert (await failure(generator.WriteCaptions(about("hat"))))[1] == "LLM_CIRCUIT_OPEN"
        assert time.monotonic() - started < 1


async def test_answers_that_cannot_be_read_do_not_open_the_circuit(llm: LanguageServer) -> None:
    llm.reply = language_server.answering("Sure!")
    async with serving(llm_url=llm.url, circuit_failures=1) as generator:
        reasons = {(await failure(generator.WriteCaptions(about(label))))[1] for label in LABELS}
    assert reasons == {"LLM_GARBLED"}


async def test_what_is_remembered_is_served_while_the_circuit_is_open(llm: LanguageServer) -> None:
    async with serving(llm_url=llm.url, circuit_failures=1) as generator:
        await generator.WriteCaptions(about("mug"))
        llm.reply = sending(500, "{}")
        await failure(generator.WriteCaptions(about("sofa")))
        assert (await generator.WriteCaptions(about("mug"))).cached


# ---- What it costs


async def test_the_cost_is_counted_where_the_prices_are_known(llm: LanguageServer) -> None:
    llm.models = ["dear"]
    async with serving(llm_url=llm.url, prompt_price=2, completion_price=10) as generator:
        await generator.WriteCaptions(request())
    assert metric("backdrop_generator_llm_cost_total", model="dear") == pytest.approx(0.0004)
    assert metric("backdrop_generator_llm_tokens_total", model="dear", kind="prompt") == 100


async def test_no_cost_is_claimed_where_they_are_not(llm: LanguageServer) -> None:
    llm.models = ["unpriced"]
    async with serving(llm_url=llm.url) as generator:
        await generator.WriteCaptions(request())
    assert metric("backdrop_generator_llm_tokens_total", model="unpriced", kind="completion") == 20
    assert metric("backdrop_generator_llm_cost_total", model="unpriced") == 0
