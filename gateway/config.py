"""What the gateway can be told."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig


class GatewayConfig(ServerConfig):
    """Settings of the gateway, from `BACKDROP_GATEWAY_*`."""

    model_config = SettingsConfigDict(env_prefix="BACKDROP_GATEWAY_")

    port: int = Field(default=50050, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    http_port: int = Field(default=8080, ge=0, le=65535)
    """Port to listen on for HTTP/JSON; 0 takes a free one."""

    keys_file: Path | None = None
    """File of API keys, as `backdrop keys` writes it; every call needs one of them. A change counts within seconds."""

    allow_anonymous: bool = False
    """Listen on more than loopback without asking for keys, since something else guards the gateway."""

    captioner_target: str = "127.0.0.1:50051"
    """gRPC target of the captioner; `dns:///name:port` spreads calls over all addresses of the name."""

    generator_target: str = "127.0.0.1:50052"
    """gRPC target of the generator."""

    ranker_target: str = "127.0.0.1:50053"
    """gRPC target of the ranker."""

    compositor_target: str = "127.0.0.1:50055"
    """gRPC target of the compositor."""

    peers_ca_file: Path | None = None
    """PEM file of the CA that certified the four services: they are called over TLS."""

    peers_cert_file: Path | None = None
    """PEM file of the certificate that the gateway shows them (mutual TLS)."""

    peers_key_file: Path | None = None
    """PEM file of that certificate's private key."""

    assets_url: str = ".backdrop/assets"
    """Where pictures are kept: a folder, or `s3://bucket/prefix`, `gs://`, `az://` (with their usual credentials)."""

    default_deadline_s: float = Field(default=15, gt=0)
    """Seconds that a `Recommend` may take when its client sets no deadline."""

    import_deadline_s: float = Field(default=60, gt=0)
    """Seconds that the import of one background may take."""

    import_concurrency: int = Field(default=4, ge=1, le=64)
    """Backgrounds of one import stream that are in work at once."""

    candidate_count: int = Field(default=5, ge=1, le=8)
    """Scenes that are written for a product photo, each with a caption."""

    cache_size: int = Field(default=256, ge=0)
    """How many photos' features, and how many answers, are kept in memory: the same request again is answered at once,
    and the same photo in another request is not read again. 0 keeps none."""

    cache_ttl_s: float = Field(default=600, gt=0)
    """Seconds that they are kept. Answers are forgotten as soon as their library changes."""

    cache_previews_mib: int = Field(default=64, ge=0)
    """Memory in MiB for previews, the least recently used dropped first, kept as long as answers.
    0 keeps none."""

    grounding_margin: float = Field(default=0.05, ge=0, le=2)
    """A candidate is dropped when its image-text score is lower than the template caption's by more than this; one that
    claims more than the photo's features, unless it is higher by more than this."""
