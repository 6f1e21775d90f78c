"""The gateway's RPCs: translates between the contract and the domain, nothing else."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, suppress
from datetime import UTC
from functools import partial

import grpc
from aiostream import Stream, stream

from backdrop.gateway.v1 import gateway_pb2 as pb
from backdrop.gateway.v1 import gateway_pb2_grpc
from chassis import validation
from chassis.deadlines import Deadline
from chassis.durations import to_duration
from chassis.errors import BackdropError, NotFound, to_status
from chassis.interceptors import Context
from gateway import domain
from gateway.api_keys import Door
from gateway.assets import Assets
from gateway.condition_messages import from_conditions, to_conditions
from gateway.config import GatewayConfig
from gateway.exporter import Exported, Exporter
from gateway.importer import Change, Importer, Item, Outcome
from gateway.peers.ranker import Ranker
from gateway.photo_cache import Photo
from gateway.previewing import Previewer
from gateway.recommender import Recommender

SERVICE = pb.DESCRIPTOR.services_by_name["GatewayService"].full_name

DEFAULT_LIMIT = 5
MOST_PREVIEWS = 12


class GatewayServicer(gateway_pb2_grpc.GatewayServiceServicer):
    """Implements `backdrop.gateway.v1.GatewayService`."""

    def __init__(
        self,
        recommender: Recommender,
        previewer: Previewer,
        importer: Importer,
        exporter: Exporter,
        ranker: Ranker,
        assets: Assets,
        door: Door,
        config: GatewayConfig,
    ) -> None:
        self._recommender = recommender
        self._previewer = previewer
        self._importer = importer
        self._exporter = exporter
        self._ranker = ranker
        self._assets = assets
        self._door = door
        self._config = config

    def register(self, server: grpc.aio.Server) -> None:
        """Adds this servicer to `server`."""
        gateway_pb2_grpc.add_GatewayServiceServicer_to_server(self, server)

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:
        """Recommends backgrounds for a product photo."""
        self._door.require(context, request.parent)
        response = pb.RecommendResponse()
        async with aclosing(self._steps(request, context)) as steps:
            async for step in steps:
                response.MergeFrom(_recommended(step))
        return response

    async def RecommendStream(
        self, request: pb.RecommendStreamRequest, context: Context
    ) -> AsyncIterator[pb.RecommendStreamResponse]:
        """Recommends backgrounds for a product photo, stage by stage."""
        self._door.require(context, request.request.parent)
        async with aclosing(self._steps(request.request, context)) as steps:
            async for step in steps:
                yield pb.RecommendStreamResponse(stage=step.stage, response=_recommended(step))

    async def RenderPreview(self, request: pb.RenderPreviewRequest, context: Context) -> pb.RenderPreviewResponse:
        """Shows a product in one background, or on white."""
        self._door.require(context, request.parent)
        deadline = Deadline(self._timeout_s(context))
        background = None
        if request.preset != pb.PRESET_MARKETPLACE:
            name = f"{request.parent}/backgrounds/{request.background}"
            background = await self._ranker.get(name, deadline.share(1))
        preview = await self._previewer.render(
            Photo.of(request.image), background, _preview_form(request), deadline.share(1)
        )
        return pb.RenderPreviewResponse(preview=_preview(preview))

    async def ImportBackgrounds(
        self, request_iterator: AsyncIterator[pb.ImportBackgroundsRequest], context: Context
    ) -> AsyncIterator[pb.ImportBackgroundsResponse]:
        """Imports a stream of backgrounds, several at once."""
        self._door.authenticate(context)
        # Unordered, and no further item is taken while all places are in work: a fast sender waits.
        outcomes: Stream[Outcome] = stream.map(
            request_iterator,
            partial(self._import_one, context),
            ordered=False,
            task_limit=self._config.import_concurrency,
        )
        async with outcomes.stream() as streamer:
            async for outcome in streamer:
                yield _imported(outcome)

    async def GetLibrary(self, request: pb.GetLibraryRequest, context: Context) -> pb.GetLibraryResponse:
        """Tells the rules of a library."""
        self._door.require(context, request.name)
        library = await self._ranker.library(request.name, self._timeout_s(context))
        return pb.GetLibraryResponse(rules=from_conditions(library.rules, pb))

    async def UpdateLibrary(self, request: pb.UpdateLibraryRequest, context: Context) -> pb.UpdateLibraryResponse:
        """Sets the rules of a library."""
        self._door.require(context, request.name)
        rules, unknown_keys = await self._ranker.set_rules(
            request.name, to_conditions(request.rules), self._timeout_s(context)
        )
        return pb.UpdateLibraryResponse(rules=from_conditions(rules, pb), unknown_keys=unknown_keys)

    async def GetBackground(self, request: pb.GetBackgroundRequest, context: Context) -> pb.GetBackgroundResponse:
        """Reads one background."""
        self._door.require(context, request.name)
        found = await self._ranker.get(request.name, self._timeout_s(context))
        return pb.GetBackgroundResponse(background=_background(found))

    async def GetBackgroundImage(
        self, request: pb.GetBackgroundImageRequest, context: Context
    ) -> pb.GetBackgroundImageResponse:
        """Reads the picture of a background."""
        self._door.require(context, request.name)
        found = await self._ranker.get(request.name, self._timeout_s(context))
        image = await self._assets.get(found.name, found.sha256)
        return pb.GetBackgroundImageResponse(image=image, content_type=found.content_type)

    async def ListBackgrounds(self, request: pb.ListBackgroundsRequest, context: Context) -> pb.ListBackgroundsResponse:
        """Reads one page of a library."""
        self._door.require(context, request.parent)
        page, next_page_token = await self._ranker.list(
            request.parent, request.page_size, request.page_token, self._timeout_s(context)
        )
        backgrounds = [_background(each) for each in page]
        return pb.ListBackgroundsResponse(backgrounds=backgrounds, next_page_token=next_page_token)

    async def ExportBackgrounds(
        self, request: pb.ExportBackgroundsRequest, context: Context
    ) -> AsyncIterator[pb.ExportBackgroundsResponse]:
        """Gives a library with its pictures and their records."""
        self._door.require(context, request.parent)
        async with aclosing(self._exporter.export(request.parent, context.time_remaining())) as exported:
            async for each in exported:
                yield _exported(each)

    async def DeleteBackground(
        self, request: pb.DeleteBackgroundRequest, context: Context
    ) -> pb.DeleteBackgroundResponse:
        """Forgets a background, then its picture."""
        self._door.require(context, request.name)
        found = await self._ranker.get(request.name, self._timeout_s(context))
        # It was there, so when it is gone now, it was a retry that found it so.
        with suppress(NotFound):
            await self._ranker.delete(found.name, self._timeout_s(context))
        await self._assets.discard(found.name, found.sha256)
        return pb.DeleteBackgroundResponse()

    async def RecordFeedback(self, request: pb.RecordFeedbackRequest, context: Context) -> pb.RecordFeedbackResponse:
        """Takes down which backgrounds of a recommendation were chosen, and which rejected."""
        self._door.require(context, request.parent)
        given = domain.Feedback(request.recommendation_id, tuple(request.chosen), tuple(request.rejected))
        recorded = await self._ranker.record_feedback(request.parent, given, self._timeout_s(context))
        return pb.RecordFeedbackResponse(feedback=_feedback(recorded) if recorded else None)

    async def ListFeedback(self, request: pb.ListFeedbackRequest, context: Context) -> pb.ListFeedbackResponse:
        """Reads one page of what was recorded for a library."""
        self._door.require(context, request.parent)
        page, next_page_token = await self._ranker.feedback_page(
            request.parent, request.page_size, request.page_token, self._timeout_s(context)
        )
        return pb.ListFeedbackResponse(feedback=[_feedback(each) for each in page], next_page_token=next_page_token)

    async def ResetFeedback(self, request: pb.ResetFeedbackRequest, context: Context) -> pb.ResetFeedbackResponse:
        """Forgets all feedback of a library."""
        self._door.require(context, request.parent)
        return pb.ResetFeedbackResponse(
            count=await self._ranker.reset_feedback(request.parent, self._timeout_s(context))
        )

    async def _import_one(
        self, context: Context, request: pb.ImportBackgroundsRequest, *_: pb.ImportBackgroundsRequest
    ) -> Outcome:
        try:
            validation.check(request)
            self._door.require(context, request.name)
        except BackdropError as error:
            return Outcome(request.name, error=error)
        return await self._importer.import_one(_item(request))

    def _steps(self, request: pb.RecommendRequest, context: Context) -> AsyncGenerator[domain.Step, None]:
        return self._recommender.recommend(request.image, _wish(request), Deadline(self._timeout_s(context)))

    def _timeout_s(self, context: Context) -> float:
        return context.time_remaining() or self._config.default_deadline_s


_SIGNALS = {each: pb.Signal.Value(f"SIGNAL_{each.name}") for each in domain.Signal}
_SIGNALS_BY_NUMBER = {number: signal for signal, number in _SIGNALS.items()}


def _wish(request: pb.RecommendRequest) -> domain.Wish:
    return domain.Wish(
        library=request.parent,
        conditions=to_conditions(request.filters),
        limit=request.limit if request.HasField("limit") else DEFAULT_LIMIT,
        language=request.language,
        diversity=request.diversity,
        weights={_SIGNALS_BY_NUMBER[each.signal]: each.weight for each in request.weights},
        preview=_preview_wish(request.preview) if request.HasField("preview") else None,
    )


_PRESETS = {pb.Preset.Value(f"PRESET_{each.name}"): each for each in domain.Preset}
_FORMATS = {pb.Format.Value(f"FORMAT_{each.name}"): each for each in domain.Format}


def _preview_wish(options: pb.PreviewOptions) -> domain.PreviewWish:
    return domain.PreviewWish(_preview_form(options), options.count or MOST_PREVIEWS)


def _preview_form(message: pb.PreviewOptions | pb.RenderPreviewRequest) -> domain.PreviewForm:
    return domain.PreviewForm(
        _PRESETS.get(message.preset, domain.Preset.SQUARE),
        message.size,
        _FORMATS.get(message.format, domain.Format.JPEG),
    )


def _item(request: pb.ImportBackgroundsRequest) -> Item:
    return Item(
        name=request.name,
        image=request.image,
        title=request.title,
        keywords=tuple(request.keywords),
        force=request.force,
        attributes={each.key: tuple(each.values) for each in request.attributes},
        expire_time=request.expire_time.ToDatetime(UTC) if request.HasField("expire_time") else None,
        record=request.record if request.HasField("record") else None,
    )


def _recommended(step: domain.Step) -> pb.RecommendResponse:
    reading = step.reading
    return pb.RecommendResponse(
        features=_features(reading.features) if reading else (),
        candidates=[_candidate(each) for each in step.candidates],
        recommendations=[_recommendation(each) for each in step.recommendations],
        degraded=_degraded(step.degraded),
        stages=[_stage(stage, seconds) for stage, seconds in step.stages_s.items()],
        models=pb.Models(
            image_text=reading.model if reading else "",
            language=step.language_model,
            sentence_embedding=step.embedding_model,
        ),
        foreground=_box(reading.foreground) if reading else None,
        recommendation_id=step.recommendation_id,
        previews=[_preview(each) for each in step.previews],
        applied_rules=from_conditions(step.applied_rules, pb),
        empty_reason=step.empty_reason,
    )


def _preview(preview: domain.Preview) -> pb.Preview:
    cut_out = preview.cut_out
    return pb.Preview(
        background=preview.background,
        image=preview.image,
        content_type=preview.content_type,
        width=preview.width,
        height=preview.height,
        cut_out=pb.CutOut(
            source=pb.CutOut.SOURCE_ALPHA_CHANNEL if cut_out.from_alpha else pb.CutOut.SOURCE_SEGMENTED,
            confidence=cut_out.confidence,
            rough=cut_out.rough,
            reason=cut_out.reason,
        ),
        product=_box(preview.product),
        product_scale=preview.product_scale,
    )


def _candidate(candidate: domain.Candidate) -> pb.Candidate:
    draft = candidate.draft
    message = pb.Candidate(
        caption=draft.caption,
        scene=draft.scene,
        score=candidate.score,
        verdict=pb.VERDICT_USED if candidate.used else pb.VERDICT_DROPPED,
        reason=candidate.reason,
        unsupported=draft.unsupported,
        unsuitable=draft.unsuitable,
    )
    if draft.translation:
        message.translation.caption = draft.translation.caption
        message.translation.scene = draft.translation.scene
    return message


def _recommendation(recommendation: domain.Recommendation) -> pb.Recommendation:
    hit = recommendation.hit
    return pb.Recommendation(
        background=_background(hit.background),
        score=hit.score,
        reason=recommendation.reason,
        matched_scene=hit.matched_scene,
        matched_caption=hit.matched_caption,
        signals=[
            pb.SignalPart(signal=_SIGNALS[each.signal], similarity=each.similarity, weight=each.weight)
            for each in hit.signals
        ],
        duplicates=hit.duplicates,
    )


def _feedback(feedback: domain.Feedback) -> pb.Feedback:
    message = pb.Feedback(
        recommendation_id=feedback.recommendation_id,
        chosen=feedback.chosen,
        rejected=feedback.rejected,
        shown=feedback.shown,
    )
    if feedback.update_time:
        message.update_time.FromDatetime(feedback.update_time)
    return message


def _stage(stage: str, seconds: float) -> pb.StageTiming:
    return pb.StageTiming(stage=stage, duration=to_duration(seconds))


def _box(box: domain.Box | None) -> pb.BoundingBox | None:
    return pb.BoundingBox(left=box.left, top=box.top, width=box.width, height=box.height) if box else None


def _features(features: Iterable[domain.Feature]) -> list[pb.Feature]:
    return [
        pb.Feature(
            category=feature.category,
            labels=[pb.Label(name=x.name, confidence=x.confidence, margin=x.margin) for x in feature.labels],
            unsure=feature.unsure,
        )
        for feature in features
    ]


def _degraded(degraded: Iterable[domain.Degradation]) -> list[pb.Degradation]:
    return [pb.Degradation(stage=each.stage, reason=each.reason, message=each.message) for each in degraded]


def _background(background: domain.Background) -> pb.Background:
    message = pb.Background(
        name=background.name,
        title=background.title,
        keywords=background.keywords,
        captions=[_caption(each) for each in background.captions],
        features=_features(background.features),
        width=background.width,
        height=background.height,
        content_type=background.content_type,
        size_bytes=background.size_bytes,
        sha256=background.sha256,
        degraded=_degraded(background.degraded),
        attributes=[pb.Attribute(key=key, values=values) for key, values in background.attributes.items()],
        palette=[pb.PaletteColor(hex=each.hex, share=each.share) for each in background.palette],
    )
    if background.update_time:
        message.update_time.FromDatetime(background.update_time)
    if background.expire_time:
        message.expire_time.FromDatetime(background.expire_time)
    return message


def _caption(caption: domain.Caption) -> pb.Caption:
    return pb.Caption(text=caption.text, source=pb.CaptionSource.Value(f"CAPTION_SOURCE_{caption.source.name}"))


_OUTCOMES = {
    Change.CREATED: pb.OUTCOME_CREATED,
    Change.UPDATED: pb.OUTCOME_UPDATED,
    Change.UNCHANGED: pb.OUTCOME_UNCHANGED,
}


def _imported(outcome: Outcome) -> pb.ImportBackgroundsResponse:
    response = pb.ImportBackgroundsResponse(name=outcome.name, outcome=pb.OUTCOME_FAILED)
    if outcome.change:
        response.outcome = _OUTCOMES[outcome.change]
    if outcome.background:
        response.background.CopyFrom(_background(outcome.background))
    if outcome.error:
        response.error.CopyFrom(to_status(outcome.error))
    return response


def _exported(exported: Exported) -> pb.ExportBackgroundsResponse:
    response = pb.ExportBackgroundsResponse(background=_background(exported.background))
    if exported.error:
        response.error.CopyFrom(to_status(exported.error))
    else:
        response.image = exported.image
        response.record = exported.record.to_bytes()
    return response
