"""The ranker's settings, read from BACKDROP_RANKER_* in the environment."""

from pathlib import Path

from platformdirs import user_cache_path
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from chassis.config import ServerConfig
from chassis.networks.device import Precision, RuntimeName
from services.ranker.signals import Signal


class RankerConfig(ServerConfig):
    """What the ranker can be told."""

    model_config = SettingsConfigDict(env_prefix="BACKDROP_RANKER_")

    port: int = Field(default=50053, ge=0, le=65535)
    """Port to listen on for gRPC; 0 takes a free one."""

    embedding_model: str = ""
    """Sentence-transformers model: a name of the hub or a folder; empty for the all-MiniLM-L6-v2 that is installed.
    An index of another model is moved to it while that one answers."""

    embedding_device: str = "auto"
    """Where the model runs: `auto` (CUDA when there, else the CPU), or a device of torch such as `cuda:1`."""

    embedding_runtime: RuntimeName = "auto"
    """What computes the model: `auto` is OpenVINO on the CPU (torch for what OpenVINO cannot take) and torch elsewhere;
    `openvino` fails rather than take torch."""

    embedding_precision: Precision = "auto"
    """Numbers that the model computes with; `auto` takes bfloat16 where the device has units for it."""

    embedding_threads: int | None = Field(default=None, ge=1)
    """Threads that the model computes with on the CPU; by default as many as the process may use cores."""

    embedding_cache_size: int = Field(default=10_000, ge=1)
    """Texts whose vectors are kept in memory, the least recently used dropped first; 10,000 take 15 MiB."""

    cache_dir: Path = Field(default_factory=lambda: user_cache_path("backdrop") / "ranker")
    """Folder for converted models, kept between starts. It may be deleted at any time."""

    store_path: Path = Path(".backdrop/ranker")
    """Folder of the embedded store (Qdrant Edge). One ranker owns it; unused when `qdrant_url` is set."""

    store_min_free_mib: int = Field(default=256, ge=0)
    """MiB that the embedded store leaves free on its disk; it stores nothing more when there are fewer."""

    snapshots_path: Path | None = None
    """Folder of the embedded store's snapshots; by default `snapshots` in `store_path`."""

    image_model: str = "conse-efficientnet-lite2-minilm-l6-v2"
    """The captioner's image-text model, as it names itself: pictures and texts are compared by its embeddings."""

    image_dimension: int = Field(default=384, ge=1)
    """Dimension of that model's embeddings."""

    text_weight: float = Field(default=0.6, ge=0)
    """How much the similarity of captions and texts counts, by meaning."""

    image_weight: float = Field(default=0.18, ge=0)
    """How much the similarity of picture and texts counts, in the image-text model's space."""

    photo_weight: float = Field(default=0.1, ge=0)
    """How much the similarity of picture and product photo counts, in that space: what such products are seen with."""

    color_weight: float = Field(default=0.02, ge=0)
    """How much it counts that the picture's colours suit the product's."""

    space_weight: float = Field(default=0.02, ge=0)
    """How much it counts that the picture is calm where the product will stand."""

    keywords_weight: float = Field(default=0.08, ge=0)
    """How much words count that people wrote about the picture and that the texts share."""

    feedback_weight: float = Field(default=0.3, ge=0)
    """How much it counts what was chosen and rejected for similar products of the library; 0 learns nothing from it."""

    max_backgrounds: int = Field(default=0, ge=0)
    """The most backgrounds of one library; 0 for no limit."""

    qdrant_url: str = Field(default="", pattern=r"^(https?://.+)?$")
    """Address of a Qdrant server or cluster, 1.16 or later: `http://qdrant:6333`; empty for the embedded store."""

    qdrant_api_key: SecretStr = SecretStr("")
    """Key of the Qdrant server; empty when it asks for none."""

    qdrant_collection: str = Field(default="backgrounds", min_length=1)
    """Alias on the Qdrant server of the collection in use; `name-1` is created when it is missing."""

    qdrant_shards: int = Field(default=0, ge=0)
    """Shards of a collection that is created; 0 for as many as the server makes by itself. It cannot be changed later:
    docs/scaling.md tells how many a cluster needs."""

    qdrant_quantized: bool = False
    """A collection that is created keeps 2 bits of each number in memory and the vectors on the disk, for libraries of
    tens of millions. Needs Qdrant 1.18."""

    qdrant_timeout_s: int = Field(default=5, ge=1)
    """Seconds that one request to the Qdrant server may take."""

    @property
    def weights(self) -> dict[Signal, float]:
        """How much each signal counts."""
        return {
            Signal.TEXT: self.text_weight,
            Signal.IMAGE: self.image_weight,
            Signal.PHOTO: self.photo_weight,
            Signal.COLOR: self.color_weight,
            Signal.SPACE: self.space_weight,
            Signal.KEYWORDS: self.keywords_weight,
            Signal.FEEDBACK: self.feedback_weight,
        }
