"""Values that the messages of several services have."""

from backdrop.captioner.v1 import captioner_pb2
from backdrop.ranker.v1 import ranker_pb2
from gateway.domain import Embedding, FreeSpace


def to_embedding(message: captioner_pb2.Embedding | ranker_pb2.ImageTextEmbedding) -> Embedding:
    """An embedding, with the model that it is of."""
    return Embedding(tuple(message.values), message.model)


def to_free_space(space: captioner_pb2.FreeSpace | ranker_pb2.FreeSpace) -> FreeSpace:
    """Where a picture is empty."""
    return FreeSpace(space.columns, space.rows, tuple(space.values))
