"""Runs the generator: `python -m services.generator`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from openai import AsyncOpenAI

from backdrop.generator.v1 import generator_pb2_grpc
from chassis import server
from chassis.circuit import Circuit
from services.generator.answer_cache import AnswerCache, MemoryCache
from services.generator.caption_writer import CaptionWriter
from services.generator.claims import ClaimChecker
from services.generator.config import GeneratorConfig
from services.generator.dialect import Sampling, first_dialect
from services.generator.language_model import LanguageModel
from services.generator.llm_client import open_client
from services.generator.llm_failures import left_alone, proof
from services.generator.prompt import Subject, load_prompt
from services.generator.redis_cache import RedisCache
from services.generator.servicer import SERVICE_NAME, GeneratorServicer
from services.generator.suitability import SuitabilityChecker
from services.generator.translation import load_translation_prompt
from services.generator.usage import Prices
from services.generator.waiting_line import WaitingLine
from services.generator.wordnet import WordNet


@asynccontextmanager
async def open_application(config: GeneratorConfig) -> AsyncIterator[server.Application]:
    """Reads the prompts and opens the clients; neither the language model nor Redis need be up."""
    prompts = {subject: load_prompt(subject) for subject in Subject}
    key = config.api_key().get_secret_value()
    async with open_client(config.llm_url, key, config.timeout_s) as client, open_cache(config) as cache:
        model = language_model(config, client)
        wordnet = WordNet()
        writer = CaptionWriter(
            model,
            prompts,
            load_translation_prompt(),
            ClaimChecker(wordnet),
            SuitabilityChecker(wordnet),
            cache,
            languages=config.languages,
            patterns=config.patterns,
        )
        servicer = GeneratorServicer(writer, config.timeout_s)
        register = partial(generator_pb2_grpc.add_GeneratorServiceServicer_to_server, servicer)
        yield server.Application(services={SERVICE_NAME: register}, checks={"llm": model.check})


@asynccontextmanager
async def open_cache(config: GeneratorConfig) -> AsyncIterator[AnswerCache]:
    """The cache that is configured: Redis, or this process's memory."""
    url = config.cache_url.get_secret_value()
    if not url:
        yield MemoryCache(config.cache_entries)
        return
    shared = RedisCache(url, config.cache_ttl_s)
    try:
        yield shared
    finally:
        await shared.close()


def language_model(config: GeneratorConfig, client: AsyncOpenAI) -> LanguageModel:
    """The language model that is configured."""
    judge = partial(proof, patience_s=config.circuit_patience_s)
    return LanguageModel(
        client,
        config.llm_model,
        Sampling(config.temperature, config.top_p, config.max_tokens, config.llm_seed),
        first_dialect(config.structured_output),
        WaitingLine(config.llm_concurrency, config.llm_waiting),
        Circuit("llm", config.circuit_failures, config.circuit_open_s, judge, left_alone),
        Prices(config.prompt_price, config.completion_price),
        config.timeout_s,
        config.llm_extra_body,
        config.llm_check_interval_s,
    )


if __name__ == "__main__":
    server.run("generator", GeneratorConfig, open_application)
