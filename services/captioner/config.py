"""What the captioner can be told by its environment: variables that begin with BACKDROP_CAPTIONER_."""

from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig


class CaptionerConfig(ServerConfig):
    """Settings of the captioner."""

    model_config = SettingsConfigDict(env_prefix="BACKDROP_CAPTIONER_")

    port: int = Field(default=50051, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    model: str = Field(default="conse", pattern=r"^(conse|open_clip:.+)$")
    """The image-text model: `conse` (embedded), or any of open_clip as `open_clip:ARCHITECTURE:WEIGHTS`, where WEIGHTS
    is a pretrained tag or the path of a checkpoint, or as `open_clip:hf-hub:OWNER/NAME`."""

    device: str = "auto"
    """Where the model runs: `auto` (CUDA when there, else the CPU), or a device of torch such as `cuda:1`."""

    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Numbers that the model computes with; `auto` takes bfloat16 where the device is good at it."""

    threads: int = Field(default=2, ge=1)
    """Threads that torch computes one request with on the CPU."""

    workers: int = Field(default=1, ge=1)
    """Requests that are decoded and read at the same time; further ones wait."""

    max_image_mib: float = Field(default=32, gt=0, le=32)
    """Largest encoded photo in MiB."""

    max_megapixels: float = Field(default=100, gt=0)
    """Largest photo in millions of pixels, whatever its encoded size."""

    taxonomy_dir: Path | None = None
    """Folder of further taxonomies (`*.yaml`); one with the name of a shipped taxonomy replaces it."""

    cache_dir: Path = Field(default_factory=lambda: user_cache_path("backdrop") / "captioner")
    """Folder for text embeddings, kept from one start to the next. It may be deleted at any time."""
