"""Runs the generator: `python -m services.generator`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from openai import AsyncOpenAI

from backdrop.generator.v1 import generator_pb2_grpc
from chassis import server
from services.generator.caption_writer import CaptionWriter
from services.generator.config import GeneratorConfig
from services.generator.language_model import LanguageModel, Sampling
from services.generator.prompt import Subject, load_prompt
from services.generator.servicer import SERVICE_NAME, GeneratorServicer


@asynccontextmanager
async def open_application(config: GeneratorConfig) -> AsyncIterator[server.Application]:
    """Reads the prompts and opens the client; the language model need not be up, readiness follows it."""
    prompts = {subject: load_prompt(subject) for subject in Subject}
    async with open_client(config) as client:
        sampling = Sampling(config.temperature, config.top_p, config.max_tokens, config.llm_seed)
        model = LanguageModel(client, config.llm_model, sampling, config.llm_extra_body, config.llm_check_interval_s)
        writer = CaptionWriter(model, prompts, config.cache_entries, patterns=config.patterns)
        servicer = GeneratorServicer(writer, config.timeout_s)
        register = partial(generator_pb2_grpc.add_GeneratorServiceServicer_to_server, servicer)
        yield server.Application(services={SERVICE_NAME: register}, checks={"llm": model.check})


def open_client(config: GeneratorConfig) -> AsyncOpenAI:
    """The client of the language model's server; it retries nothing, as that is the caller's decision."""
    # The client refuses an empty key, and servers that ask for none ignore it.
    key = config.api_key().get_secret_value() or "none"
    return AsyncOpenAI(base_url=config.llm_url, api_key=key, max_retries=0, timeout=config.timeout_s)


if __name__ == "__main__":
    server.run("generator", GeneratorConfig, open_application)
