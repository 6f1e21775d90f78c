"""A picture that is to be imported, wherever it lies."""

from collections.abc import Callable
from dataclasses import dataclass

from gateway.cli.manifest import Metadata


@dataclass(frozen=True)
class Source:
    """What is known of a picture, and how it is read when its turn comes; raises `UnreadableImage`.

    Attributes:
        read_record: reads what an export says of it; None where it is to be read and captioned.
    """

    metadata: Metadata
    read_image: Callable[[], bytes]
    read_record: Callable[[], bytes] | None = None
