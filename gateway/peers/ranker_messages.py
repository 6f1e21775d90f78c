"""What the ranker is sent and what it answers, as plain values."""

from collections.abc import Sequence

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct

from backdrop.ranker.v1 import ranker_pb2
from chassis.errors import BackdropError, from_status
from gateway import records
from gateway.condition_messages import from_conditions, to_conditions
from gateway.domain import (
    Background,
    CaptionSource,
    Embedding,
    Feedback,
    Hit,
    PaletteColor,
    Ranking,
    Reading,
    Signal,
    SignalPart,
    Wish,
)
from gateway.peers.values import to_embedding, to_free_space
from gateway.records import PictureRecord

MAX_CAPTION_LENGTH = 1000
"""The ranker's limit, in characters."""

_SIGNALS = {each: ranker_pb2.Signal.Value(f"SIGNAL_{each.name}") for each in Signal}

_SIGNALS_BY_NUMBER = {number: signal for signal, number in _SIGNALS.items()}


def from_background(background: Background, record: PictureRecord) -> ranker_pb2.Background:
    """A background with what was read from its picture, to be stored."""
    metadata = Struct()
    metadata.update(records.to_record(background))
    stored = ranker_pb2.Background(
        name=background.name,
        captions=[_searched_text(background)],
        attributes=[
            ranker_pb2.Attribute(key=key, values=values) for key, values in records.attributes(background).items()
        ],
        metadata=metadata,
        words=_given_text(background),
        palette=_palette(record.palette),
        width=background.width,
        height=background.height,
    )
    if record.search_embedding:
        stored.image_embedding.CopyFrom(_comparable(record.search_embedding))
    if space := record.free_space:
        stored.free_space.CopyFrom(ranker_pb2.FreeSpace(columns=space.columns, rows=space.rows, values=space.values))
    if background.expire_time:
        stored.expire_time.FromDatetime(background.expire_time)
    return stored


def to_background(stored: ranker_pb2.Background) -> Background:
    """A background that is stored."""
    record = json_format.MessageToDict(stored.metadata)
    return records.from_record(stored.name, record, stored.update_time.ToDatetime())


def to_refusal(error: ranker_pb2.UpsertError) -> BackdropError:
    """Why a background is not stored."""
    if error.HasField("status"):
        return from_status(error.status)
    # A ranker of the version before, while both are in use.
    refusal = BackdropError(error.message)
    refusal.reason = error.reason
    return refusal


def to_exported(stored: ranker_pb2.Background) -> tuple[Background, PictureRecord]:
    """A background that is stored, and the record of its picture."""
    background, image, space = to_background(stored), stored.image_embedding, stored.free_space
    record = PictureRecord(
        sha256=background.sha256,
        content_type=background.content_type,
        width=background.width,
        height=background.height,
        features=background.features,
        captions=tuple(each for each in background.captions if each.source is not CaptionSource.GIVEN),
        palette=background.palette,
        free_space=to_free_space(space) if stored.HasField("free_space") else None,
        search_embedding=to_embedding(image) if stored.HasField("image_embedding") else None,
        degraded=background.degraded,
    )
    return background, record


def from_wish(
    wish: Wish, scenes: Sequence[str], embeddings: Sequence[Embedding], reading: Reading
) -> ranker_pb2.RankBackgroundsRequest:
    """The request for what suits n scenes, with n embeddings of them or none, and the product that was read."""
    request = ranker_pb2.RankBackgroundsRequest(
        parent=wish.library,
        texts=[ranker_pb2.WeightedText(text=scene, weight=1) for scene in scenes],
        filters=from_conditions(wish.conditions, ranker_pb2),
        limit=wish.limit,
        product=_product(reading),
        diversity=wish.diversity,
        weights=[
            ranker_pb2.SignalWeight(signal=_SIGNALS[signal], weight=weight) for signal, weight in wish.weights.items()
        ],
    )
    for text, embedding in zip(request.texts, embeddings, strict=False):
        text.embedding.CopyFrom(_comparable(embedding))
    return request


def to_ranking(response: ranker_pb2.RankBackgroundsResponse) -> Ranking:
    """What the ranker found."""
    return Ranking(
        tuple(_hit(hit) for hit in response.hits),
        response.model,
        tuple((_SIGNALS_BY_NUMBER[each.signal], each.reason) for each in response.unused),
        response.recommendation_id,
        to_conditions(response.applied_rules),
        response.empty_reason,
    )


def _hit(hit: ranker_pb2.Hit) -> Hit:
    return Hit(
        background=to_background(hit.background),
        score=hit.score,
        matched_scene=hit.matched_text,
        matched_caption=hit.matched_caption,
        signals=tuple(
            SignalPart(_SIGNALS_BY_NUMBER[each.signal], each.similarity, each.weight) for each in hit.signals
        ),
        duplicates=tuple(hit.duplicates),
    )


def to_feedback(message: ranker_pb2.Feedback) -> Feedback:
    """What was said about a recommendation."""
    return Feedback(
        recommendation_id=message.recommendation_id,
        chosen=tuple(message.chosen),
        rejected=tuple(message.rejected),
        shown=tuple(message.shown),
        update_time=message.update_time.ToDatetime(),
    )


def _product(reading: Reading) -> ranker_pb2.Product:
    product = ranker_pb2.Product(palette=_palette(reading.palette), aspect_ratio=reading.aspect_ratio)
    if reading.search_embedding:
        product.embedding.CopyFrom(_comparable(reading.search_embedding))
    return product


def _palette(palette: Sequence[PaletteColor]) -> list[ranker_pb2.PaletteColor]:
    return [ranker_pb2.PaletteColor(hex=each.hex, share=each.share) for each in palette]


def _comparable(embedding: Embedding) -> ranker_pb2.ImageTextEmbedding:
    return ranker_pb2.ImageTextEmbedding(values=embedding.values, model=embedding.model)


def _searched_text(background: Background) -> str:
    """All captions as one text.

    Alone, each caption would be found by its form: the sentences of a language model are nearer to a scene, which has
    the same form, than a title is that says the right thing. docs/performance.md has the figures.
    """
    given = _given_text(background)
    written = " ".join(caption.text for caption in background.captions if caption.source is not CaptionSource.GIVEN)
    return f"{given[: MAX_CAPTION_LENGTH - len(written) - 1]} {written}".strip()[:MAX_CAPTION_LENGTH]


def _given_text(background: Background) -> str:
    """What people wrote: the title and the keywords."""
    return " ".join(caption.text for caption in background.captions if caption.source is CaptionSource.GIVEN)
