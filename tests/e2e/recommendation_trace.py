"""What the trace of a recommendation that nothing was remembered of must hold."""

from collections.abc import Sequence

from tests.servers.otlp_receiver import ReceivedSpan

GATEWAY, CAPTIONER, GENERATOR = "backdrop-gateway", "backdrop-captioner", "backdrop-generator"
RANKER, COMPOSITOR = "backdrop-ranker", "backdrop-compositor"
RECOMMEND = "backdrop.gateway.v1.GatewayService/Recommend"
EXTRACT = "backdrop.captioner.v1.CaptionerService/ExtractFeatures"
SCORE = "backdrop.captioner.v1.CaptionerService/ScoreTexts"
EMBED = "backdrop.captioner.v1.CaptionerService/EmbedTexts"
WRITE = "backdrop.generator.v1.GeneratorService/WriteCaptions"
RANK = "backdrop.ranker.v1.RankerService/RankBackgrounds"
RENDER = "backdrop.compositor.v1.CompositorService/RenderPreview"

INSIDE = {
    *((GATEWAY, stage, GATEWAY, RECOMMEND) for stage in ("features", "captions", "grounding", "embedding", "ranking")),
    (GATEWAY, "previews", GATEWAY, RECOMMEND),
    (GATEWAY, EXTRACT, GATEWAY, "features"),
    (CAPTIONER, EXTRACT, GATEWAY, EXTRACT),
    (CAPTIONER, "decode", CAPTIONER, EXTRACT),
    (CAPTIONER, "images through a batch", CAPTIONER, EXTRACT),
    (CAPTIONER, "batch of images", CAPTIONER, "images through a batch"),
    (CAPTIONER, "backdrop model: encode_images", CAPTIONER, "batch of images"),
    (GATEWAY, WRITE, GATEWAY, "captions"),
    (GENERATOR, WRITE, GATEWAY, WRITE),
    (GENERATOR, "cache lookup", GENERATOR, WRITE),
    (GATEWAY, SCORE, GATEWAY, "grounding"),
    (CAPTIONER, SCORE, GATEWAY, SCORE),
    (GATEWAY, EMBED, GATEWAY, "embedding"),
    (CAPTIONER, EMBED, GATEWAY, EMBED),
    (GATEWAY, RANK, GATEWAY, "ranking"),
    (RANKER, RANK, GATEWAY, RANK),
    (RANKER, "embedding", RANKER, RANK),
    (RANKER, "feedback lookup", RANKER, RANK),
    (RANKER, "search", RANKER, RANK),
    (GATEWAY, RENDER, GATEWAY, "previews"),
    (COMPOSITOR, RENDER, GATEWAY, RENDER),
    (COMPOSITOR, "cut out", COMPOSITOR, RENDER),
    (COMPOSITOR, "render", COMPOSITOR, RENDER),
}
"""Spans with those that they lie in: service and name of both."""


def is_a_recommendation(span: ReceivedSpan) -> bool:
    """The span of the gateway's call."""
    return (span.service, span.name) == (GATEWAY, RECOMMEND)


def nested(spans: Sequence[ReceivedSpan]) -> set[tuple[str, str, str, str]]:
    """The spans of a trace that have a parent in it, as in `INSIDE`."""
    by_id = {each.raw.span_id: each for each in spans}
    pairs = ((each, by_id.get(each.raw.parent_span_id)) for each in spans)
    return {(each.service, each.name, parent.service, parent.name) for each, parent in pairs if parent}
