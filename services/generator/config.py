"""The generator's settings, read from BACKDROP_GENERATOR_* in the environment."""

from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator
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

    temperature: float = Field(default=0.7, ge=0, le=2)
    """How freely the model chooses its words. At 0 all candidates are the same, so one is left."""

    top_p: float = Field(default=0.9, gt=0, le=1)
    """Share of the probability that the model chooses its words from."""

    max_tokens: int = Field(default=120, ge=0)
    """Longest candidate in tokens; 0 sends no limit (reasoning models spend tokens that are not seen)."""

    patterns: bool = True
    """Bar the model from leaving the prompts' form in English, by regular expressions in the JSON schema. A small model
    needs it. Turn it off for a service that compiles each new schema for seconds, or refuses expressions."""

    cache_entries: int = Field(default=10_000, ge=1)
    """Answers kept in memory, the least recently used dropped first; 10,000 take about 15 MiB."""

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

    def api_key(self) -> SecretStr:
        """The key, from its file where one is named."""
        if self.llm_api_key_file is None:
            return self.llm_api_key
        return SecretStr(self.llm_api_key_file.read_text(encoding="utf-8").strip())
