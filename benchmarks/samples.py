"""The sample library and products, and a stack of servers that holds them."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backdrop.gateway.v1 import gateway_pb2_grpc
from gateway.cli import importing, stack
from gateway.cli.client import connect
from gateway.cli.supervision import Supervisor

SAMPLES = Path(__file__).parent.parent / "samples"
LIBRARY = SAMPLES / "library"
PRODUCTS = SAMPLES / "products"
PORT = 50150


@dataclass(frozen=True)
class Product:
    """A product photo: its file, what it shows, the names that are right for it, and what else it shows."""

    file: str
    type: str
    accepted: frozenset[str]
    parts: tuple[str, ...]
    colors: tuple[str, ...]
    materials: tuple[str, ...]


@dataclass(frozen=True)
class Stack:
    """Running servers with the samples imported."""

    stub: gateway_pb2_grpc.GatewayServiceStub
    supervisor: Supervisor
    http_url: str = f"http://127.0.0.1:{PORT + stack.HTTP_OFFSET}"

    def import_samples(self, library: str, *, use_manifest: bool) -> None:
        """Imports the sample library under the id `library`."""
        importing.import_folder(self.stub, LIBRARY, library, None, use_manifest=use_manifest, force=False)


@contextmanager
def running_stack(settings: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """Fresh servers in a folder of their own, gone afterwards; `settings` are their environment's."""
    with (
        tempfile.TemporaryDirectory(prefix="backdrop-") as folder,
        stack.running(Path(folder), PORT, settings=settings or {}) as supervisor,
        connect(f"127.0.0.1:{PORT}") as stub,
    ):
        yield Stack(stub, supervisor)


def read_grades() -> dict[str, dict[str, int]]:
    """By product file, the grade 0 to 3 of each background id."""
    lines = (SAMPLES / "relevance.jsonl").read_text().splitlines()
    return {row["product"]: row["grades"] for row in map(json.loads, lines)}


def read_products() -> list[Product]:
    """The products, as products.jsonl describes them."""
    rows = map(json.loads, (PRODUCTS / "products.jsonl").read_text().splitlines())
    return [
        Product(
            row["file"],
            row["type"],
            frozenset([row["type"], *row["synonyms"]]),
            *(tuple(row[each]) for each in ("parts", "colors", "materials")),
        )
        for row in rows
    ]
