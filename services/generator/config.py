"""The generator's settings, read from BACKDROP_GENERATOR_* in the environment."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, StringConstraints, field_validator
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig


class GeneratorConfig(ServerConfig):
    """What the generator can be told."""

    model_config = SettingsConfigDict(env_prefix="BACKDROP_GENERATOR_")

    port: int = Field(default=50052, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    llm_url: str = Field(default="http://127.0.0.1:50054/v1", pattern=r"^https?://.+")
    """Base address of an OpenAI-compatible server, with its `/v1`. The default is the local one, which writes English
    only: `python -m services.generator.local_llm`."""

    llm_model: str = ""
    """Model to ask for; empty for the only one that the server lists."""

    llm_api_key: SecretStr = SecretStr("")
    """Key of the server; empty when it asks for none."""

    llm_api_key_file: Path | None = None
    """File that holds the key, as secrets are mounted; wins over `llm_api_key`."""

    llm_extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of each request as JSON, such as `{"reasoning_effort": "minimal"}`. They win over the rest."""

    llm_seed: int = Field(default=1, ge=-1)
    """Seed of the sampling, so that the same features give the same captions where the server honours it; -1 sends
    none."""

    llm_check_interval_s: float = Field(default=10, ge=0)
    """Seconds that a sign of life of the language model counts for readiness before it is asked again."""

    timeout_s: float = Field(default=20, gt=0)
    """Seconds for one answer of the language model; a caller's shorter deadline goes first."""

    llm_concurrency: int = Field(default=4, ge=1)
    """Requests that the language model works on at the same time; the local one has 4 slots."""

    llm_waiting: int = Field(default=100, ge=0)
    """Requests that wait for it besides; further ones are refused at once with LLM_BUSY."""

    circuit_failures: int = Field(default=5, ge=1)
    """Failed calls in a row after which the language model is left alone: no connection, HTTP 5xx, no answer."""

    circuit_open_s: float = Field(default=5, gt=0)
    """Seconds that it is left alone; requests fail at once with LLM_CIRCUIT_OPEN. Then one call tries it."""

    circuit_patience_s: float = Field(default=5, ge=0)
    """Seconds after which no answer counts as the language model's failure; a caller that leaves earlier proves
    nothing. Set it higher for a model that takes longer."""

    structured_output: Literal["auto", "json_schema", "json_object", "none"] = "auto"
    """How the server is asked to hold the model to its JSON schema. `auto` finds the strongest that it does not
    refuse."""

    languages: list[Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]] = Field(
        default_factory=list
    )
    """Languages besides English that the model writes, as a JSON list such as `["de", "fr"]`; others are answered in
    English. Empty: all, but for the local model English alone."""

    prompt_price: float = Field(default=0, ge=0)
    """Price of a million prompt tokens, for the metric of the cost; 0 when it is not known."""

    completion_price: float = Field(default=0, ge=0)
    """Price of a million completion tokens, likewise."""

    temperature: float = Field(default=0, ge=0, le=2)
    """How freely the model chooses its words. Scenes differ by how they are asked for, not by chance."""

    top_p: float = Field(default=0.9, gt=0, le=1)
    """Share of the probability that the model chooses its words from."""

    max_tokens: int = Field(default=600, ge=0)
    """Longest answer in tokens; 0 sends no limit (reasoning models spend tokens that are not seen)."""

    patterns: bool = True
    """Bar the model from leaving the prompts' form in English, by regular expressions in the JSON schema. A small model
    needs it. Turn it off for a service that compiles each new schema for seconds, or refuses expressions."""

    cache_entries: int = Field(default=10_000, ge=1)
    """Answers kept in memory, the least recently used dropped first; 10,000 take about 15 MiB."""

    cache_url: SecretStr = SecretStr("")
    """Redis or Valkey to keep answers in instead, so that replicas share them, such as `redis://host:6379/0`,
    `rediss://user:password@host:6379/0` or `unix:///path`. Where it is down, requests are served without it."""

    cache_ttl_s: int = Field(default=7 * 24 * 3600, ge=1)
    """Seconds that an answer stays in Redis."""

    @field_validator("llm_api_key_file", mode="before")
    @classmethod
    def _no_file_when_empty(cls, path: object) -> object:
        return path or None

    @field_validator("llm_api_key_file")
    @classmethod
    def _must_be_readable(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError(f"no such file: {path}")
        return path

    @field_validator("cache_url")
    @classmethod
    def _must_be_redis(cls, url: SecretStr) -> SecretStr:
        if url.get_secret_value() and not url.get_secret_value().startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must begin with redis://, rediss:// or unix://")
        return url

    def api_key(self) -> SecretStr:
        """The key, from its file where one is named."""
        if self.llm_api_key_file is None:
            return self.llm_api_key
        return SecretStr(self.llm_api_key_file.read_text(encoding="utf-8").strip())
