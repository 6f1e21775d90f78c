"""What the compositor can be told by its environment: variables that begin with BACKDROP_COMPOSITOR_."""

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig
from chassis.cores import usable_cores


class CompositorConfig(ServerConfig):
    """Settings of the compositor."""

    model_config = SettingsConfigDict(env_prefix="BACKDROP_COMPOSITOR_")

    port: int = Field(default=50055, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    max_message_mib: int = Field(default=72, ge=1)
    """Largest gRPC message in MiB, either way, enough for two photos. Photos are limited further, with a clearer
    error."""

    threads: int = Field(default_factory=usable_cores, ge=1)
    """Pictures that are worked on at the same time; by default one for each CPU that the server may use."""

    max_pending: int = Field(default=32, ge=1)
    """Requests that are in work or wait; further ones are refused with a hint when to try again."""

    timeout_s: float = Field(default=30, gt=0)
    """Seconds that cutting out a product may take, waiting included; a caller's shorter deadline goes first."""

    cut_out_cache_mib: int = Field(default=128, ge=0)
    """Memory in MiB for cut-outs, the least recently used dropped first; one of a large photo takes up to 16."""

    max_image_mib: float = Field(default=32, gt=0, le=32)
    """Largest encoded photo in MiB, of product and background each."""

    max_megapixels: float = Field(default=100, gt=0)
    """Largest photo in millions of pixels, whatever its encoded size."""
