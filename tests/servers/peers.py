"""A captioner, a generator, a ranker and a compositor that can be told to fail: real servers around a few lines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

from backdrop.captioner.v1 import captioner_pb2, captioner_pb2_grpc
from backdrop.compositor.v1 import compositor_pb2, compositor_pb2_grpc
from backdrop.generator.v1 import generator_pb2, generator_pb2_grpc
from backdrop.ranker.v1 import ranker_pb2, ranker_pb2_grpc
from chassis.config import ServerConfig
from chassis.errors import BackdropError, InvalidArgument, NotFound, to_status
from chassis.server import Application, RunningServer, start

MODEL = "tiny-clip"


class Trouble:
    """What a service does before it answers: nothing, raise (`times` times, or for ever), or hang."""

    def __init__(self) -> None:
        self.error: BackdropError | None = None
        self.times: int | None = None
        self.hangs = False

    async def happen(self) -> None:
        if self.hangs:
            await asyncio.sleep(60)
        if self.error and self.times != 0:
            self.times = None if self.times is None else self.times - 1
            raise self.error


class TinyCaptioner(captioner_pb2_grpc.CaptionerServiceServicer):
    """Sees a mug in everything; a text's score is set by `scores`, 0.5 otherwise, a picture by `search_embeddings`."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.score_trouble = Trouble()
        self.embed_trouble = Trouble()
        self.model = MODEL
        self.search_embeddings: dict[bytes, list[float]] = {}
        self.scores: dict[str, float] = {}
        self.unsure: set[str] = set()
        self.reads = 0

    async def ExtractFeatures(self, request: Any, context: Any) -> captioner_pb2.ExtractFeaturesResponse:
        self.reads += 1
        await self.trouble.happen()
        if request.image == b"not a photo":
            raise InvalidArgument.of("image", "is not an image; send a JPEG")
        labels = (
            {"object_type": "mug", "color": "white", "mood": "calm"}
            if request.taxonomy == "product"
            else {"surface": "oak table", "color": "brown", "mood": "calm"}
        )
        return captioner_pb2.ExtractFeaturesResponse(
            features=[self._feature(category, name) for category, name in labels.items()],
            embedding=captioner_pb2.Embedding(values=[1.0, 0.0], model=MODEL),
            model=MODEL,
            image_width=1200,
            image_height=900,
            content_type="image/jpeg",
            palette=[captioner_pb2.PaletteColor(name="white", hex="#fafafa", share=1.0)],
            free_space=captioner_pb2.FreeSpace(columns=8, rows=8, values=[1.0] * 64),
            search_embedding=captioner_pb2.Embedding(
                values=self.search_embeddings.get(request.image, [0.0, 1.0]), model=self.model
            ),
            foreground=captioner_pb2.BoundingBox(left=100, top=100, width=200, height=400),
        )

    async def EmbedTexts(self, request: Any, context: Any) -> captioner_pb2.EmbedTextsResponse:
        await self.embed_trouble.happen()
        embeddings = [captioner_pb2.Embedding(values=[0.6, 0.8], model=self.model) for _ in request.texts]
        return captioner_pb2.EmbedTextsResponse(embeddings=embeddings, model=MODEL)

    async def ScoreTexts(self, request: Any, context: Any) -> captioner_pb2.ScoreTextsResponse:
        await self.score_trouble.happen()
        return captioner_pb2.ScoreTextsResponse(scores=[self.scores.get(text, 0.5) for text in request.texts])

    def _feature(self, category: str, name: str) -> captioner_pb2.Feature:
        if category in self.unsure:
            return captioner_pb2.Feature(category=category, unsure=True)
        label = captioner_pb2.Label(name=name, confidence=0.9, margin=0.5)
        return captioner_pb2.Feature(category=category, labels=[label])


class TinyGenerator(generator_pb2_grpc.GeneratorServiceServicer):
    """Writes numbered captions, in English and in `languages`, and counts how often it was asked."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.calls = 0
        self.languages = {"en"}
        self.unsupported: dict[str, list[str]] = {}
        self.unsuitable: dict[str, list[str]] = {}

    async def WriteCaptions(self, request: Any, context: Any) -> generator_pb2.WriteCaptionsResponse:
        self.calls += 1
        await self.trouble.happen()
        language = request.language if request.language in self.languages else "en"
        candidates = [self._candidate(number, language) for number in range(request.candidate_count)]
        return generator_pb2.WriteCaptionsResponse(
            candidates=candidates, model="tiny-llm", prompt_version="1", language=language
        )

    def _candidate(self, number: int, language: str) -> generator_pb2.Candidate:
        caption = f"caption {number}"
        candidate = generator_pb2.Candidate(
            caption=caption,
            scene=f"scene {number}",
            unsupported=self.unsupported.get(caption, []),
            unsuitable=self.unsuitable.get(f"scene {number}", []),
        )
        if language != "en":
            candidate.translation.caption = f"{caption} ({language})"
            candidate.translation.scene = f"scene {number} ({language})"
        return candidate


class TinyRanker(ranker_pb2_grpc.RankerServiceServicer):
    """Keeps backgrounds in a dictionary; ranks them in the order of their names, none with an `empty_reason`."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.stored: dict[str, ranker_pb2.Background] = {}
        self.ranked: list[ranker_pb2.RankBackgroundsRequest] = []
        self.duplicates: list[str] = []
        self.unused: list[ranker_pb2.UnusedSignal] = []
        self.image_model = MODEL
        self.refusal: BackdropError | None = None
        self.etag = ""
        self.rules: dict[str, list[ranker_pb2.Filter]] = {}
        self.unknown_keys: list[str] = []
        self.empty_reason = ""
        self.feedback: dict[tuple[str, str], ranker_pb2.Feedback] = {}

    async def UpsertBackgrounds(self, request_iterator: Any, context: Any) -> AsyncIterator[Any]:
        async for request in request_iterator:
            await self.trouble.happen()
            name, model = request.background.name, request.background.image_embedding.model
            if model != self.image_model:
                yield self._refused(
                    name, InvalidArgument.of("background.image_embedding", f"this ranker is not of {model}")
                )
                continue
            if self.refusal:
                yield self._refused(name, self.refusal)
                continue
            created = name not in self.stored
            self.stored[name] = request.background
            yield ranker_pb2.UpsertBackgroundsResponse(name=name, created=created)

    def _refused(self, name: str, error: BackdropError) -> ranker_pb2.UpsertBackgroundsResponse:
        refusal = ranker_pb2.UpsertError(reason=error.reason, message=error.message, status=to_status(error))
        return ranker_pb2.UpsertBackgroundsResponse(name=name, error=refusal)

    async def GetLibrary(self, request: Any, context: Any) -> ranker_pb2.GetLibraryResponse:
        await self.trouble.happen()
        rules = self.rules.get(request.name, [])
        if not rules:
            self._library(request.name)
        return ranker_pb2.GetLibraryResponse(etag=self.etag, rules=rules)

    async def UpdateLibrary(self, request: Any, context: Any) -> ranker_pb2.UpdateLibraryResponse:
        await self.trouble.happen()
        self.rules[request.name] = list(request.rules)
        return ranker_pb2.UpdateLibraryResponse(rules=request.rules, unknown_keys=self.unknown_keys)

    async def GetBackground(self, request: Any, context: Any) -> ranker_pb2.GetBackgroundResponse:
        await self.trouble.happen()
        return ranker_pb2.GetBackgroundResponse(background=self._find(request.name))

    async def ListBackgrounds(self, request: Any, context: Any) -> ranker_pb2.ListBackgroundsResponse:
        await self.trouble.happen()
        return ranker_pb2.ListBackgroundsResponse(backgrounds=self._library(request.parent))

    async def ExportBackgrounds(self, request: Any, context: Any) -> AsyncIterator[Any]:
        await self.trouble.happen()
        for each in self._library(request.parent):
            yield ranker_pb2.ExportBackgroundsResponse(background=each)

    async def DeleteBackground(self, request: Any, context: Any) -> ranker_pb2.DeleteBackgroundResponse:
        self._find(request.name)
        del self.stored[request.name]
        return ranker_pb2.DeleteBackgroundResponse()

    async def RankBackgrounds(self, request: Any, context: Any) -> ranker_pb2.RankBackgroundsResponse:
        await self.trouble.happen()
        self.ranked.append(request)
        hits = [
            ranker_pb2.Hit(
                background=each,
                score=0.7,
                matched_text=request.texts[0].text,
                matched_caption="oak",
                signals=[ranker_pb2.SignalPart(signal=ranker_pb2.SIGNAL_TEXT, similarity=0.7, weight=1)],
                duplicates=self.duplicates,
            )
            for each in self._library(request.parent)[: request.limit]
        ]
        return ranker_pb2.RankBackgroundsResponse(
            hits=[] if self.empty_reason else hits,
            model="tiny-minilm",
            unused=self.unused,
            recommendation_id="recommendation",
            applied_rules=self.rules.get(request.parent, []),
            empty_reason=self.empty_reason,
        )

    async def RecordFeedback(self, request: Any, context: Any) -> ranker_pb2.RecordFeedbackResponse:
        feedback = ranker_pb2.Feedback(
            recommendation_id=request.recommendation_id, chosen=request.chosen, rejected=request.rejected
        )
        self.feedback[request.parent, request.recommendation_id] = feedback
        return ranker_pb2.RecordFeedbackResponse(feedback=feedback)

    async def ListFeedback(self, request: Any, context: Any) -> ranker_pb2.ListFeedbackResponse:
        found = [each for (library, _), each in self.feedback.items() if library == request.parent]
        return ranker_pb2.ListFeedbackResponse(feedback=found)

    async def ResetFeedback(self, request: Any, context: Any) -> ranker_pb2.ResetFeedbackResponse:
        forgotten = [key for key in self.feedback if key[0] == request.parent]
        for key in forgotten:
            del self.feedback[key]
        return ranker_pb2.ResetFeedbackResponse(count=len(forgotten))

    def _find(self, name: str) -> ranker_pb2.Background:
        if name not in self.stored:
            raise NotFound(f"{name} does not exist.")
        return self.stored[name]

    def _library(self, parent: str) -> list[ranker_pb2.Background]:
        found = [self.stored[name] for name in sorted(self.stored) if name.startswith(parent + "/")]
        if not found:
            raise NotFound(f"{parent} holds no background.")
        return found


class TinyCompositor(compositor_pb2_grpc.CompositorServiceServicer):
    """A preview is the photo's bytes and the background's; `troubles` are those of single backgrounds."""

    def __init__(self) -> None:
        self.trouble = Trouble()
        self.troubles: dict[bytes, Trouble] = {}
        self.picture: bytes | None = None
        self.calls = 0

    async def RenderPreview(self, request: Any, context: Any) -> compositor_pb2.RenderPreviewResponse:
        self.calls += 1
        await self.trouble.happen()
        if request.background_image in self.troubles:
            await self.troubles[request.background_image].happen()
        return compositor_pb2.RenderPreviewResponse(
            image=self.picture or request.image + b" in " + request.background_image,
            content_type="image/webp" if request.format == compositor_pb2.FORMAT_WEBP else "image/jpeg",
            width=request.size or 1024,
            height=request.size or 1024,
            cut_out=compositor_pb2.CutOut(
                source=compositor_pb2.CutOut.SOURCE_SEGMENTED, confidence=0.5, rough=True, reason="It is blurred."
            ),
            product=compositor_pb2.BoundingBox(left=1, top=2, width=3, height=4),
            product_scale=0.5,
        )


class Peers:
    """The four services, each on a free port, each of which can be stopped alone. Another ranker may be given.

    Args:
        settings: of their servers.
    """

    def __init__(self, ranker: Any = None, **settings: Any) -> None:
        self.captioner = TinyCaptioner()
        self.generator = TinyGenerator()
        self.ranker = ranker or TinyRanker()
        self.compositor = TinyCompositor()
        self.targets: dict[str, str] = {}
        self._settings = settings
        self._running: dict[str, AsyncExitStack] = {}

    async def start(self) -> None:
        """Starts all of them."""
        await self._start(
            "captioner", captioner_pb2, self.captioner, captioner_pb2_grpc.add_CaptionerServiceServicer_to_server
        )
        await self._start(
            "generator", generator_pb2, self.generator, generator_pb2_grpc.add_GeneratorServiceServicer_to_server
        )
        await self._start("ranker", ranker_pb2, self.ranker, ranker_pb2_grpc.add_RankerServiceServicer_to_server)
        await self._start(
            "compositor", compositor_pb2, self.compositor, compositor_pb2_grpc.add_CompositorServiceServicer_to_server
        )

    async def stop(self, name: str) -> None:
        """Stops one of them."""
        await self._running.pop(name).aclose()

    async def stop_all(self) -> None:
        """Stops those that still run."""
        for name in list(self._running):
            await self.stop(name)

    async def _start(self, name: str, pb: Any, servicer: Any, add: Callable[[Any, Any], None]) -> None:
        service = next(iter(pb.DESCRIPTOR.services_by_name.values())).full_name
        application = Application({service: lambda server: add(servicer, server)})
        stack = self._running[name] = AsyncExitStack()
        config = ServerConfig(drain_s=0, health_interval_s=0.05, **self._settings)
        server: RunningServer = await stack.enter_async_context(start(config, application))
        self.targets[name] = f"127.0.0.1:{server.port}"
