"""The ranker's settings, read from BACKDROP_RANKER_* in the environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig


class RankerConfig(ServerConfig):
    """What the ranker can be told."""

    model_config = SettingsConfigDict(env_prefix="BACKDROP_RANKER_")

    port: int = Field(default=50053, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    embedding_model: str = ""
    """Sentence-transformers model: a name of the hub or a folder; empty for the all-MiniLM-L6-v2 that is installed."""

    embedding_device: str = ""
    """Device of the model, such as `cpu` or `cuda`; empty for the best there is."""

    embedding_threads: int = Field(default=1, ge=1)
    """CPU threads of the model. On a machine that other processes share, one is the fastest."""

    embedding_cache_size: int = Field(default=10_000, ge=1)
    """Texts whose vectors are kept in memory, the least recently used dropped first; 10,000 take 15 MiB."""

    store_path: Path = Path(".backdrop/ranker")
    """Folder of the embedded store (Qdrant Edge). One ranker owns it; unused when `qdrant_url` is set."""

    qdrant_url: str = Field(default="", pattern=r"^(https?://.+)?$")
    """Address of a Qdrant server or cluster, 1.16 or later: `http://qdrant:6333`; empty for the embedded store."""

    qdrant_api_key: SecretStr = SecretStr("")
    """Key of the Qdrant server; empty when it asks for none."""

    qdrant_collection: str = Field(default="backgrounds", min_length=1)
    """Collection of the Qdrant server; created when it is missing."""

    qdrant_timeout_s: int = Field(default=5, ge=1)
    """Seconds that one request to the Qdrant server may take."""
