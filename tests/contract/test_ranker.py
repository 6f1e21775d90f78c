"""The ranker as a real server: its contract, with a small model and the embedded store."""

import asyncio
import itertools
import math
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import aclosing
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import pytest

from backdrop.ranker.v1 import ranker_pb2 as pb
from backdrop.ranker.v1 import ranker_pb2_grpc
from chassis import errors, server
from services.ranker.catalog import Catalog
from services.ranker.config import RankerConfig
from services.ranker.edge_store import open_edge_store
from services.ranker.index import Index, Version
from services.ranker.servicer import SERVICE_NAME, RankerServicer
from services.ranker.signals import Signal
from services.ranker.text_embedding import TextEmbedder
from tests.unit.services.ranker.fakes import IMAGE_DIMENSION, IMAGE_MODEL, WordCounter, space_of

SPACE = space_of()
WEIGHTS = {Signal.TEXT: 1.0, Signal.IMAGE: 0.5, Signal.COLOR: 0.5, Signal.FEEDBACK: 0.5}
MAX_BACKGROUNDS = 120

# The class is in the type stubs only.
Ranker: TypeAlias = "ranker_pb2_grpc.RankerServiceAsyncStub"


@pytest.fixture
async def ranker(tmp_path: Path) -> AsyncIterator[Ranker]:
    encoder = WordCounter()
    with TextEmbedder(encoder, cache_size=1000) as embedder:
        store = open_edge_store(RankerConfig(store_path=tmp_path / "store"), SPACE)
        async with aclosing(Index(await Version.open(embedder, SPACE, store))) as index:
            servicer = RankerServicer(Catalog(index, WEIGHTS, MAX_BACKGROUNDS))
            application = server.Application(
                services={SERVICE_NAME: lambda to: ranker_pb2_grpc.add_RankerServiceServicer_to_server(servicer, to)},
                checks={"store": index.check},
            )
            async with (
                server.start(RankerConfig(port=0), application) as running,
                grpc.aio.insecure_channel(f"127.0.0.1:{running.port}") as channel,
            ):
                yield ranker_pb2_grpc.RankerServiceStub(channel)


def a_background(name: str, *captions: str, **attributes: str) -> pb.Background:
    library, identifier = name.split("/")
    return pb.Background(
        name=f"libraries/{library}/backgrounds/{identifier}",
        captions=captions or ["a wooden table"],
        attributes=[pb.Attribute(key=key, values=value.split()) for key, value in attributes.items()],
    )


async def upsert(ranker: Ranker, *backgrounds: pb.Background) -> list[pb.UpsertBackgroundsResponse]:
    requests = (pb.UpsertBackgroundsRequest(background=each) for each in backgrounds)
    return [response async for response in ranker.UpsertBackgrounds(requests)]


def rank_request(
    *texts: str, library: str = "shop", filters: Iterable[pb.Filter] = (), limit: int = 10
) -> pb.RankBackgroundsRequest:
    weighted = [pb.WeightedText(text=text, weight=1) for text in texts]
    return pb.RankBackgroundsRequest(parent=f"libraries/{library}", texts=weighted, filters=filters, limit=limit)


def names(hits: Iterable[pb.Hit]) -> list[str]:
    return [hit.background.name.rpartition("/")[2] for hit in hits]


async def failure(call: Awaitable[Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value.code(), errors.reason_of(errors.status_of(caught.value))


async def test_a_background_is_given_back_as_it_was_stored(ranker: Ranker) -> None:
    stored = a_background("shop/oak", "an oak table", "morning light", surface="oak wood", mood="calm")
    stored.metadata.update({"sku": "7", "prices": [1, 2.5], "nested": {"nothing": None, "yes": True}})
    await upsert(ranker, stored)

    read = (await ranker.GetBackground(pb.GetBackgroundRequest(name=stored.name))).background

    assert read.update_time.seconds > 0
    read.ClearField("update_time")
    assert read == stored


async def test_each_upsert_is_answered_in_order_and_a_refused_one_does_not_end_the_stream(
    ranker: Ranker,
) -> None:
    twice = a_background("shop/twice", mood="calm")
    twice.attributes.append(pb.Attribute(key="mood", values=["loud"]))
    infinite = a_background("shop/infinite")
    infinite.metadata.update({"price": float("inf")})

    responses = await upsert(
        ranker,
        a_background("shop/a"),
        a_background("shop/Not An Id"),
        twice,
        infinite,
        pb.Background(name="libraries/shop/backgrounds/no-captions"),
        a_background("shop/b"),
        a_background("shop/a"),
    )

    identifiers = [response.name.rpartition("/")[2] for response in responses]
    assert identifiers == ["a", "Not An Id", "twice", "infinite", "no-captions", "b", "a"]
    assert [response.created for response in responses] == [True, False, False, False, False, True, False]
    assert [response.error.reason for response in responses] == ["", *["INVALID_ARGUMENT"] * 4, "", ""]
    assert "background.name" in responses[1].error.message
    assert "give each key once" in responses[2].error.message
    assert "finite" in responses[3].error.message
    assert "background.captions" in responses[4].error.message
    listed = await ranker.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/shop"))
    assert len(listed.backgrounds) == 2


async def test_a_lone_background_is_answered_while_the_stream_is_open(
    ranker: Ranker,
) -> None:
    answered = asyncio.Event()

    async def one_after_the_other() -> AsyncIterator[pb.UpsertBackgroundsRequest]:
        for name in ("shop/a", "shop/b"):
            yield pb.UpsertBackgroundsRequest(background=a_background(name))
            await asyncio.wait_for(answered.wait(), timeout=30)
            answered.clear()

    async for response in ranker.UpsertBackgrounds(one_after_the_other()):
        assert response.created
        await ranker.GetBackground(pb.GetBackgroundRequest(name=response.name))
        answered.set()


async def test_an_import_that_is_broken_off_keeps_what_was_answered(ranker: Ranker) -> None:
    async def endless() -> AsyncIterator[pb.UpsertBackgroundsRequest]:
        for number in itertools.count():
            yield pb.UpsertBackgroundsRequest(background=a_background(f"shop/b{number}"))

    call = ranker.UpsertBackgrounds(endless())
    answered = [await anext(aiter(call)) for _ in range(20)]
    call.cancel()

    for response in answered:
        await ranker.GetBackground(pb.GetBackgroundRequest(name=response.name))


async def test_imports_beside_each_other_do_not_mix(ranker: Ranker) -> None:
    libraries = ("one", "two", "three")
    await asyncio.gather(
        *(upsert(ranker, *(a_background(f"{library}/b{n}", library) for n in range(50))) for library in libraries)
    )

    for library in libraries:
        response = await ranker.RankBackgrounds(rank_request(library, library=library, limit=100))
        assert len(response.hits) == 50
        assert {hit.matched_caption for hit in response.hits} == {library}


async def test_the_last_of_several_with_one_name_stays(ranker: Ranker) -> None:
    await upsert(ranker, *(a_background("shop/a", f"caption {number}") for number in range(40)))

    read = await ranker.GetBackground(pb.GetBackgroundRequest(name="libraries/shop/backgrounds/a"))

    assert list(read.background.captions) == ["caption 39"]


async def test_the_nearest_background_comes_first_with_its_reason(
    ranker: Ranker,
) -> None:
    await upsert(
        ranker,
        a_background("shop/kitchen", "morning in a kitchen", "oak table"),
        a_background("shop/beach", "sand and sea", "blue sky"),
    )

    response = await ranker.RankBackgrounds(rank_request("oak table", "a bright kitchen"))

    assert response.model == "word-counter"
    assert names(response.hits) == ["kitchen", "beach"]
    best = response.hits[0]
    assert (best.matched_text, best.matched_caption) == ("oak table", "morning in a kitchen oak table")
    assert best.parts[0].similarity == pytest.approx(0.5, abs=1e-3)
    assert best.score == pytest.approx(sum(part.weight * part.similarity for part in best.parts), abs=1e-3)


async def test_weights_decide_between_texts(ranker: Ranker) -> None:
    await upsert(ranker, a_background("shop/oak", "oak"), a_background("shop/sea", "sea"))
    request = rank_request("oak", "sea")

    request.texts[0].weight = 3
    assert names((await ranker.RankBackgrounds(request)).hits) == ["oak", "sea"]
    request.texts[1].weight = 9
    response = await ranker.RankBackgrounds(request)

    assert names(response.hits) == ["sea", "oak"]
    assert [hit.score for hit in response.hits] == pytest.approx([0.75, 0.25], abs=1e-3)


async def test_filters_and_limit_narrow_the_hits(ranker: Ranker) -> None:
    await upsert(
        ranker,
        a_background("shop/oak", surface="wood", mood="calm"),
        a_background("shop/pine", surface="wood", mood="loud"),
        a_background("shop/marble", surface="stone", mood="calm"),
    )
    wood = pb.Filter(key="surface", any_of=["wood"])
    not_loud = pb.Filter(key="mood", any_of=["loud"], exclude=True)
    metal = pb.Filter(key="surface", any_of=["metal"])

    assert names((await ranker.RankBackgrounds(rank_request("table", filters=[wood, not_loud]))).hits) == ["oak"]
    assert len((await ranker.RankBackgrounds(rank_request("table", limit=2))).hits) == 2
    assert names((await ranker.RankBackgrounds(rank_request("table", filters=[metal]))).hits) == []


async def test_no_call_reads_another_library(ranker: Ranker) -> None:
    await upsert(ranker, a_background("one/a", "oak"), a_background("two/b", "oak"))

    assert names((await ranker.RankBackgrounds(rank_request("oak", library="one"))).hits) == ["a"]
    listed = await ranker.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/two"))
    assert [each.name for each in listed.backgrounds] == ["libraries/two/backgrounds/b"]


async def test_pages_hold_each_background_once(ranker: Ranker) -> None:
    await upsert(ranker, *(a_background(f"shop/b{number}") for number in range(23)))

    request = pb.ListBackgroundsRequest(parent="libraries/shop", page_size=10)
    pages = [await ranker.ListBackgrounds(request)]
    while pages[-1].next_page_token:
        request.page_token = pages[-1].next_page_token
        pages.append(await ranker.ListBackgrounds(request))

    assert [len(page.backgrounds) for page in pages] == [10, 10, 3]
    assert len({each.name for page in pages for each in page.backgrounds}) == 23


async def test_a_page_is_of_100_unless_asked_otherwise(ranker: Ranker) -> None:
    await upsert(ranker, *(a_background(f"shop/b{number}") for number in range(101)))

    page = await ranker.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/shop"))

    assert len(page.backgrounds) == 100
    assert page.next_page_token


@pytest.mark.parametrize("token", ["garbage", "not base64!", "AAAA", "ü", "A" * 28])
async def test_a_page_token_that_was_never_given_is_refused(ranker: Ranker, token: str) -> None:
    await upsert(ranker, a_background("shop/a"))
    request = pb.ListBackgroundsRequest(parent="libraries/shop", page_token=token)

    assert await failure(ranker.ListBackgrounds(request)) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")


async def test_a_page_token_of_another_library_is_refused(ranker: Ranker) -> None:
    await upsert(ranker, *(a_background(name) for name in ("one/a", "one/b", "two/a", "two/b")))
    page = await ranker.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/one", page_size=1))
    request = pb.ListBackgroundsRequest(parent="libraries/two", page_token=page.next_page_token)

    assert (await failure(ranker.ListBackgrounds(request)))[0] == grpc.StatusCode.INVALID_ARGUMENT


async def test_a_deleted_background_is_gone_and_with_the_last_one_the_library(
    ranker: Ranker,
) -> None:
    await upsert(ranker, a_background("shop/a"))
    delete = pb.DeleteBackgroundRequest(name="libraries/shop/backgrounds/a")

    await ranker.DeleteBackground(delete)

    missing = (grpc.StatusCode.NOT_FOUND, "BACKGROUND_NOT_FOUND")
    assert await failure(ranker.DeleteBackground(delete)) == missing
    assert await failure(ranker.GetBackground(pb.GetBackgroundRequest(name=delete.name))) == missing
    no_library = (grpc.StatusCode.NOT_FOUND, "LIBRARY_NOT_FOUND")
    assert await failure(ranker.RankBackgrounds(rank_request("oak"))) == no_library
    assert await failure(ranker.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/shop"))) == no_library


@pytest.mark.parametrize("limit", [0, -1, 101, 10_000])
async def test_a_limit_out_of_range_is_refused(ranker: Ranker, limit: int) -> None:
    assert (await failure(ranker.RankBackgrounds(rank_request("oak", limit=limit))))[0] == (
        grpc.StatusCode.INVALID_ARGUMENT
    )


def looking(name: str, *captions: str, x: float, y: float, color: str = "#ffffff", **attributes: str) -> pb.Background:
    """A background of which everything is known."""
    item = a_background(name, *captions, **attributes)
    item.image_embedding.CopyFrom(seen(x, y))
    item.palette.add(hex=color, share=1)
    item.free_space.CopyFrom(pb.FreeSpace(columns=8, rows=8, values=[1.0] * 64))
    item.width, item.height = 1200, 900
    return item


def seen(x: float, y: float) -> pb.ImageTextEmbedding:
    return pb.ImageTextEmbedding(values=[x, y, *[0.0] * (IMAGE_DIMENSION - 2)], model=IMAGE_MODEL)


def full_request(**fields: Any) -> pb.RankBackgroundsRequest:
    request = rank_request("oak", limit=fields.pop("limit", 10), filters=fields.pop("filters", ()))
    request.texts[0].embedding.CopyFrom(seen(1, 0))
    request.product.palette.add(hex="#101010", share=1)
    request.MergeFrom(pb.RankBackgroundsRequest(**fields))
    return request


async def test_each_hit_tells_what_every_signal_contributed(ranker: Ranker) -> None:
    await upsert(ranker, looking("shop/a", "oak", x=1, y=0), looking("shop/b", "oak", x=0, y=1, color="#000000"))

    response = await ranker.RankBackgrounds(full_request())

    assert names(response.hits) == ["a", "b"]
    assert not response.unused
    for hit in response.hits:
        assert {part.signal for part in hit.signals} == {pb.SIGNAL_TEXT, pb.SIGNAL_IMAGE, pb.SIGNAL_COLOR}
        assert sum(part.weight for part in hit.signals) == pytest.approx(1)
        assert hit.score == pytest.approx(sum(part.weight * part.similarity for part in hit.signals), abs=1e-3)


async def test_a_request_may_weigh_the_signals_itself(ranker: Ranker) -> None:
    await upsert(ranker, looking("shop/a", "oak", x=0, y=1), looking("shop/b", "sea", x=1, y=0))
    by_picture = [pb.SignalWeight(signal=pb.SIGNAL_IMAGE, weight=100)]
    nothing = [pb.SignalWeight(signal=signal, weight=0) for signal in (1, 2, 3)]

    assert names((await ranker.RankBackgrounds(full_request())).hits) == ["a", "b"]
    assert names((await ranker.RankBackgrounds(full_request(weights=by_picture))).hits) == ["b", "a"]
    assert (await failure(ranker.RankBackgrounds(full_request(weights=nothing))))[1] == "INVALID_ARGUMENT"


async def test_signals_that_a_request_says_nothing_about_are_told(ranker: Ranker) -> None:
    await upsert(ranker, looking("shop/a", "oak", x=1, y=0))

    response = await ranker.RankBackgrounds(rank_request("oak"))

    assert [each.signal for each in response.unused] == [pb.SIGNAL_IMAGE, pb.SIGNAL_COLOR]
    assert [part.signal for part in response.hits[0].signals] == [pb.SIGNAL_TEXT]


async def test_the_same_picture_is_found_once_and_the_limit_is_still_filled(ranker: Ranker) -> None:
    same = [looking(f"shop/a{number:02}", "oak", x=1, y=0) for number in range(30)]
    await upsert(ranker, *same, looking("shop/b", "oak", x=0, y=1), looking("shop/c", "oak", x=1, y=1))

    response = await ranker.RankBackgrounds(full_request(limit=3))

    assert set(names(response.hits)) == {"a00", "b", "c"}
    first = next(hit for hit in response.hits if hit.background.name.endswith("a00"))
    assert len(first.duplicates) == 29


async def test_a_filter_on_what_no_background_has_is_an_error(ranker: Ranker) -> None:
    await upsert(ranker, a_background("shop/oak", surface="wood"), a_background("other/a", surfce="wood"))
    misspelt = pb.Filter(key="surfce", any_of=["wood"], exclude=True)
    known = pb.Filter(key="surface", any_of=["wood"])

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ranker.RankBackgrounds(rank_request("oak", filters=[known, misspelt]))

    [violation] = errors.violations_of(errors.status_of(caught.value))
    assert violation.field == "filters[1].key"
    assert "it has surface" in violation.description


@pytest.mark.parametrize(
    "bad",
    [
        pb.Filter(key="surface"),
        pb.Filter(key="surface", any_of=["wood"], range=pb.Range(min=1)),
        pb.Filter(key="surface", range=pb.Range(min=1)),
        pb.Filter(key="width", range=pb.Range()),
        pb.Filter(key="width", range=pb.Range(min=2, max=1)),
        pb.Filter(key="width", range=pb.Range(min=float("nan"))),
        pb.Filter(key="Width", range=pb.Range(min=1)),
    ],
)
async def test_a_filter_that_means_nothing_is_refused(ranker: Ranker, bad: pb.Filter) -> None:
    await upsert(ranker, a_background("shop/oak", surface="wood"))

    assert (await failure(ranker.RankBackgrounds(rank_request("oak", filters=[bad]))))[1] == "INVALID_ARGUMENT"


async def test_what_has_expired_is_not_found(ranker: Ranker) -> None:
    gone, here = a_background("shop/gone"), a_background("shop/here")
    gone.expire_time.FromJsonString("2020-01-01T00:00:00Z")
    here.expire_time.FromJsonString("2999-01-01T00:00:00Z")
    await upsert(ranker, gone, here)

    assert names((await ranker.RankBackgrounds(rank_request("table"))).hits) == ["here"]
    assert (await ranker.GetBackground(pb.GetBackgroundRequest(name=gone.name))).background.name == gone.name


async def test_a_library_takes_no_more_than_its_quota(ranker: Ranker) -> None:
    await upsert(ranker, *(a_background(f"shop/b{number}") for number in range(MAX_BACKGROUNDS)))

    over, again = await upsert(ranker, a_background("shop/over")), await upsert(ranker, a_background("shop/b0", "new"))

    assert over[0].error.reason == "STORE_FULL"
    assert "BACKDROP_RANKER_MAX_BACKGROUNDS" in over[0].error.message
    assert not again[0].HasField("error")
    assert not (await upsert(ranker, a_background("other/a")))[0].HasField("error")


async def test_an_embedding_of_another_model_is_refused_with_the_remedy(ranker: Ranker) -> None:
    other = looking("shop/a", x=1, y=0)
    other.image_embedding.model = "another-eye"

    [refused] = await upsert(ranker, other)

    assert "BACKDROP_RANKER_IMAGE_MODEL" in refused.error.message


async def export(ranker: Ranker, library: str) -> dict[str, pb.Background]:
    call = ranker.ExportBackgrounds(pb.ExportBackgroundsRequest(parent=f"libraries/{library}"))
    exported = [response.background async for response in call]
    by_name = {each.name.rpartition("/")[2]: each for each in exported}
    assert len(by_name) == len(exported)
    return by_name


async def test_an_export_holds_all_that_another_library_needs_to_be_searched_alike(ranker: Ranker) -> None:
    await upsert(
        ranker,
        looking("shop/a", "an oak table", x=0.6, y=0.8, surface="wood"),
        looking("shop/b", "an oak shelf", x=0.8, y=0.6, color="#000000"),
        looking("shop/c", "sea", x=-1, y=0),
    )

    exported = await export(ranker, "shop")
    for each in exported.values():
        each.name = each.name.replace("shop", "copy")
    await upsert(ranker, *exported.values())

    here, there = [await ranker.RankBackgrounds(full_request(parent=f"libraries/{name}")) for name in ("shop", "copy")]
    assert names(here.hits) == names(there.hits)
    assert [hit.score for hit in here.hits] == pytest.approx([hit.score for hit in there.hits], abs=1e-3)
    assert list(exported["a"].image_embedding.values) == pytest.approx([0.6, 0.8, 0, 0], abs=1e-3)
    assert exported["a"].image_embedding.model == IMAGE_MODEL


async def test_an_export_gives_each_background_of_one_library_once(ranker: Ranker) -> None:
    count = MAX_BACKGROUNDS
    await upsert(ranker, *(a_background(f"shop/b{number}") for number in range(count)), a_background("other/x"))

    exported = await export(ranker, "shop")

    assert set(exported) == {f"b{number}" for number in range(count)}
    assert not any(each.HasField("image_embedding") for each in exported.values())


async def test_an_export_of_nothing_is_an_error(ranker: Ranker) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await export(ranker, "shop")

    assert errors.reason_of(errors.status_of(caught.value)) == "LIBRARY_NOT_FOUND"


async def found_or_refused(ranker: Ranker, request: pb.RankBackgroundsRequest) -> set[str]:
    try:
        return set(names((await ranker.RankBackgrounds(request)).hits))
    except grpc.aio.AioRpcError as error:
        if error.code() != grpc.StatusCode.INVALID_ARGUMENT:
            raise
        return set()


@pytest.mark.parametrize("intruder", ["shop", "shop/backgrounds/a", "shop' OR '1", "*", "../shop", "SHOP", "shop\x00"])
async def test_no_field_of_a_request_reaches_another_library(ranker: Ranker, intruder: str) -> None:
    """Whoever knows only that a library exists learns nothing of it, whatever field the name is put in."""
    await upsert(ranker, a_background("shop/a", "oak", surface="wood"), a_background("mine/b", "oak", surface="wood"))
    tries = [
        pb.Filter(key="library", any_of=[intruder]),
        pb.Filter(key="surface", any_of=[f'wood" or library="{intruder}', "wood"]),
        pb.Filter(key="surface", any_of=[intruder], exclude=True),
    ]
    for each in tries:
        assert await found_or_refused(ranker, rank_request("oak", library="mine", filters=[each])) <= {"b"}
    page = await ranker.ListBackgrounds(pb.ListBackgroundsRequest(parent="libraries/shop", page_size=1))
    assert [each.name for each in page.backgrounds] == ["libraries/shop/backgrounds/a"]
    listing = pb.ListBackgroundsRequest(parent=f"libraries/mine/../{intruder}")
    assert (await failure(ranker.ListBackgrounds(listing)))[0] == grpc.StatusCode.INVALID_ARGUMENT


def for_product(x: float, y: float, library: str = "shop", **fields: Any) -> pb.RankBackgroundsRequest:
    request = full_request(parent=f"libraries/{library}", **fields)
    request.product.embedding.CopyFrom(seen(x, y))
    return request


def background_name(background: str, library: str = "shop") -> str:
    return f"libraries/{library}/backgrounds/{background}"


async def choose(
    ranker: Ranker,
    answer: pb.RankBackgroundsResponse,
    *chosen: str,
    rejected: Iterable[str] = (),
    library: str = "shop",
) -> pb.RecordFeedbackResponse:
    return await ranker.RecordFeedback(
        pb.RecordFeedbackRequest(
            parent=f"libraries/{library}",
            recommendation_id=answer.recommendation_id,
            chosen=[background_name(each, library) for each in chosen],
            rejected=[background_name(each, library) for each in rejected],
        )
    )


async def fill_alike(ranker: Ranker, library: str = "shop", count: int = 6) -> None:
    """Backgrounds that suit the request a little less each."""
    angles = (number / 5 for number in range(count))
    looks = [
        looking(f"{library}/b{number}", f"oak {number}", x=math.cos(angle), y=math.sin(angle))
        for number, angle in enumerate(angles)
    ]
    await upsert(ranker, *looks)


async def list_feedback(ranker: Ranker, library: str = "shop", page_size: int = 2) -> list[pb.Feedback]:
    request = pb.ListFeedbackRequest(parent=f"libraries/{library}", page_size=page_size)
    listed: list[pb.Feedback] = []
    while True:
        page = await ranker.ListFeedback(request)
        listed += page.feedback
        if not page.next_page_token:
            return listed
        request.page_token = page.next_page_token


async def test_what_was_chosen_rises_for_similar_products_only_and_says_why(ranker: Ranker) -> None:
    await fill_alike(ranker)
    before = await ranker.RankBackgrounds(for_product(1, 0))
    for _ in range(3):
        await choose(ranker, await ranker.RankBackgrounds(for_product(1, 0)), "b4")

    similar = await ranker.RankBackgrounds(for_product(0.98, 0.2))
    other = await ranker.RankBackgrounds(for_product(0, 1))

    assert names(before.hits).index("b4") == 4
    assert names(similar.hits)[0] == "b4"
    assert names(other.hits) == names(before.hits)
    [learned] = [part for part in similar.hits[0].signals if part.signal == pb.SIGNAL_FEEDBACK]
    assert 0 < learned.similarity <= 1
    assert not any(part.signal == pb.SIGNAL_FEEDBACK for hit in other.hits for part in hit.signals)
    for hit in similar.hits:
        assert hit.score == pytest.approx(sum(part.weight * part.similarity for part in hit.signals), abs=1e-3)


async def test_what_was_rejected_falls_and_so_does_its_like(ranker: Ranker) -> None:
    await fill_alike(ranker)
    await upsert(ranker, looking("shop/like-b0", "oak 0", x=0.999, y=0.04, color="#000000"))
    shown = await ranker.RankBackgrounds(for_product(1, 0, limit=3))
    places = {
        name: names((await ranker.RankBackgrounds(for_product(1, 0))).hits).index(name) for name in ("b0", "like-b0")
    }

    for _ in range(4):
        answer = await ranker.RankBackgrounds(for_product(1, 0))
        await choose(ranker, answer, rejected=["b0"])

    after = names((await ranker.RankBackgrounds(for_product(1, 0))).hits)
    assert shown.recommendation_id
    assert after.index("b0") > places["b0"]
    assert after.index("like-b0") > places["like-b0"]


async def test_feedback_is_the_librarys_own(ranker: Ranker) -> None:
    """A hostile shopper of another library, with the same ids and the same products, changes nothing here."""
    await fill_alike(ranker)
    await fill_alike(ranker, "hostile")
    here = await ranker.RankBackgrounds(for_product(1, 0))
    for _ in range(20):
        await choose(ranker, await ranker.RankBackgrounds(for_product(1, 0, "hostile")), "b5", library="hostile")
        # Nor does it help to know the id of a recommendation from here.
        await choose(ranker, here, "b5", rejected=["b0"], library="hostile")
    with_names_from_here = pb.RecordFeedbackRequest(
        parent="libraries/hostile", recommendation_id=here.recommendation_id, chosen=[background_name("b5")]
    )
    assert (await failure(ranker.RecordFeedback(with_names_from_here)))[1] == "INVALID_ARGUMENT"

    again = await ranker.RankBackgrounds(for_product(1, 0))

    assert [(hit.background.name, hit.score) for hit in again.hits] == [
        (hit.background.name, hit.score) for hit in here.hits
    ]
    assert await list_feedback(ranker) == []
    assert names((await ranker.RankBackgrounds(for_product(1, 0, "hostile"))).hits)[0] == "b5"


async def test_feedback_is_replaced_listed_taken_back_and_reset(ranker: Ranker) -> None:
    await fill_alike(ranker)
    answers = [await ranker.RankBackgrounds(for_product(1, 0, limit=4)) for _ in range(5)]
    for each in answers:
        await choose(ranker, each, "b1")
    recorded = (await choose(ranker, answers[0], "b2", rejected=["b0"])).feedback

    assert list(recorded.chosen) == [background_name("b2")]
    assert list(recorded.rejected) == [background_name("b0")]
    assert list(recorded.shown) == [hit.background.name for hit in answers[0].hits]
    listed = {each.recommendation_id: each for each in await list_feedback(ranker)}
    assert set(listed) == {each.recommendation_id for each in answers}
    assert listed[answers[0].recommendation_id] == recorded

    assert not (await choose(ranker, answers[1])).HasField("feedback")
    assert len(await list_feedback(ranker)) == 4
    assert (await ranker.ResetFeedback(pb.ResetFeedbackRequest(parent="libraries/shop"))).count == 4
    assert await list_feedback(ranker) == []
    assert names((await ranker.RankBackgrounds(for_product(1, 0))).hits)[0] == "b0"


async def test_feedback_that_means_nothing_is_refused_with_its_field(ranker: Ranker) -> None:
    await fill_alike(ranker)
    answer = await ranker.RankBackgrounds(for_product(1, 0, limit=3))
    known = {"parent": "libraries/shop", "recommendation_id": answer.recommendation_id}
    b0 = background_name("b0")
    refused = {
        "recommendation_id": {**known, "recommendation_id": answer.recommendation_id[:-3], "chosen": [b0]},
        "chosen[1]": {**known, "chosen": [b0, background_name("b5")]},
        "rejected[0]": {**known, "chosen": [b0], "rejected": [b0]},
        "chosen[0]": {**known, "chosen": [background_name("b0", "other")]},
        "parent": {**known, "parent": "libraries/"},
    }
    for field, request in refused.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await ranker.RecordFeedback(pb.RecordFeedbackRequest(**request))
        [violation] = errors.violations_of(errors.status_of(caught.value))
        assert violation.field == field
    elsewhere = pb.RecordFeedbackRequest(
        parent="libraries/empty", recommendation_id=answer.recommendation_id, chosen=[background_name("b0", "empty")]
    )
    assert (await failure(ranker.RecordFeedback(elsewhere)))[1] == "LIBRARY_NOT_FOUND"
    assert (await failure(ranker.ListFeedback(pb.ListFeedbackRequest(parent="libraries/empty"))))[
        1
    ] == "LIBRARY_NOT_FOUND"


async def test_an_answer_for_a_product_that_cannot_be_compared_takes_no_feedback(ranker: Ranker) -> None:
    await fill_alike(ranker)

    assert not (await ranker.RankBackgrounds(full_request())).recommendation_id


async def test_feedback_counts_only_as_much_as_is_asked_for(ranker: Ranker) -> None:
    await fill_alike(ranker)
    before = names((await ranker.RankBackgrounds(for_product(1, 0))).hits)
    await choose(ranker, await ranker.RankBackgrounds(for_product(1, 0)), "b4")

    without = [pb.SignalWeight(signal=pb.SIGNAL_FEEDBACK, weight=0)]

    assert names((await ranker.RankBackgrounds(for_product(1, 0, weights=without))).hits) == before


async def test_what_was_chosen_obeys_filters_and_may_be_deleted(ranker: Ranker) -> None:
    await fill_alike(ranker)
    await upsert(ranker, looking("shop/calm", "oak 9", x=0, y=1, mood="calm"))
    for _ in range(3):
        await choose(ranker, await ranker.RankBackgrounds(for_product(1, 0)), "b5")
    await ranker.DeleteBackground(pb.DeleteBackgroundRequest(name=background_name("b4")))

    calm = await ranker.RankBackgrounds(for_product(1, 0, filters=[pb.Filter(key="mood", any_of=["calm"])]))
    await ranker.DeleteBackground(pb.DeleteBackgroundRequest(name=background_name("b5")))
    gone = await ranker.RankBackgrounds(for_product(1, 0))

    assert names(calm.hits) == ["calm"]
    assert set(names(gone.hits)) == {"b0", "b1", "b2", "b3", "calm"}


async def etag(ranker: Ranker, library: str = "shop") -> str:
    return (await ranker.GetLibrary(pb.GetLibraryRequest(name=f"libraries/{library}"))).etag


async def test_a_librarys_etag_changes_with_whatever_may_change_an_answer(ranker: Ranker) -> None:
    await fill_alike(ranker)
    await fill_alike(ranker, "other")
    etags = [await etag(ranker)]
    answer = await ranker.RankBackgrounds(for_product(1, 0))
    await upsert(ranker, a_background("other/new"))
    assert await etag(ranker) == etags[0]

    await upsert(ranker, a_background("shop/new"))
    etags.append(await etag(ranker))
    await choose(ranker, answer, "b2")
    etags.append(await etag(ranker))
    await ranker.ResetFeedback(pb.ResetFeedbackRequest(parent="libraries/shop"))
    etags.append(await etag(ranker))
    await ranker.DeleteBackground(pb.DeleteBackgroundRequest(name=background_name("new")))
    etags.append(await etag(ranker))
    await set_rules(ranker, NEVER_WOOD)
    etags.append(await etag(ranker))
    await set_rules(ranker, library="other")
    assert await etag(ranker) == etags[-1]
    await set_rules(ranker)
    etags.append(await etag(ranker))
    assert len(set(etags)) == len(etags)


async def test_a_library_that_is_not_there_has_no_etag(ranker: Ranker) -> None:
    assert (await failure(etag(ranker, "none")))[0] is grpc.StatusCode.NOT_FOUND


NEVER_WOOD = pb.Filter(key="surface", any_of=["wood"], exclude=True)
WIDE = pb.Filter(key="width", range=pb.Range(min=1000))


async def set_rules(ranker: Ranker, *rules: pb.Filter, library: str = "shop") -> pb.UpdateLibraryResponse:
    return await ranker.UpdateLibrary(pb.UpdateLibraryRequest(name=f"libraries/{library}", rules=rules))


async def rules_of(ranker: Ranker, library: str = "shop") -> list[pb.Filter]:
    return list((await ranker.GetLibrary(pb.GetLibraryRequest(name=f"libraries/{library}"))).rules)


async def fill_surfaces(ranker: Ranker, library: str = "shop") -> None:
    wide = a_background(f"{library}/wide-wood", "an oak table", surface="wood")
    wide.width, wide.height = 2000, 1000
    await upsert(
        ranker,
        wide,
        a_background(f"{library}/wood", "an oak table", surface="wood marble"),
        a_background(f"{library}/stone", "an oak table of stone", surface="stone"),
        a_background(f"{library}/plain", "a plain wall", mood="calm"),
    )


async def test_rules_hold_for_every_request_beside_its_filters(ranker: Ranker) -> None:
    await fill_surfaces(ranker)

    assert list((await set_rules(ranker, NEVER_WOOD)).rules) == [NEVER_WOOD]
    answer = await ranker.RankBackgrounds(rank_request("oak table"))
    stone = [pb.Filter(key="surface", any_of=["stone", "wood"])]
    filtered = await ranker.RankBackgrounds(rank_request("oak table", filters=stone))
    diverse = rank_request("oak table")
    diverse.diversity = 0.5

    assert set(names(answer.hits)) == {"stone", "plain"}
    assert list(answer.applied_rules) == [NEVER_WOOD]
    assert names(filtered.hits) == ["stone"]
    assert set(names((await ranker.RankBackgrounds(diverse)).hits)) == {"stone", "plain"}
    assert await rules_of(ranker) == [NEVER_WOOD]

    await set_rules(ranker, WIDE)
    assert names((await ranker.RankBackgrounds(rank_request("oak table"))).hits) == ["wide-wood"]
    await set_rules(ranker)
    free = await ranker.RankBackgrounds(rank_request("oak table"))
    assert (len(free.hits), list(free.applied_rules), free.empty_reason) == (4, [], "")
    assert await rules_of(ranker) == []


async def test_what_leaves_nothing_is_named(ranker: Ranker) -> None:
    await fill_surfaces(ranker)
    stone = pb.Filter(key="surface", any_of=["stone"])

    await set_rules(ranker, NEVER_WOOD, pb.Filter(key="surface", any_of=["wood"]))
    by_rules = await ranker.RankBackgrounds(rank_request("oak table", filters=[stone]))
    await set_rules(ranker, NEVER_WOOD)
    by_both = await ranker.RankBackgrounds(
        rank_request("oak table", filters=[pb.Filter(key="surface", any_of=["marble"])])
    )
    await set_rules(ranker)
    by_filters = await ranker.RankBackgrounds(
        rank_request("oak table", filters=[stone, pb.Filter(key="mood", any_of=["calm"])])
    )

    assert [len(each.hits) for each in (by_rules, by_both, by_filters)] == [0, 0, 0]
    assert "The rules of libraries/shop leave none of its backgrounds: surface!=wood; surface=wood." in (
        by_rules.empty_reason
    )
    assert len(by_rules.applied_rules) == 2
    assert "besides the library's rules: surface!=wood." in by_both.empty_reason
    assert by_filters.empty_reason == "No background of libraries/shop passes the filters of the request."


async def test_rules_of_one_library_change_nothing_in_another(ranker: Ranker) -> None:
    await fill_surfaces(ranker)
    await fill_surfaces(ranker, "hostile")
    before = await ranker.RankBackgrounds(rank_request("oak table"))

    await set_rules(ranker, pb.Filter(key="surface", any_of=["nothing"]), library="hostile")
    await set_rules(ranker, pb.Filter(key="surface", any_of=["nothing"]), library="shop-2")

    assert await ranker.RankBackgrounds(rank_request("oak table")) == before
    assert await rules_of(ranker) == []
    refused = pb.UpdateLibraryRequest(name="libraries/rules/shop", rules=[NEVER_WOOD])
    assert (await failure(ranker.UpdateLibrary(refused)))[1] == "INVALID_ARGUMENT"


async def test_rules_may_come_before_the_backgrounds_and_stay_after_them(ranker: Ranker) -> None:
    response = await set_rules(ranker, NEVER_WOOD, pb.Filter(key="surfce", any_of=["oak"], exclude=True))
    assert list(response.unknown_keys) == ["surface", "surfce"]
    assert len(await rules_of(ranker)) == 2
    assert (await failure(ranker.RankBackgrounds(rank_request("oak"))))[1] == "LIBRARY_NOT_FOUND"

    await fill_surfaces(ranker)
    assert set(names((await ranker.RankBackgrounds(rank_request("oak"))).hits)) == {"stone", "plain"}
    assert list((await set_rules(ranker, NEVER_WOOD)).unknown_keys) == []
    for each in ("wide-wood", "wood", "stone", "plain"):
        await ranker.DeleteBackground(pb.DeleteBackgroundRequest(name=background_name(each)))
    assert await rules_of(ranker) == [NEVER_WOOD]
    await set_rules(ranker)
    assert (await failure(rules_of(ranker)))[1] == "LIBRARY_NOT_FOUND"


async def test_rules_that_mean_nothing_are_refused_and_leave_those_before(ranker: Ranker) -> None:
    await set_rules(ranker, NEVER_WOOD)
    wrong = {
        "rules[1].key": [NEVER_WOOD, pb.Filter(key="surface", range=pb.Range(min=1))],
        "rules[0]": [pb.Filter(key="surface")],
        "rules": [NEVER_WOOD] * 17,
    }
    for field, rules in wrong.items():
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await set_rules(ranker, *rules)
        assert [each.field for each in errors.violations_of(errors.status_of(caught.value))] == [field]
    assert await rules_of(ranker) == [NEVER_WOOD]
