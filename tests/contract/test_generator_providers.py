"""Servers that speak the OpenAI API each in their own way, and answers that are not quite what was asked for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.servers import language_server
from tests.servers.generator import Generator, about, failure, request, serving
from tests.servers.language_server import LanguageServer, answering, candidates, in_turn, sending

GOOD = candidates(["A mug."], ["An oak table."])
ANSWER = json.dumps({"captions": ["A mug.", "A cup."], "scenes": ["An oak table.", "A marble podium."]})


@pytest.fixture
async def llm() -> AsyncIterator[LanguageServer]:
    async with language_server.serve(GOOD) as running:
        yield running


@pytest.fixture
async def generator(llm: LanguageServer) -> AsyncIterator[Generator]:
    async with serving(llm_url=llm.url) as stub:
        yield stub


def choosy(llm: LanguageServer, refuses: Callable[[dict[str, Any]], str | None], status: int = 400) -> None:
    """Makes the server refuse requests with an error that `refuses` gives as JSON."""

    async def reply(writer: asyncio.StreamWriter) -> None:
        error = refuses(llm.requests[-1])
        await (GOOD if error is None else sending(status, error))(writer)

    llm.reply = reply


def formats(llm: LanguageServer) -> list[str]:
    return [each.get("response_format", {"type": "none"})["type"] for each in llm.requests]


# ---- Structured output


@pytest.mark.parametrize("status", [400, 404, 422, 501])
async def test_a_server_without_schemas_is_asked_for_json_and_told_the_schema(
    llm: LanguageServer, generator: Generator, status: int
) -> None:
    refusal = '{"error": {"message": "This response_format type is unavailable now", "param": null}}'
    choosy(
        llm, lambda asked: refusal if asked.get("response_format", {}).get("type") == "json_schema" else None, status
    )

    assert (await generator.WriteCaptions(about("mug"))).candidates
    assert (await generator.WriteCaptions(about("sofa"))).candidates

    assert formats(llm) == ["json_schema", "json_object", "json_object"], "what works is remembered"
    system = llm.requests[1]["messages"][0]
    assert system["role"] == "system"
    assert '"captions"' in system["content"]
    assert '"scenes"' in system["content"]
    assert "JSON schema" not in llm.requests[0]["messages"][0]["content"]


async def test_a_server_without_json_mode_is_asked_in_words_alone(llm: LanguageServer, generator: Generator) -> None:
    choosy(llm, lambda asked: '{"detail": "extra field"}' if "response_format" in asked else None)
    assert (await generator.WriteCaptions(request())).candidates
    assert formats(llm) == ["json_schema", "json_object", "none"]
    assert '"captions"' in llm.requests[-1]["messages"][0]["content"]


@pytest.mark.parametrize(("setting", "sent"), [("json_object", "json_object"), ("none", "none")])
async def test_a_setting_says_what_is_asked_for(llm: LanguageServer, setting: str, sent: str) -> None:
    async with serving(llm_url=llm.url, structured_output=setting) as generator:
        assert (await generator.WriteCaptions(request())).candidates
    assert formats(llm) == [sent]


async def test_a_setting_is_not_given_up(llm: LanguageServer) -> None:
    llm.reply = sending(400, '{"error": {"message": "no response_format"}}')
    async with serving(llm_url=llm.url, structured_output="json_schema") as generator:
        assert (await failure(generator.WriteCaptions(request())))[1] == "LLM_REJECTED"
    assert formats(llm) == ["json_schema"]


async def test_a_request_that_is_wrong_otherwise_teaches_nothing(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = sending(400, "{}")
    assert (await failure(generator.WriteCaptions(about("mug"))))[1] == "LLM_REJECTED"
    llm.requests.clear()
    llm.reply = GOOD
    await generator.WriteCaptions(about("sofa"))
    assert formats(llm) == ["json_schema"]


async def test_a_model_that_is_not_there_is_asked_for_once(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = sending(404, '{"error": {"message": "no such model", "code": "model_not_found", "param": "model"}}')
    assert (await failure(generator.WriteCaptions(request())))[1] == "LLM_REJECTED"
    assert len(llm.requests) == 1


# ---- Parameters


def unsupported(parameter: str) -> str:
    message = f"Unsupported parameter: '{parameter}' is not supported with this model."
    return json.dumps({"error": {"message": message, "param": parameter, "code": "unsupported_parameter"}})


async def test_a_reasoning_model_gets_its_own_name_of_the_limit_and_no_sampling(
    llm: LanguageServer, generator: Generator
) -> None:
    refused = ("max_tokens", "temperature", "top_p")
    choosy(llm, lambda asked: next((unsupported(each) for each in refused if each in asked), None))

    assert (await generator.WriteCaptions(about("mug"))).candidates
    learning = len(llm.requests)
    assert (await generator.WriteCaptions(about("sofa"))).candidates

    assert len(llm.requests) == learning + 1, "what was learnt is remembered"
    last = llm.requests[-1]
    assert last["max_completion_tokens"] == 600
    assert not set(refused) & set(last)
    assert last["response_format"]["type"] == "json_schema"


async def test_a_server_that_names_the_field_in_words_is_understood(llm: LanguageServer, generator: Generator) -> None:
    detail = '{"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}'
    choosy(llm, lambda asked: detail if "seed" in asked else None, 422)
    assert (await generator.WriteCaptions(request())).candidates
    assert len(llm.requests) == 2
    assert formats(llm) == ["json_schema"] * 2


# ---- Answers


async def test_an_unreadable_answer_is_shown_to_the_model_once(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = in_turn(answering("Sure! A mug."), GOOD)

    response = await generator.WriteCaptions(request())

    assert response.candidates[0].caption == "A mug."
    assert response.usage.prompt_tokens == 200, "both calls are counted"
    *asked, shown, wrong = llm.requests[1]["messages"]
    assert asked == llm.requests[0]["messages"]
    assert shown == {"role": "assistant", "content": "Sure! A mug."}
    assert "no JSON object" in wrong["content"]


async def test_a_second_unreadable_answer_is_the_last(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = answering("Sure!")
    assert (await failure(generator.WriteCaptions(request())))[1] == "LLM_GARBLED"
    assert len(llm.requests) == 2


async def test_a_model_that_cannot_read_the_longer_chat_has_garbled(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = in_turn(answering("Sure!"), sending(400, '{"error": {"message": "too long"}}'))
    assert (await failure(generator.WriteCaptions(request())))[1] == "LLM_GARBLED"


SLOPPY = {
    "a fence": f"```json\n{ANSWER}\n```",
    "prose around": f"Here you are:\n{ANSWER}\nHave fun!",
    "a comma too many": ANSWER.replace("]", ",]"),
    "quotes of the other kind": ANSWER.replace('"', "'"),
    "names without quotes": ANSWER.replace('"captions"', "captions"),
    "a comment": ANSWER.replace('"scenes"', '\n// the scenes\n"scenes"'),
    "an end that is missing": ANSWER[:-2],
}


@pytest.mark.parametrize("text", SLOPPY.values(), ids=SLOPPY.keys())
async def test_sloppy_json_is_read_at_once(llm: LanguageServer, generator: Generator, text: str) -> None:
    llm.reply = answering(text)
    response = await generator.WriteCaptions(request(count=2))
    assert [each.caption for each in response.candidates][:1] == ["A mug."]
    assert response.candidates[0].scene == "An oak table."
    assert len(llm.requests) == 1


@pytest.mark.parametrize("finish_reason", ["length", "stop"])
async def test_an_answer_that_was_cut_off_gives_whole_sentences_or_is_asked_for_again(
    llm: LanguageServer, generator: Generator, finish_reason: str
) -> None:
    first_scene = ANSWER.index(",", ANSWER.index("An oak table."))
    for end in range(10, len(ANSWER)):
        llm.requests.clear()
        llm.reply = answering(ANSWER[:end], finish_reason)
        if end <= first_scene:
            assert (await failure(generator.WriteCaptions(about(f"mug {end}"))))[1] == "LLM_GARBLED"
            assert len(llm.requests) == 2
            continue
        response = await generator.WriteCaptions(about(f"mug {end}"))
        assert {each.caption for each in response.candidates} <= {"A mug.", "A cup."}
        assert {each.scene for each in response.candidates} <= {"An oak table.", "A marble podium."}


async def test_an_answer_of_one_sentence_and_a_half_gives_one(llm: LanguageServer, generator: Generator) -> None:
    llm.reply = answering(ANSWER[: ANSWER.index(" podium")], "length")
    response = await generator.WriteCaptions(request(count=2))
    assert [each.scene for each in response.candidates] == ["An oak table."]
