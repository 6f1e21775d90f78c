"""What the captioner can be told by its environment: variables that begin with BACKDROP_CAPTIONER_."""

from pathlib import Path

from platformdirs import user_cache_path
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig
from chassis.cores import usable_cores
from chassis.networks.device import Precision, RuntimeName


class CaptionerConfig(ServerConfig):
    """Settings of the captioner."""

    model_config = SettingsConfigDict(env_prefix="BACKDROP_CAPTIONER_")

    port: int = Field(default=50051, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    model: str = Field(default="conse", pattern=r"^(conse|open_clip:.+)$")
    """The image-text model: `conse` (embedded), or any of open_clip as `open_clip:ARCHITECTURE:WEIGHTS`, where WEIGHTS
    is a pretrained tag or the path of a checkpoint, as `open_clip:hf-hub:OWNER/NAME`, or as `open_clip:local-dir:PATH`
    of a folder with `open_clip_config.json`."""

    device: str = "auto"
    """Where the model runs: `auto` (CUDA when there, else the CPU), or a device of torch such as `cuda:1`."""

    runtime: RuntimeName = "auto"
    """What computes the model: `auto` is OpenVINO on the CPU (torch for what OpenVINO cannot take) and torch elsewhere;
    `openvino` fails rather than take torch."""

    precision: Precision = "auto"
    """Numbers that the model computes with; `auto` takes bfloat16 where the device has units for it."""

    threads: int | None = Field(default=None, ge=1)
    """Threads that the model computes with on the CPU; by default as many as the process may use cores."""

    compiles: bool = False
    """Whether torch compiles the model, which takes minutes at the start; for CUDA, if it turns out to pay there."""

    max_batch: int = Field(default=16, ge=1, le=1024)
    """Most images, or texts, that the model computes at once. 16 suits CPUs; GPUs are fastest from 64 on."""

    max_batch_wait_ms: float = Field(default=5, ge=0, le=1000)
    """Longest time in ms that a photo waits for others that are still being decoded, to share a batch with them."""

    max_pending: int = Field(default=64, ge=1)
    """Requests that are in work or wait; further ones are refused with a hint when to try again."""

    model_timeout_s: float = Field(default=60, gt=0)
    """A model that takes longer for a batch is taken to hang, and its process is started again."""

    decode_threads: int = Field(default_factory=usable_cores, ge=1)
    """Photos that are decoded at the same time; by default one for each CPU that the server may use."""

    max_image_mib: float = Field(default=32, gt=0, le=32)
    """Largest encoded photo in MiB."""

    max_megapixels: float = Field(default=100, gt=0)
    """Largest photo in millions of pixels, whatever its encoded size."""

    taxonomy_dir: Path | None = None
    """Folder of further taxonomies (`*.yaml`); one with the name of a shipped taxonomy replaces it."""

    cache_dir: Path = Field(default_factory=lambda: user_cache_path("backdrop") / "captioner")
    """Folder for text embeddings and converted models, kept between starts. It may be deleted at any time."""
